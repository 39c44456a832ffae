"""A ROS bag of any kind as one stream of messages: rosbag2 (MCAP, sqlite3, split, compressed) and rosbag1, without ROS.

Files are read part by part. metadata.yaml says which there are and in which order, and where it is missing or wrong the
files speak for themselves: whatever is left out, or read in spite of something, is logged with its real cause.
"""

from __future__ import annotations

import heapq
import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from keytrack_ros.errors import InputError
from keytrack_ros.media.bag_part import BagChannel, BagPart, ros2_name
from keytrack_ros.media.bag_sqlite import SqliteFile
from keytrack_ros.media.image_source import natural
from keytrack_ros.media.mcap import McapFile
from keytrack_ros.media.messages import typestore
from keytrack_ros.media.paths import BAG_NAMES, shown, without_zstd

logger = logging.getLogger(__name__)

_ZSTD = b"\x28\xb5\x2f\xfd"
_LARGEST_MESSAGE = 2**31
ENCODINGS = ("cdr", "ros1")


@dataclass(frozen=True)
class BagMessage:
    """One message, still serialised."""

    channel: BagChannel
    recorded_ns: int
    data: bytes


class Bag:
    """An open bag. Use as a context manager, or call `close`.

    Attributes:
        name: for messages to a person.
        channels: of all files; one topic may have several.
        message_count: of all messages.
        seconds: from the first message to the last.

    Raises InputError, with the cause, if nothing of it can be read.
    """

    def __init__(self, path: Path) -> None:
        self.name = shown(path)
        self._scratch = TemporaryDirectory(prefix="keytrack_")
        self._parts: list[BagPart] = []
        try:
            self._open(path)
        except BaseException:
            self.close()
            raise
        self.channels = [channel for part in self._parts for channel in part.channels]
        self.message_count = sum(part.message_count for part in self._parts)
        full = [part for part in self._parts if part.message_count]
        spans = [(part.start_ns, part.end_ns) for part in full]
        self.seconds = max(0, max(e for _, e in spans) - min(s for s, _ in spans)) / 1e9 if spans else 0.0

    def messages(self, channels: Collection[BagChannel]) -> Iterator[BagMessage]:
        """The messages of some channels, in the order in which they were recorded."""
        wanted = {id(channel) for channel in channels}
        parts = [part for part in self._parts if part.message_count and any(id(c) in wanted for c in part.channels)]
        for group in _overlapping(sorted(parts, key=lambda part: part.start_ns)):
            streams = [_messages(part, wanted) for part in group]
            # Parts of a split bag follow each other: only one of them is read at a time.
            yield from heapq.merge(*streams, key=lambda message: message.recorded_ns)

    def deserialize(self, message: BagMessage) -> Any:
        """A message as an object, by our own definitions, not by those in the bag.

        What is read here are images, which are the same everywhere, and our own messages. The bag's definitions of
        other types may be incomplete or contradict each other.

        Raises InputError if it cannot be decoded.
        """
        kind = message.channel.message_type
        try:
            if message.channel.encoding == "ros1":
                return _ros1_types().deserialize_ros1(message.data, kind)
            return typestore().deserialize_cdr(message.data, kind)
        except Exception as error:  # a damaged message fails anywhere in the generated decoder
            raise InputError(f"{message.channel.topic}: message cannot be decoded: {one_line(error)}") from None

    def close(self) -> None:
        for part in self._parts:
            part.close()
        self._parts = []
        self._scratch.cleanup()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, path: Path) -> None:
        metadata = _Metadata.of(path / "metadata.yaml") if path.is_dir() else None
        files = _files(path, metadata)
        causes = []
        for number, file in enumerate(files):
            scratch = Path(self._scratch.name, str(number))
            scratch.mkdir()
            try:
                part = _opened(file, scratch)
            except InputError as error:
                causes.append(str(error))
                continue
            self._parts.append(part)
            if metadata is not None:
                for channel in part.channels:
                    channel.digest = channel.digest or metadata.digests.get(channel.topic, "")
            if part.cut_off:
                logger.warning(
                    "%s: the recording was cut off; the %d messages that are whole are used",
                    shown(file),
                    part.message_count,
                )
        if not self._parts:
            many = f"{self.name}: no file of the bag can be read: " if len(causes) > 1 else ""
            raise InputError(f"{many}{causes[0]}")
        for cause in causes:
            logger.warning("%s: a part of the bag is left out: %s", self.name, cause)
        if metadata is not None and metadata.problem:
            count = sum(part.message_count for part in self._parts)
            logger.warning(
                "%s: metadata.yaml is not used (%s); the %d messages of the files are",
                self.name,
                metadata.problem,
                count,
            )


@dataclass(frozen=True)
class _Metadata:
    """metadata.yaml: names of files, hashes of topics' types, and what is wrong with it, if anything."""

    files: tuple[str, ...] = ()
    digests: dict[str, str] = None  # type: ignore[assignment]
    problem: str = ""

    @staticmethod
    def of(path: Path) -> _Metadata | None:
        """None if there is no such file."""
        if not path.is_file():
            return None
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            about = content["rosbag2_bagfile_information"]
            files = tuple(PurePosixPath(str(name)).name for name in about["relative_file_paths"])
            version, storage = int(about["version"]), str(about.get("storage_identifier", ""))
            topics = [entry["topic_metadata"] for entry in about.get("topics_with_message_count") or []]
            digests = {str(t["name"]): str(t.get("type_description_hash", "")) for t in topics}
        except OSError as error:
            return _Metadata(digests={}, problem=str(error.strerror))
        except yaml.YAMLError as error:
            return _Metadata(digests={}, problem=f"not YAML: {one_line(error)}")
        except (UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            return _Metadata(digests={}, problem=f"not of a bag: {type(error).__name__} {one_line(error)}")
        problem = ""
        if version > 9:
            problem = f"its version is {version}; versions to 9 are known"
        elif storage not in ("mcap", "sqlite3"):
            problem = f"its storage_identifier is '{storage}'"
        return _Metadata(files, digests, problem)


def _files(path: Path, metadata: _Metadata | None) -> list[Path]:
    """The files of a bag, those that metadata.yaml names first; what is missing or not named is logged."""
    if path.is_file():
        return [path]
    try:
        present = [file for file in path.iterdir() if file.name.lower().endswith(BAG_NAMES)]
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read: {error.strerror}") from None
    # A file and its compressed copy are one part.
    plain = {f.name for f in present}
    present = [f for f in present if f.name == without_zstd(f.name) or without_zstd(f.name) not in plain]
    present.sort(key=lambda file: natural(file.name))
    named = list(metadata.files) if metadata is not None else []
    if named:
        names = {without_zstd(f.name) for f in present}
        missing = [name for name in named if without_zstd(name) not in names]
        others = [f for f in present if without_zstd(f.name) not in set(map(without_zstd, named))]
        if missing:
            logger.warning("%s: parts that metadata.yaml names are missing: %s", shown(path), _listed(missing))
        listed = _listed([f.name for f in others])
        if others and len(others) == len(present):  # the files were renamed
            logger.warning("%s: metadata.yaml names other files; read are %s", shown(path), listed)
        elif others:
            logger.warning("%s: files that metadata.yaml does not name are left out: %s", shown(path), listed)
            present = [f for f in present if f not in others]
    if not present:
        raise InputError(f"{shown(path)}: the bag has no files ({', '.join(BAG_NAMES)})")
    return present


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(shown(name) for name in names[:5]) + more


def _opened(file: Path, scratch: Path) -> BagPart:
    """An open file of a bag, unpacked first where it is compressed. Raises InputError."""
    name, cut_off = file.name.lower(), False
    if name.endswith((".zstd", ".zst")):
        unpacked = scratch / file.stem
        cut_off = not _unpack(file, unpacked)
        file, name = unpacked, unpacked.name.lower()
    part: BagPart
    if name.endswith(".mcap"):
        part = McapFile(file)
    elif name.endswith(".db3"):
        part = SqliteFile(file, scratch)
    else:
        part = Rosbag1File(file)
    part.cut_off = part.cut_off or cut_off
    return part


def _unpack(packed: Path, target: Path) -> bool:
    """Unpacks a .zstd file; False if it breaks off. Raises InputError if nothing comes out, or there is no room."""
    decompressor = zstd.ZstdDecompressor()
    try:
        with packed.open("rb") as source, target.open("wb") as output:
            while data := (decompressor.unused_data if decompressor.eof else b"") or source.read(1 << 16):
                if decompressor.eof:  # another frame follows
                    decompressor = zstd.ZstdDecompressor()
                output.write(decompressor.decompress(data))
    except zstd.ZstdError as error:
        if not target.is_file() or target.stat().st_size == 0:
            raise InputError(f"{shown(packed)}: cannot be unpacked: {one_line(error)}") from None
        return False
    except OSError as error:
        raise InputError(
            f"{shown(packed)}: cannot be unpacked into {target.parent}: {error.strerror}; the variable TMPDIR names "
            "another folder"
        ) from None
    if target.stat().st_size == 0:
        raise InputError(
            f"{shown(packed)}: cannot be unpacked: the file is {'cut off' if packed.stat().st_size else 'empty'}"
        )
    return bool(decompressor.eof)


class Rosbag1File:
    """An open .bag file of ROS 1; see `BagPart`. Raises InputError."""

    def __init__(self, path: Path) -> None:
        self.cut_off = False
        self._reader = Rosbag1Reader(path)
        try:
            self._reader.open()
        except Exception as error:  # rosbags lets those of struct, lz4 and bz2 through
            raise InputError(f"{shown(path)}: not a bag that can be read: {one_line(error)}") from None
        self._connections = {connection.id: connection for connection in self._reader.connections}
        self.channels = [
            BagChannel(c.id, c.topic, ros2_name(c.msgtype), "ros1", c.msgdef.data, c.msgcount)
            for c in self._reader.connections
        ]
        self.message_count = self._reader.message_count
        self.start_ns, self.end_ns = self._reader.start_time, self._reader.end_time

    def messages(self, channels: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        for connection, time_ns, data in self._reader.messages([self._connections[number] for number in channels]):
            yield connection.id, time_ns, data

    def close(self) -> None:
        self._reader.close()


def _overlapping(parts: Sequence[BagPart]) -> Iterator[list[BagPart]]:
    """Parts in the order of their beginnings, those together that were recorded at the same time."""
    group: list[BagPart] = []
    end_ns = 0
    for part in parts:
        if group and part.start_ns >= end_ns:
            yield group
            group = []
        group.append(part)
        end_ns = max(end_ns, part.end_ns)
    if group:
        yield group


def _messages(part: BagPart, wanted: set[int]) -> Iterator[BagMessage]:
    channels = {channel.id: channel for channel in part.channels if id(channel) in wanted}
    for number, time_ns, data in part.messages(channels.keys()):
        # `ros2 bag --compression-mode message`; no message begins with these four bytes.
        if data[:4] == _ZSTD:
            data = zstd.ZstdDecompressor().decompress(data, max_length=_LARGEST_MESSAGE)
        yield BagMessage(channels[number], time_ns, data)


def _ros1_types() -> Typestore:
    """ROS 1's own message types."""
    return _ROS1_TYPES


_ROS1_TYPES = get_typestore(Stores.ROS1_NOETIC)


def digest_of(channel: BagChannel) -> str:
    """The hash of the type as the bag defines it; "" if it does not."""
    if channel.digest or not channel.definition:
        return channel.digest
    try:
        store = get_typestore(Stores.EMPTY)
        store.register(get_types_from_msg(channel.definition, channel.message_type))
        return str(store.hash_rihs01(channel.message_type))
    except Exception:  # a definition that no parser takes
        return ""


def one_line(error: BaseException) -> str:
    """The text of an error for a message, at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
