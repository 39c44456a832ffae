"""sqlite3 files of rosbag2 (.db3), whole or damaged."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path

from keytrack_ros.errors import InputError
from keytrack_ros.media.bag_part import BagChannel
from keytrack_ros.media.paths import shown

_MAGIC = b"SQLite format 3\0"
_DAMAGE = (sqlite3.Error, UnicodeDecodeError)
"""What the sqlite3 module raises of a damaged file; the second where names of tables and columns are damaged."""


class SqliteFile:
    """An open .db3 file; see `BagPart`.

    Rows that a recorder has not yet moved out of its write-ahead log (`-wal`) are read too.

    Args:
        path: the file, which is never written to.
        scratch: an empty folder where it may be copied to.

    Raises InputError if it is no such file, or nothing of it can be read.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self.cut_off = False
        try:
            with path.open("rb") as file:
                head = file.read(len(_MAGIC))
        except OSError as error:
            raise InputError(f"{shown(path)}: cannot be read: {error.strerror}") from None
        if head != _MAGIC:
            cause = "not a bag that can be read: it does not begin like sqlite3" if head else "the file is empty"
            raise InputError(f"{shown(path)}: {cause}")
        log = path.with_name(f"{path.name}-wal")
        if log.is_file() and log.stat().st_size:
            path = _copied([path, log], scratch)
        try:
            self._open(path)
        except _DAMAGE as error:
            salvaged = scratch / f"{path.stem}_salvaged.db3"
            try:
                salvage_sqlite(path, salvaged)
                self._open(salvaged)
            except (*_DAMAGE, struct.error):  # the first cause says more
                raise InputError(f"{shown(path)}: not a bag that can be read: {error}") from None
            except OSError as full:
                raise InputError(f"{shown(path)}: cannot be repaired in {scratch}: {full.strerror}") from None
            self.cut_off = True

    def _open(self, path: Path) -> None:
        mode = "ro" if path.with_name(f"{path.name}-wal").is_file() else "ro&immutable=1"
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, check_same_thread=False)
        self._connection.text_factory = _text
        try:
            self._read_topics()
        except BaseException:
            self._connection.close()
            raise

    def _read_topics(self) -> None:
        run = self._connection.execute
        columns = {row[1] for row in run("PRAGMA table_info(topics)")}
        if not columns:
            raise sqlite3.DatabaseError("it has no table of topics")
        digest = "type_description_hash" if "type_description_hash" in columns else "''"
        counts = dict(run("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"))
        self.channels = [
            BagChannel(number, str(topic), str(kind), str(encoding), "", counts.get(number, 0), str(hashed or ""))
            for number, topic, kind, encoding, hashed in run(
                f"SELECT id, name, type, serialization_format, {digest} FROM topics ORDER BY id"
            )
        ]
        self.message_count = sum(counts.values())
        first, last = run("SELECT min(timestamp), max(timestamp) FROM messages").fetchone()
        times = [time_ns for time_ns in (first, last) if isinstance(time_ns, int)]
        self.start_ns, self.end_ns = (times[0], times[-1]) if times else (2**63 - 1, 0)

    def messages(self, channels: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        places = ", ".join("?" * len(channels))
        query = f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({places}) ORDER BY timestamp, id"
        for topic, time_ns, data in self._connection.execute(query, list(channels)):
            if isinstance(data, bytes) and isinstance(time_ns, int):  # damaged rows may hold anything
                yield topic, time_ns, data

    def close(self) -> None:
        self._connection.close()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _copied(files: list[Path], scratch: Path) -> Path:
    """Copies of files that belong together; returns the first. Raises InputError if there is no room."""
    try:
        copies = [Path(shutil.copyfile(file, scratch / file.name)) for file in files]
    except OSError as error:
        raise InputError(
            f"{shown(files[0])}: cannot be copied into {scratch}, as its write-ahead log needs: {error.strerror}; the "
            "variable TMPDIR names another folder"
        ) from None
    return copies[0]


def salvage_sqlite(damaged: Path, target: Path) -> None:
    """Copies all tables of a bag's .db3 file, each up to the first row that cannot be read.

    Raises an error of `_DAMAGE` if not even the list of tables can be read.
    """
    # SQLite refuses a file that is shorter than its header says; one filled up with zeros it reads up to there.
    filled = target.with_suffix(".filled")
    shutil.copyfile(damaged, filled)
    with filled.open("r+b") as file:
        head = file.read(100).ljust(100, b"\0")
        (page_size,), (pages,) = struct.unpack(">H", head[16:18]), struct.unpack(">I", head[28:32])
        size = pages * (65536 if page_size == 1 else page_size)
        # A damaged number of pages is not believed; SQLite finds out for itself.
        file.truncate(max(damaged.stat().st_size, min(size, 2 * damaged.stat().st_size + 2**24)))
    with (
        closing(sqlite3.connect(f"{filled.absolute().as_uri()}?immutable=1", uri=True)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.text_factory = _text
        for name, statement in source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            if name.startswith("sqlite_"):  # SQLite's own
                continue
            copy.execute(statement)
            with suppress(*_DAMAGE):  # the damaged page: what came before it is kept
                for row in source.execute(f'SELECT * FROM "{name}"'):
                    copy.execute(f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(row))})', row)
        copy.commit()
    filled.unlink()
