"""Makes bags readable whose recording was cut off: all that is whole in them is kept.

MCAP: a file that lacks its end is shown to `rosbags` with an empty one put after the last whole record; nothing is
copied. sqlite3: the rows that SQLite can still reach are copied into a new file.
"""

from __future__ import annotations

import io
import shutil
import sqlite3
import struct
from contextlib import closing, suppress
from pathlib import Path

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER_OPCODE = 0x02
_DATA_END_OPCODE = 0x0F
# A footer that says "no summary, no index": opcode, length 20, three zero fields; then the magic.
_EMPTY_END = struct.pack("<BQQQI", _FOOTER_OPCODE, 20, 0, 0, 0) + _MAGIC


class CutOffMcap:
    """The path of an MCAP file whose end is missing; it opens as a complete one. Serves where `rosbags` takes a path.

    Raises ValueError if the file is not MCAP, or complete.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = _whole_records(path)
        self.suffix = path.suffix
        self.name = path.name

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """A binary file object; `mode` can only be "rb"."""
        if mode != "rb":
            raise ValueError(f"{self._path}: can only be read")
        return io.BufferedReader(_Appended(self._path, self._length, _EMPTY_END))

    def exists(self) -> bool:
        return self._path.exists()

    def is_dir(self) -> bool:
        return False

    def __str__(self) -> str:
        return str(self._path)


class _Appended(io.RawIOBase):
    """The first `length` bytes of a file, followed by `end`."""

    def __init__(self, path: Path, length: int, end: bytes) -> None:
        self._file = path.open("rb")
        self._length = length
        self._end = end
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._position, self._length + len(self._end))[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._position < self._length:
            self._file.seek(self._position)
            data = self._file.read(min(len(buffer), self._length - self._position))
        else:
            start = self._position - self._length
            data = self._end[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _whole_records(path: Path) -> int:
    """How many bytes of an MCAP file are its beginning and whole data records (opcode, uint64 length, content)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(f"{path}: not MCAP")
        whole = len(_MAGIC)
        while True:
            head = file.read(9)
            if len(head) < 9:
                return whole
            opcode, length = struct.unpack("<BQ", head)
            if opcode == _FOOTER_OPCODE:
                raise ValueError(f"{path}: complete")
            # What follows the data (an index, cut off) is of no use; 0 is no opcode: a file filled up with zeros.
            if opcode in (0, _DATA_END_OPCODE) or whole + 9 + length > size:
                return whole
            whole += 9 + length
            file.seek(whole)


def salvage_sqlite(damaged: Path, target: Path) -> None:
    """Copies all tables of a bag's .db3 file, each up to the first row that cannot be read.

    Raises sqlite3.Error if not even the list of tables can be read.
    """
    # SQLite refuses a file that is shorter than its header says; one filled up with zeros it reads up to there.
    filled = target.with_suffix(".filled")
    shutil.copyfile(damaged, filled)
    with filled.open("r+b") as file:
        head = file.read(100).ljust(100, b"\0")
        (page_size,), (pages,) = struct.unpack(">H", head[16:18]), struct.unpack(">I", head[28:32])
        file.truncate(max(damaged.stat().st_size, pages * (65536 if page_size == 1 else page_size)))
    with (
        closing(sqlite3.connect(f"{filled.absolute().as_uri()}?immutable=1", uri=True)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        for name, statement in source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            if name.startswith("sqlite_"):  # SQLite's own
                continue
            copy.execute(statement)
            with suppress(sqlite3.DatabaseError):  # the damaged page: what came before it is kept
                for row in source.execute(f'SELECT * FROM "{name}"'):
                    copy.execute(f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(row))})', row)
        copy.commit()
    filled.unlink()
