"""How commands end in errors: one line on stderr and an exit code, never a traceback of ours."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from keytrack_ros.cli.console import say_error
from keytrack_ros.errors import KeytrackError

FORESEEN = (KeytrackError, OSError)
"""What users and their machines can cause; anything else is a defect of ours."""


def error_line(error: Exception) -> str:
    """The text of a foreseen error; of the operating system's, with the file that it concerns."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return str(error)


class CommandGroup(TyperGroup):
    """Commands whose foreseen errors end in one line and exit code 1, and Ctrl-C in code 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever reads our output wants no more, as `head`: typer ends in silence
            raise
        except FORESEEN as error:
            say_error(error_line(error))
        except KeyboardInterrupt:
            say_error("stopped by Ctrl-C")
            raise typer.Exit(130) from None
        raise typer.Exit(1)
