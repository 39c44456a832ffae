"""Frames from a ROS bag (rosbag2 with sqlite3 or MCAP; rosbag1 too), without ROS."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from keytrack_ros.errors import InputError
from keytrack_ros.media.bag_repair import CutOffMcap, salvage_sqlite
from keytrack_ros.media.frames import DEFAULT_FPS, Frame, FrameSource, Selection
from keytrack_ros.media.messages import typestore
from keytrack_ros.media.paths import BAG_SUFFIXES
from keytrack_ros.media.pixels import BitDepth
from keytrack_ros.media.ros_images import image_to_bgr
from keytrack_ros.timing import NANOSECONDS

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

logger = logging.getLogger(__name__)

IMAGE_TYPES = frozenset({"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"})


class BagSource(FrameSource):
    """One image topic of a bag; stamps and frame_ids are those of the messages' headers, unchanged.

    A header without a stamp gets the time at which the message was recorded.

    Images come in the order in which they were recorded. With `in_stamp_order` they come in the order of their stamps;
    the bag is then read twice, first for the stamps only.
    """

    def __init__(
        self, path: Path, topic: str | None, selection: Selection, *, in_stamp_order: bool = False, bits: int = 0
    ) -> None:
        self._scratch = TemporaryDirectory(prefix="keytrack_")
        self._reader = open_bag(path, Path(self._scratch.name))
        try:
            connections = _image_connections(path, self._reader.connections, topic)
            total = sum(connection.msgcount for connection in connections)
            seconds = self._reader.duration / NANOSECONDS
            fps = (total - 1) / seconds if total > 1 and seconds > 0 else DEFAULT_FPS
            super().__init__(str(path), fps, total, selection)
        except BaseException:
            self.close()
            raise
        self.topic = connections[0].topic
        self._depth = BitDepth(f"{path}: {self.topic}", bits)
        self._messages = self._by_stamp(connections) if in_stamp_order else self._reader.messages(connections)

    def _by_stamp(self, connections: list[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """The messages in the order of their stamps; only those that came too early are held in memory."""
        stamps = list(_stamps(self._reader, connections))
        arriving = enumerate(self._reader.messages(connections))
        early: dict[int, tuple[Connection, int, bytes]] = {}
        for wanted in sorted(range(len(stamps)), key=stamps.__getitem__):
            while wanted not in early:
                place, message = next(arriving)
                early[place] = message
            yield early.pop(wanted)
        yield from (message for _, message in arriving)

    def _step(self, index: int, wanted: bool) -> Frame | None:
        try:
            connection, recorded_ns, data = next(self._messages)
        except StopIteration:
            raise EOFError from None
        except Exception as error:  # rosbags lets the errors of zstd, lz4, SQLite and struct through
            logger.warning(
                "%s: the bag breaks off after image %d of %s: %s; what could be read is used",
                self.name,
                index,
                self.total,
                one_line(error),
            )
            raise EOFError from None
        if not wanted:
            return None
        try:
            message: Any = self._reader.deserialize(data, connection.msgtype)
        except Exception as error:  # a damaged message fails anywhere in the generated decoder
            raise InputError(f"{self.topic}: message cannot be decoded: {one_line(error)}") from None
        try:
            image = image_to_bgr(message, depth=self._depth)
        except InputError as error:
            raise InputError(f"{self.topic}: {error}") from None
        stamp = message.header.stamp
        stamp_ns = stamp.sec * NANOSECONDS + stamp.nanosec
        return Frame(index, stamp_ns or recorded_ns, image, frame_id=message.header.frame_id)

    def close(self) -> None:
        if self._reader.stack is not None:
            self._reader.close()
        self._scratch.cleanup()


def image_stamps(path: Path, topic: str | None = None) -> list[int]:
    """The stamps in nanoseconds of a bag's images, in order; `topic` may be left out where there is one of images.

    Of a bag whose recording was cut off, those that are there. Raises InputError as `open_source`.
    """
    with TemporaryDirectory(prefix="keytrack_") as scratch:
        reader = open_bag(path, Path(scratch))
        try:
            return sorted(_stamps(reader, _image_connections(path, reader.connections, topic)))
        finally:
            reader.close()


def _stamps(reader: AnyReader, connections: list[Connection]) -> Iterator[int]:
    """The stamp of each message in the order of the recording, up to where the bag breaks off."""
    messages = reader.messages(connections)
    while True:
        try:
            _, recorded_ns, data = next(messages)
        except Exception:  # the end, or damage, which BagSource._step says when it comes there
            return
        yield _stamp_ns(data, reader.is2) or recorded_ns


def _stamp_ns(data: bytes, is_cdr: bool) -> int:
    """The header's stamp, read without the rest: it follows 4 bytes of CDR's encapsulation, or of ROS 1's `seq`."""
    if len(data) < 12:  # a damaged message, which is left out when its turn comes
        return 0
    order = ">" if is_cdr and data[1] == 0 else "<"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, 4)
    return int(seconds) * NANOSECONDS + int(nanoseconds)


def open_bag(path: Path, scratch: Path | None = None) -> AnyReader:
    """An open reader of a bag: a folder, or a single file of one.

    A bag whose recording was cut off is read as far as it goes, with a warning.

    Args:
        path: a bag.
        scratch: an empty folder where a damaged .db3 file may be copied to; without it such a file is refused.

    Raises InputError if it is not a bag that can be read.
    """
    whole = path.is_file() or (path / "metadata.yaml").is_file()
    try:
        return _opened([path] if whole else _storage_files(path))
    except Exception as error:  # as in BagSource._step
        cause = one_line(error)
    try:
        readable = [_repaired(file, scratch) for file in ([path] if path.is_file() else _storage_files(path))]
        reader = _opened(readable)
    except Exception:  # the first cause says more
        raise InputError(f"{path}: not a bag that can be read: {cause}") from None
    logger.warning(
        "%s: the recording was cut off (%s); the %d messages that are whole are used", path, cause, reader.message_count
    )
    return reader


class _Reader(AnyReader):
    """Reads by our own definitions of messages, not by those in the bag.

    What is read here are images, which are the same everywhere, and our own messages. The bag's definitions of other
    types may be incomplete or contradict each other; as `AnyReader` has it, that would close the whole bag.
    """

    def _open(self) -> None:
        assert self.stack is not None
        for reader in self.readers:
            self.stack.enter_context(reader)
        self.connections = [connection for reader in self.readers for connection in reader.connections]
        self.typestore = typestore() if self.is2 else get_typestore(Stores.ROS1_NOETIC)


def _opened(paths: Sequence[Path | CutOffMcap]) -> AnyReader:
    reader = _Reader(paths)  # type: ignore[arg-type]  # CutOffMcap is as much of a path as rosbags asks for
    reader.open()
    return reader


def _storage_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in BAG_SUFFIXES)


def _repaired(file: Path, scratch: Path | None) -> Path | CutOffMcap:
    """The file itself where it is whole."""
    try:
        _opened([file]).close()
        return file
    except Exception:  # as in BagSource._step
        if file.suffix == ".mcap":
            return CutOffMcap(file)
        if file.suffix != ".db3" or scratch is None:
            raise
        salvage_sqlite(file, scratch / file.name)
        return scratch / file.name


def _image_connections(path: Path, connections: Sequence[Connection], topic: str | None) -> list[Connection]:
    images = [connection for connection in connections if connection.msgtype in IMAGE_TYPES and connection.msgcount]
    topics = sorted({connection.topic for connection in images})
    listed = ", ".join(topics)
    if not topics:
        others = ", ".join(sorted({f"{c.topic} ({c.msgtype})" for c in connections})) or "nothing"
        raise InputError(f"{path}: the bag has no topic with images; it holds {others}")
    if topic is None:
        if len(topics) > 1:
            raise InputError(f"{path}: the bag has {len(topics)} topics with images; name one with --topic: {listed}")
        topic = topics[0]
    if topic not in topics:
        raise InputError(f"{path}: the bag has no images on '{topic}'; it has them on {listed}")
    return [connection for connection in images if connection.topic == topic]


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
