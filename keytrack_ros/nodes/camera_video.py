"""Video that comes as messages: its packets are decoded in order, before the newest frame is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rclpy.impl.rcutils_logger import RcutilsLogger
from std_msgs.msg import Header

from keytrack_ros.media.ffmpeg import ffmpeg_needed
from keytrack_ros.nodes.messages import header_of
from keytrack_ros.nodes.processing import Received
from keytrack_ros.nodes.statistics import Statistics

if TYPE_CHECKING:
    from keytrack_ros.media.video_messages import Decoded, Pixels, VideoMessages

_QUIET_S = 5.0


class CameraVideo:
    """Decodes the packets of one camera. All methods belong to the executor's thread.

    A packet refers to the frames before it, so none may be left out: they are decoded as they arrive. The conversion to
    BGR, which takes as long, is left to whoever takes the frame. Packets without a frame are counted as rejected.
    """

    def __init__(self, topic: str, logger: RcutilsLogger, statistics: Statistics) -> None:
        self._topic = topic
        self._logger = logger
        self._statistics = statistics
        self._kind = ""
        self._decoder: VideoMessages | None = None
        self._number = 0
        self._under_way: dict[int, tuple[Header, int]] = {}
        self._cause = ""  # why a key frame is waited for; "" while frames come
        self._missed = 0

    def add(self, message: Any, kind: str, arrival_ns: int) -> list[Received]:
        """The frames that are ready after this packet.

        Args:
            message: the packet.
            kind: as of `VideoMessages`.
            arrival_ns: see `Received`.

        Raises InputError if there is no decoder for it.
        """
        if self._decoder is None or kind != self._kind:
            self.end()
            with ffmpeg_needed():
                from keytrack_ros.media.video_messages import VideoMessages
            self._decoder, self._kind = VideoMessages(kind), kind
        self._number += 1
        self._under_way[self._number] = header_of(message), arrival_ns
        began_well = self._number > 1 and not self._cause
        decoded = self._decoder.add(bytes(message.data), self._number)
        return self._taken(decoded, "a packet is damaged" if began_well else "it begins between two of them")

    def lose(self) -> None:
        """A packet was published but not received."""
        if self._decoder is not None:
            self._taken(self._decoder.skip(), "packets were lost")
            self._wait("packets were lost")

    def end(self) -> None:
        """The stream ends; the next packet begins another."""
        if self._decoder is not None:
            self._statistics.reject("video", len(self._under_way))
        self._decoder, self._number, self._cause, self._missed = None, 0, "", 0
        self._under_way.clear()

    def _taken(self, decoded: Decoded, cause: str) -> list[Received]:
        for number in decoded.undecodable:
            del self._under_way[number]
        if decoded.undecodable:
            self._statistics.reject("video", len(decoded.undecodable))
            self._missed += len(decoded.undecodable)
            self._wait(cause)
        elif decoded.frames and self._cause:
            self._logger.info(
                f"{self._topic}: the video is decoded; {self._missed} packets before it had no frame",
                throttle_duration_sec=_QUIET_S,
            )
            self._cause, self._missed = "", 0
        return [_received(*self._under_way.pop(number), pixels) for number, pixels in decoded.frames]

    def _wait(self, cause: str) -> None:
        if not self._cause:
            self._logger.warning(
                f"{self._topic}: the video ({self._kind}) waits for its next key frame: {cause}",
                throttle_duration_sec=_QUIET_S,
            )
            self._cause = cause


def _received(header: Header, arrival_ns: int, pixels: Pixels) -> Received:
    return Received(header, lambda _depth: pixels(), arrival_ns)
