"""What all writers do about files that are already there, and about disks that are full."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from keytrack_ros.errors import OutputError
from keytrack_ros.media.paths import shown


def require_free(path: Path, *, overwrite: bool) -> None:
    """Raises OutputError if `path` exists and may not be overwritten."""
    if path.exists() and not overwrite:
        raise OutputError(
            f"{shown(path)}: exists already; name another place, or allow it to be overwritten (--overwrite)"
        )


def output_error(path: Path, error: Exception) -> OutputError:
    """What went wrong with a file, in one line."""
    cause = getattr(error, "strerror", None) or " ".join(str(error).split())
    return OutputError(f"{shown(path)}: cannot be written: {cause}")


class TextFile:
    """A text file that grows: it has its name only once it is complete, and is <name>.part until `finish`.

    Raises:
        OutputError: it cannot be written; nothing of it is left then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(f"{path.name}.part")
        try:
            self._file = self._part.open("w", encoding="utf-8")
        except OSError as error:
            raise output_error(self.path, error) from None

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as error:
            self.discard()
            raise output_error(self.path, error) from None

    def finish(self) -> None:
        """Gives the file its name. The second call does nothing."""
        if self._file.closed:
            return
        try:
            self._file.close()
            self._part.replace(self.path)
        except OSError as error:
            self.discard()
            raise output_error(self.path, error) from None

    def discard(self) -> None:
        """Gives the file up."""
        with suppress(OSError):  # what is still to be written cannot be, and need not
            self._file.close()
        self._part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a whole file. Raises OutputError."""
    file = TextFile(path)
    file.write(text)
    file.finish()
