"""Frames from a ROS bag (rosbag2 with sqlite3 or MCAP; rosbag1 too), without ROS."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keytrack_ros.errors import InputError
from keytrack_ros.media.bag import ENCODINGS, Bag, BagMessage, one_line
from keytrack_ros.media.bag_part import BagChannel
from keytrack_ros.media.ffmpeg import ffmpeg_needed
from keytrack_ros.media.frames import DEFAULT_FPS, Frame, FrameSource, Selection
from keytrack_ros.media.pixels import BitDepth
from keytrack_ros.media.ros_images import image_to_bgr, video_format
from keytrack_ros.poses import ImageArray
from keytrack_ros.timing import NANOSECONDS, Recorded, held_images, in_stamp_order, is_set, with_stamps

if TYPE_CHECKING:
    from keytrack_ros.media.video_messages import Decoded, VideoMessages

logger = logging.getLogger(__name__)

IMAGE_TYPES = frozenset(
    {
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/CompressedImage",
        "foxglove_msgs/msg/CompressedImage",
        "foxglove_msgs/msg/CompressedVideo",
        "ffmpeg_image_transport_msgs/msg/FFMPEGPacket",
    }
)
_WARNINGS = 3

Recording = Iterator[Recorded[BagMessage]]
Picture = tuple[Recorded[BagMessage], str, Callable[[], ImageArray]]
"""An image of a bag: its message, its frame_id, and what makes pixels of it."""


class BagSource(FrameSource):
    """One image topic of a bag; stamps and frame_ids are those of the messages' headers.

    A missing or bad stamp is put between those of its neighbours; if no header has a stamp, the times of recording are
    the stamps (`keytrack_ros.timing`).

    Images come in the order in which they were recorded. With `stamp_order` they come in the order of their stamps
    within each stretch; the bag is then read twice, first for the stamps only.
    """

    def __init__(
        self, path: Path, topic: str | None, selection: Selection, *, stamp_order: bool = False, bits: int = 0
    ) -> None:
        self._bag = Bag(path)
        try:
            channels = image_channels(self._bag, topic)
            total = sum(channel.count for channel in channels)
            fps = (total - 1) / self._bag.seconds if total > 1 and self._bag.seconds > 0 else DEFAULT_FPS
            super().__init__(self._bag.name, fps, total, selection)
        except BaseException:
            self.close()
            raise
        self.topic = channels[0].topic
        self._depth = BitDepth(f"{self.name}: {self.topic}", bits)
        self._broken: list[Exception] = []
        images: Recording = _images(self._bag, channels, self._broken)
        if stamp_order:
            images = in_stamp_order(images, held_images(_without_messages(_images(self._bag, channels, []))))
        self._clock = _ClockReport(self.name)
        self._pictures = self._decoded(images)

    def _step(self, index: int, wanted: bool) -> Frame | None:
        try:
            image, frame_id, pixels = next(self._pictures)
        except StopIteration:
            self._clock.end()
            if self._broken:
                logger.warning(
                    "%s: the bag breaks off after image %d of %s: %s; what could be read is used",
                    self.name,
                    index,
                    self.total,
                    one_line(self._broken[0]),
                )
            raise EOFError from None
        self._clock.add(image)
        if not wanted:
            return None
        try:
            return Frame(index, image.stamp_ns, pixels(), frame_id=frame_id, stretch=image.stretch)
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith(self.topic) else f"{self.topic}: {text}") from None

    def _decoded(self, images: Recording) -> Iterator[Picture]:
        """Every image; a packet of a video once its frame is decoded, or once it is clear that it never will be."""
        video: VideoMessages | None = None
        waiting: dict[int, tuple[Recorded[BagMessage], str]] = {}
        for number, image in enumerate(images):
            try:
                message = self._bag.deserialize(image.item)
            except InputError as error:
                if video is not None:
                    yield from _matched(video.skip(), waiting)
                yield image, "", partial(_fail, str(error))
                continue
            kind = video_format(message)
            if kind is None:
                yield image, frame_id_of(message), partial(image_to_bgr, message, depth=self._depth)
                continue
            if video is None:
                video = _video(kind)
            waiting[number] = image, frame_id_of(message)
            yield from _matched(video.add(bytes(message.data), number), waiting)
        if video is not None:
            yield from _matched(video.end(), waiting)

    def close(self) -> None:
        self._bag.close()


def _video(kind: str) -> VideoMessages:
    with ffmpeg_needed():  # for bags with video alone
        from keytrack_ros.media.video_messages import VideoMessages
    return VideoMessages(kind)


def _matched(decoded: Decoded, waiting: dict[int, tuple[Recorded[BagMessage], str]]) -> Iterator[Picture]:
    """The messages that are done: those without a frame, and those with one."""
    for number in decoded.undecodable:
        yield *waiting.pop(number), partial(_fail, "it cannot be decoded: no key frame of the video comes before it")
    for number, pixels in decoded.frames:
        yield *waiting.pop(number), pixels


def _fail(text: str) -> ImageArray:
    raise InputError(text)


def frame_id_of(message: Any) -> str:
    """Of an image message of sensor_msgs or foxglove_msgs."""
    return str(message.header.frame_id if hasattr(message, "header") else message.frame_id)


def image_stamps(path: Path, topic: str | None = None) -> list[int]:
    """The stamps in nanoseconds of a bag's images, in the order of `BagSource(…, stamp_order=True)`.

    `topic` may be left out where there is one of images. Of a bag whose recording was cut off, those that are there.
    Raises InputError as `open_source`.
    """
    with Bag(path) as bag:
        images = list(_without_messages(_images(bag, image_channels(bag, topic), [])))
    return [image.stamp_ns for image in in_stamp_order(images, held_images(images))]


def _images(bag: Bag, channels: list[BagChannel], broken: list[Exception]) -> Recording:
    """The messages with their stamps by the rules of `keytrack_ros.timing`.

    An error that ends the bag goes to `broken`: raised, it would take messages with it that wait for their neighbours.
    """

    def recorded(broken: list[Exception]) -> Recording:
        try:
            for number, message in enumerate(bag.messages(channels)):
                yield Recorded(_stamp_ns(message), message.recorded_ns, number, message)
        except Exception as error:  # SQLite and rosbags let those of their libraries through
            broken.append(error)

    first = next((image for image in _without_messages(recorded([])) if is_set(image.stamp_ns)), None)
    return with_stamps(recorded(broken), first)


def _without_messages(images: Recording) -> Iterator[Recorded[None]]:
    for image in images:
        yield Recorded(image.stamp_ns, image.recorded_ns, image.index, None, image.stretch, image.mended)


def _stamp_ns(message: BagMessage) -> int:
    """The header's stamp, read without the rest: it follows 4 bytes of CDR's encapsulation, or of ROS 1's `seq`."""
    data = message.data
    if len(data) < 12:  # a damaged message, which is left out when its turn comes
        return 0
    order = ">" if message.channel.encoding == "cdr" and data[1] == 0 else "<"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, 4)
    return int(seconds) * NANOSECONDS + int(nanoseconds)


class _ClockReport:
    """Warns of what was done to the stamps of a bag."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._mended = 0
        self._last: Recorded[BagMessage] | None = None
        self._unset = False

    def add(self, image: Recorded[BagMessage]) -> None:
        last, self._last = self._last, Recorded(image.stamp_ns, 0, image.index, image.item, image.stretch)
        if last is None and not image.mended and not is_set(_stamp_ns(image.item)):
            logger.warning("%s: no image has a stamp; the times of recording are used", self._name)
        if image.mended:
            self._mended += 1
            if self._mended <= _WARNINGS:
                logger.warning(
                    "%s: image %d has no stamp, or a wrong one; it is put between its neighbours",
                    self._name,
                    image.index,
                )
        if last is not None and image.stretch > last.stretch and image.stretch <= _WARNINGS:
            step_s = (image.stamp_ns - last.stamp_ns) / NANOSECONDS
            way = f"go back by {-step_s:.1f} s" if step_s < 0 else f"go {step_s:.1f} s ahead"
            logger.warning("%s: stamps %s at image %d; tracks end there", self._name, way, image.index)

    def end(self) -> None:
        if self._mended > _WARNINGS:
            logger.warning("%s: %d images in all had no stamp, or a wrong one", self._name, self._mended)
        if self._last is not None and self._last.stretch > _WARNINGS:
            logger.warning("%s: stamps jump %d times in all", self._name, self._last.stretch)


def image_channels(bag: Bag, topic: str | None) -> list[BagChannel]:
    """The channels of one topic with images.

    Raises InputError if there is no such topic, or none is named of several.
    """
    images = [channel for channel in bag.channels if channel.message_type in IMAGE_TYPES and channel.count]
    readable = [channel for channel in images if channel.encoding in ENCODINGS]
    topics = sorted({channel.topic for channel in readable})
    if not topics:
        raise InputError(f"{bag.name}: {_without_images(bag.channels, images)}")
    if topic is None:
        if len(topics) > 1:
            raise InputError(
                f"{bag.name}: the bag has {len(topics)} topics with images; name one with --topic: {', '.join(topics)}"
            )
        topic = topics[0]
    if topic not in topics:
        raise InputError(f"{bag.name}: the bag has no images on '{topic}'; it has them on {', '.join(topics)}")
    return [channel for channel in readable if channel.topic == topic]


def _about(channel: BagChannel) -> str:
    encoding = "" if channel.encoding in ENCODINGS else f" as {channel.encoding or 'no encoding'}, which is not read"
    return f"{channel.message_type or 'no type'}{encoding}{'' if channel.count else ', no message'}"


def _without_images(channels: Sequence[BagChannel], images: Sequence[BagChannel]) -> str:
    if images:
        encodings = ", ".join(sorted({f"{c.topic} ({c.encoding or 'no encoding'})" for c in images}))
        return f"the encoding of its images is none of {', '.join(ENCODINGS)}: {encodings}"
    others = {f"{c.topic} ({_about(c)})" for c in channels}
    return f"the bag has no topic with images; it holds {', '.join(sorted(others)) or 'nothing'}"
