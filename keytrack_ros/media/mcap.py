"""MCAP files, read whole or as far as they go (https://mcap.dev/spec).

A file without its end, without a summary, or with a summary that leaves out channels is read from the front, and of the
chunk in which it breaks off what is whole. Damaged chunks are left out. Any profile will do: what is in a channel, its
encoding says.
"""

from __future__ import annotations

import heapq
import logging
import struct
import sys
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from keytrack_ros.errors import InputError
from keytrack_ros.media.bag_part import BagChannel, ros2_name
from keytrack_ros.media.paths import shown

logger = logging.getLogger(__name__)

MAGIC = b"\x89MCAP0\r\n"
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _STATISTICS, _DATA_END = (
    *(0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x08),
    *(0x0B, 0x0F),
)
_CHUNK_HEAD = 44
"""Bytes of a chunk before its records, where its compression has a name of four letters."""
_LARGEST_CHUNK = 2**32
"""Bytes of a chunk, unpacked: nobody writes larger ones, a damaged length may claim them."""


@dataclass(frozen=True)
class _Chunk:
    """Where a chunk is; `channels` are those with messages in it, None if unknown."""

    start_ns: int
    position: int
    channels: frozenset[int] | None


@dataclass
class _Contents:
    """What is known of a file."""

    channels: dict[int, BagChannel] = field(default_factory=dict)
    schemas: dict[int, tuple[str, str]] = field(default_factory=dict)
    chunks: list[_Chunk] = field(default_factory=list)
    counts: dict[int, int] | None = None
    start_ns: int = 2**63 - 1
    end_ns: int = 0

    def take(self, opcode: int, record: _Record) -> None:
        """A record that describes others; of other kinds nothing is taken."""
        if opcode == _SCHEMA:
            number, name = record.number("<H"), record.text()
            record.text()
            self.schemas[number] = name, record.text()
        elif opcode == _CHANNEL:
            number, schema = record.number("<H"), record.number("<H")
            topic, encoding = record.text(), record.text()
            name, definition = self.schemas.get(schema, ("", ""))
            self.channels.setdefault(number, BagChannel(number, topic, ros2_name(name), encoding, definition))

    def count(self, channel: int, time_ns: int) -> None:
        self.counts = self.counts or {}
        self.counts[channel] = self.counts.get(channel, 0) + 1
        self.start_ns, self.end_ns = min(self.start_ns, time_ns), max(self.end_ns, time_ns)


class _Record:
    """The content of a record, taken field by field. Raises struct.error or ValueError beyond its end."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = memoryview(content)
        self._position = 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._content, self._position)
        self._position += struct.calcsize(form)
        return int(value)

    def bytes(self, length: int) -> memoryview:
        if self._position + length > len(self._content):
            raise ValueError("a record is shorter than it says")
        self._position += length
        return self._content[self._position - length : self._position]

    def text(self) -> str:
        return bytes(self.bytes(self.number("<I"))).decode("utf-8", "replace")

    def rest(self) -> memoryview:
        return self._content[self._position :]


class McapFile:
    """An open MCAP file.

    Attributes:
        channels: all of them.
        message_count, start_ns, end_ns: of all messages.
        cut_off: the file lacks its end, and what comes before it is read.

    Raises InputError if it is no MCAP file, or nothing of it can be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._size = path.stat().st_size
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise InputError(f"{shown(path)}: cannot be read: {error.strerror}") from None
        try:
            if self._size == 0:
                raise InputError(f"{shown(path)}: the file is empty")
            if self._file.read(len(MAGIC)) != MAGIC:
                raise InputError(f"{shown(path)}: not a bag that can be read: it does not begin like an MCAP file")
            self._damaged = 0
            self.cut_off = False
            self._breaks_at: int | None = None
            contents = self._summary()
            if contents is None:
                contents = self._scan()
            if self.cut_off and not contents.counts:
                raise InputError(f"{shown(path)}: the recording was cut off before its first whole message")
        except BaseException:
            self._file.close()
            raise
        counts = contents.counts or {}
        self.channels = list(contents.channels.values())
        for channel in self.channels:
            channel.count = counts.get(channel.id, 0)
        self.message_count = sum(counts.values())
        self.start_ns, self.end_ns = contents.start_ns, contents.end_ns
        self._chunks = contents.chunks

    def close(self) -> None:
        self._file.close()

    def messages(self, channels: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Channel, log time in ns and content of each message of some channels, in the order of the log times.

        Where no index says when chunks begin, the order is that of the file.
        """
        wanted = frozenset(channels)
        if not self._chunks:
            for _, opcode, content in self._records(len(MAGIC)):
                yield from self._messages_in(opcode, content, wanted)
            return
        waiting: list[tuple[int, int, tuple[int, int, bytes]]] = []
        number = 0
        for chunk in sorted(self._chunks, key=lambda chunk: chunk.start_ns):
            if chunk.channels is not None and not chunk.channels & wanted:
                continue
            while waiting and waiting[0][0] < chunk.start_ns:
                yield heapq.heappop(waiting)[-1]
            for message in self._messages_in(_CHUNK, self._content_at(chunk.position), wanted):
                heapq.heappush(waiting, (message[1], number, message))
                number += 1
        while waiting:
            yield heapq.heappop(waiting)[-1]

    def _summary(self) -> _Contents | None:
        """What the end of the file says about it; None if there is no end, or if it leaves something out."""
        end = self._size - len(MAGIC) - 29
        self._file.seek(max(0, end))
        data = self._file.read()
        if end < len(MAGIC) or data[-len(MAGIC) :] != MAGIC or data[:9] != struct.pack("<BQ", _FOOTER, 20):
            self.cut_off = True
            return None
        (start,) = struct.unpack_from("<Q", data, 9)
        if not len(MAGIC) < start < end:
            return None
        contents = _Contents()
        try:
            for position, opcode, content in self._records(start):
                if position >= end:
                    break
                contents.take(opcode, _Record(content))
                if opcode == _CHUNK_INDEX:
                    contents.chunks.append(_chunk_index(_Record(content)))
                elif opcode == _STATISTICS:
                    record = _Record(content)
                    record.bytes(26)
                    contents.start_ns, contents.end_ns = record.number("<Q"), record.number("<Q")
                    entries = bytes(record.bytes(record.number("<I")))
                    contents.counts = dict(struct.iter_unpack("<HQ", entries))
        except (struct.error, ValueError):
            return None
        counts = contents.counts
        if counts is None or not set(counts) <= set(contents.channels) or not all(contents.schemas):
            return None
        # Without chunks, or without their index, messages are found from the front.
        return contents if contents.channels else None

    def _scan(self) -> _Contents:
        """What the data say, from the front to where the file ends or breaks off."""
        contents = _Contents()
        outside = False
        for position, opcode, content in self._records(len(MAGIC)):
            outside |= opcode == _MESSAGE
            self._scan_record(contents, position, opcode, content)
        if outside:  # messages that are in no chunk are found from the front
            contents.chunks.clear()
        return contents

    def _scan_record(self, contents: _Contents, position: int, opcode: int, content: bytes) -> None:
        """Counts the messages of a top-level record; of a damaged one those before the damage."""
        chunk = _Contents()
        try:
            records: list[tuple[int, Any]] = self._unpacked(content) if opcode == _CHUNK else [(opcode, content)]
            for inner, record in records:
                if inner == _MESSAGE:
                    channel, _, time_ns, _ = struct.unpack_from("<HIQQ", record)
                    contents.count(channel, time_ns)
                    chunk.count(channel, time_ns)
                else:
                    contents.take(inner, _Record(record))
        except (struct.error, ValueError):
            self._warn_of_damage(position)
        if opcode == _CHUNK and chunk.counts:
            if position == self._breaks_at:
                whole = sum(chunk.counts.values())
                logger.warning(
                    "%s: %d messages of the chunk in which it breaks off are whole", shown(self._path), whole
                )
            contents.chunks.append(_Chunk(chunk.start_ns, position, frozenset(chunk.counts)))

    def _records(self, position: int) -> Iterator[tuple[int, int, bytes]]:
        """Position, opcode and content of each record of the file, up to the end of the data or the footer.

        All are whole but a chunk in which the file breaks off.
        """
        while True:
            self._file.seek(position)
            head = self._file.read(9)
            if len(head) < 9:
                return
            opcode, length = struct.unpack("<BQ", head)
            # 0 is no opcode: a file filled up with zeros.
            if opcode in (0, _FOOTER, _DATA_END):
                return
            there = min(length, self._size - position - 9)
            if there < length and (opcode != _CHUNK or not self.cut_off or there < _CHUNK_HEAD):
                return
            self._breaks_at = position if there < length else None
            yield position, opcode, self._file.read(there)
            if there < length:
                return
            position += 9 + length

    def _content_at(self, position: int) -> bytes:
        head = b""
        if position < self._size:  # an index that is damaged may say anything
            self._file.seek(position)
            head = self._file.read(9)
        opcode, length = struct.unpack("<BQ", head) if len(head) == 9 else (0, 0)
        there = min(length, self._size - position - 9)
        if opcode != _CHUNK or (there < length and not self.cut_off):
            self._warn_of_damage(position)
            return b""
        return self._file.read(there)

    def _messages_in(self, opcode: int, content: bytes, wanted: frozenset[int]) -> list[tuple[int, int, bytes]]:
        """The messages of a top-level record, by log time; none of a damaged one."""
        found = []
        try:
            records = self._unpacked(content) if opcode == _CHUNK and content else [(opcode, content)]
            for inner, record in records:
                if inner != _MESSAGE:
                    continue
                channel, _, time_ns, _ = struct.unpack_from("<HIQQ", record)
                if channel in wanted:
                    found.append((channel, time_ns, bytes(record[22:])))
        except (struct.error, ValueError):
            self._warn_of_damage(self._file.tell())
        return sorted(found, key=lambda message: message[1])

    def _unpacked(self, content: bytes) -> list[tuple[int, memoryview]]:
        """Opcode and content of each record of a chunk; of one that breaks off, of those that are whole.

        Raises ValueError or struct.error if it is damaged.
        """
        chunk = _Record(content)
        chunk.bytes(16)
        size, crc, compression = chunk.number("<Q"), chunk.number("<I"), chunk.text()
        length, packed = chunk.number("<Q"), chunk.rest()
        cut = self.cut_off and len(packed) < length
        if len(packed) < length and not cut:
            raise ValueError("a chunk is shorter than it says")
        if size > _LARGEST_CHUNK:
            raise ValueError("a chunk is larger than any")
        data = _decompressed(bytes(packed[:length]), compression, size)
        if not cut and (len(data) != size or (crc and zlib.crc32(data) != crc)):
            raise ValueError("a chunk is not what its checksum says")
        records, position, view = [], 0, memoryview(data)
        while position + 9 <= len(data):
            opcode, length = struct.unpack_from("<BQ", data, position)
            if position + 9 + length > len(data):
                if cut:
                    break
                raise ValueError("a record is longer than its chunk")
            records.append((opcode, view[position + 9 : position + 9 + length]))
            position += 9 + length
        return records

    def _warn_of_damage(self, position: int) -> None:
        self._damaged += 1
        if self._damaged == 1:
            logger.warning("%s: a part near byte %d is damaged and left out", shown(self._path), position)


def _chunk_index(record: _Record) -> _Chunk:
    start_ns, _, position, _ = (record.number("<Q") for _ in range(4))
    entries = bytes(record.bytes(record.number("<I")))
    channels = frozenset(channel for channel, _ in struct.iter_unpack("<HQ", entries))
    return _Chunk(start_ns, position, channels or None)  # an index without messages' offsets may be left out


def _decompressed(data: bytes, compression: str, size: int) -> bytes:
    """Raises ValueError for what cannot be decompressed."""
    try:
        if compression == "zstd":
            return zstd.ZstdDecompressor().decompress(data, max_length=size) if size else b""
        if compression == "lz4":
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size)) if size else b""
    except (zstd.ZstdError, RuntimeError, EOFError, MemoryError) as error:
        raise ValueError(f"{compression}: {error}") from None
    if compression:
        raise ValueError(f"compression {compression} is not known")
    return data
