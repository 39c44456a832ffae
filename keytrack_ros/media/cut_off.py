"""Whether a file ends before it should, as far as its outermost structure tells."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"uuid"})


def is_cut_off(path: Path) -> bool:
    """Whether the chunks of an MP4, MOV, AVI, WAV, MKV or WebM file say that it should be longer, or its index is gone.

    False for other formats, which do not say how long they are.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(12)
            file.seek(0)
            if head[:4] == b"RIFF":
                return _riff_is_short(file, size)
            if head[:4] == _EBML:
                return _matroska_is_short(file, size)
            if head[4:8] in _BOXES:
                return _boxes_are_short(file, size)
    except (OSError, struct.error):
        pass
    return False


def _boxes_are_short(file: BinaryIO, size: int) -> bool:
    """MP4, MOV: a box reaches beyond the end, or there are pictures (mdat) but no index (moov)."""
    position, kinds = 0, set()
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        elif length == 0:  # to the end of the file
            length = size - position
        kinds.add(kind)
        if length < 8:
            break
        position += length
    return position > size or (b"mdat" in kinds and b"moov" not in kinds)


def _riff_is_short(file: BinaryIO, size: int) -> bool:
    """AVI: a RIFF chunk reaches beyond the end; those of large files follow each other."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF":
            return False
        position += 8 + length + length % 2
    return position > size + 1


def _matroska_is_short(file: BinaryIO, size: int) -> bool:
    """MKV, WebM: the segment reaches beyond the end; live recordings do not say how long it is."""
    file.seek(4)
    length = _vint(file)
    file.seek(length or 0, 1)
    if file.read(4) != _SEGMENT:
        return False
    length = _vint(file)
    return length is not None and file.tell() + length > size


def _vint(file: BinaryIO) -> int | None:
    """A length of EBML; None for an unknown one."""
    first = file.read(1)
    if not first or first[0] == 0:
        return 0
    extra = 8 - first[0].bit_length()
    value = first[0] & ((1 << (7 - extra)) - 1)
    for byte in file.read(extra):
        value = value << 8 | byte
    return None if value == (1 << (7 * (extra + 1))) - 1 else value
