"""MCAP files as other programs write them: any profile, with and without chunks, index, summary (mcap.dev/spec)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import lz4.frame
from rosbags.rosbag2.storage_mcap import zstd

COMPRESSORS = {"": bytes, "zstd": zstd.compress, "lz4": lz4.frame.compress}
MAGIC = b"\x89MCAP0\r\n"


def text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def write_mcap(
    path: Path,
    messages: Sequence[tuple[int, bytes]],
    *,
    profile: str = "ros2",
    encoding: str = "cdr",
    schema: tuple[str, str, str] = ("sensor_msgs/msg/CompressedImage", "ros2msg", ""),
    topic: str = "/camera/compressed",
    chunked: bool = True,
    statistics: bool = True,
    repeated: bool = True,
    summary: bool = True,
    per_chunk: int = 4,
    compression: str = "zstd",
) -> Path:
    """`messages` are (log time in ns, content); `repeated`: the summary repeats schema and channel."""
    name, form, definition = schema
    about = record(0x03, struct.pack("<H", 1) + text(name) + text(form) + text(definition))
    about += record(0x04, struct.pack("<HH", 3, 1) + text(topic) + text(encoding) + struct.pack("<I", 0))
    packed = [record(0x05, struct.pack("<HIQQ", 3, k, t, t) + data) for k, (t, data) in enumerate(messages)]
    data = MAGIC + record(0x01, text(profile) + text("test"))
    index = b""
    if chunked:
        for start in range(0, len(packed), per_chunk):
            inside = (about if start == 0 else b"") + b"".join(packed[start : start + per_chunk])
            times = [t for t, _ in messages[start : start + per_chunk]]
            small = COMPRESSORS[compression](inside)
            head = struct.pack("<QQQI", min(times), max(times), len(inside), 0) + text(compression)
            chunk = record(0x06, head + struct.pack("<Q", len(small)) + small)
            where = struct.pack("<QQQQI", min(times), max(times), len(data), len(chunk), 10) + struct.pack("<HQ", 3, 0)
            index += record(
                0x08, where + struct.pack("<Q", 0) + text(compression) + struct.pack("<QQ", len(small), len(inside))
            )
            data += chunk
    else:
        data += about + b"".join(packed)
    data += record(0x0F, struct.pack("<I", 0))
    start = len(data)
    end = (about if repeated else b"") + index
    if statistics:
        times = [t for t, _ in messages]
        counts = struct.pack("<QHIIIIQQ", len(packed), 1, 1, 0, 0, 1, min(times), max(times))
        end += record(0x0B, counts + struct.pack("<IHQ", 10, 3, len(packed)))
    if summary:
        data += end
    data += record(0x02, struct.pack("<QQI", start if summary and end else 0, 0, 0)) + MAGIC
    path.write_bytes(data)
    return path
