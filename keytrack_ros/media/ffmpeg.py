"""FFmpeg's libraries, which few inputs need and not every installation has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keytrack_ros.errors import InputError


@contextmanager
def ffmpeg_needed() -> Iterator[None]:
    """Around imports: names the package to install, where FFmpeg's libraries are missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise InputError("videos and cameras are read with PyAV, which is not installed: pip install av") from None
