"""What a file is by its first bytes, where that is no video."""

from __future__ import annotations

from pathlib import Path

_SIGNATURES = (
    (b"\x89MCAP0\r\n", "an MCAP recording, whose name should end in .mcap"),
    (b"SQLite format 3\0", "an SQLite file; as a recording of ros2 bag its name should end in .db3"),
    (b"#ROSBAG V", "a ROS 1 bag, whose name should end in .bag"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ\0", "compressed with xz; unpack it first"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4; unpack it first"),
    (b"PK\x03\x04", "a ZIP archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
)
_LONGEST = max(len(begin) for begin, _ in _SIGNATURES)


def what_else(path: Path) -> str:
    """For a message: what a file is that its user takes for a video; "" if that is not known.

    Raises OSError if it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_LONGEST)
    return next((what for begin, what in _SIGNATURES if head.startswith(begin)), "")
