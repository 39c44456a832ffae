"""What all writers do about files that are already there."""

from __future__ import annotations

from pathlib import Path

from keytrack_ros.errors import OutputError


def require_free(path: Path, *, overwrite: bool) -> None:
    """Raises OutputError if `path` exists and may not be overwritten."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; name another place, or allow it to be overwritten (--overwrite)")
