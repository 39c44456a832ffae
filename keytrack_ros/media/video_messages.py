"""Video in messages: H.264, H.265, AV1, VP8 or VP9, a packet of the stream in each message."""

from __future__ import annotations

from typing import Any

import av

from keytrack_ros.errors import InputError
from keytrack_ros.media.video_source import ToBgr
from keytrack_ros.poses import ImageArray

_CODECS = {"h265": "hevc", "av1": "libdav1d"}


class VideoMessages:
    """Decodes the packets of one stream, in the order in which they were sent.

    Args:
        kind: `h264`, `h265` (`hevc`), `av1`, `vp8` or `vp9`.

    Raises InputError if there is no decoder for it.
    """

    def __init__(self, kind: str) -> None:
        name = _CODECS.get(kind, kind)
        try:
            self._decoder: Any = av.CodecContext.create(name, "r")
        except av.error.FFmpegError as error:
            raise InputError(f"format '{kind}' cannot be decoded: {error.strerror}") from None
        self._decoder.thread_count = 1  # more threads answer later by as many frames
        self._to_bgr = ToBgr()

    def add(self, data: bytes, number: int) -> list[tuple[int, ImageArray]]:
        """Frames that are ready, each with the number of the message that it came in.

        Until the first key frame there are none; a stream with frames that depend on later ones gives them later.
        """
        packet: Any = av.Packet(data)
        packet.pts = packet.dts = number
        return self._decoded(packet)

    def end(self) -> list[tuple[int, ImageArray]]:
        """Frames that the decoder still held."""
        return self._decoded(None)

    def _decoded(self, packet: Any) -> list[tuple[int, ImageArray]]:
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError:  # what does not belong to the stream, or comes before its first key frame
            return []
        aspect = self._decoder.sample_aspect_ratio
        return [(int(frame.pts), self._to_bgr(frame, aspect)) for frame in frames if frame.pts is not None]
