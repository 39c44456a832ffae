"""Names of files and streams as they come, also such as are not UTF-8, and addresses with passwords."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

ADDRESSES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp", "srt")
"""Kinds of addresses that are read as streams; file:// names a file."""

BAG_SUFFIXES = frozenset({".mcap", ".db3", ".bag"})
BAG_NAMES = (".mcap", ".db3", ".bag", ".bag.active", ".mcap.zstd", ".db3.zstd", ".mcap.zst", ".db3.zst")
"""Ends of the names of files that hold recordings; `ros2 bag` compresses whole files to .zstd, `zstd` to .zst."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def shown(path: object) -> str:
    """A path or address for people, for JSON and for messages: always valid text, without a password.

    Bytes that are not UTF-8, which Python keeps as lone surrogates, become �; a line break becomes \\n, and so on.
    """
    text = os.fsencode(str(path)).decode("utf-8", "replace") if not str(path).isascii() else str(path)
    text = _CONTROL.sub(lambda match: repr(match.group())[1:-1], text)
    return re.sub(r"^([a-z][a-z0-9+.-]*://)[^/@]*@", r"\1", text)


def without_zstd(name: str) -> str:
    """walk.mcap of walk.mcap.zstd or walk.mcap.zst."""
    return name.removesuffix(".zstd").removesuffix(".zst")


def has_utf8_name(path: Path) -> bool:
    """Whether libraries in C, which take names as UTF-8, can open it."""
    try:
        return os.fsencode(path) == str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False


def scheme_of(source: str) -> str:
    """`rtsp` of rtsp://camera/stream; "" for what is no address."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    return match.group(1).lower() if match else ""


def path_of_file_address(address: str) -> Path:
    """/a/b.mp4 of file:///a/b.mp4."""
    parts = urlsplit(address)
    return Path(unquote(parts.path if parts.netloc in ("", "localhost") else f"{parts.netloc}{parts.path}"))
