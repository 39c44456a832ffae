"""The command line, `keytrack`. What a command needs is imported when it runs, so that `keytrack --help` is quick."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path


def main() -> int:
    """Runs the command that `sys.argv` names; returns the exit code: 0, 1 error, 2 wrong usage, 130 Ctrl-C."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread:  # while modules are imported there is nothing that must be ended in order
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files that the terminal's encoding does not have
            stream.reconfigure(errors="backslashreplace")
    # OpenCV and FFmpeg write about damaged files to stderr by themselves; our own messages say it better.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    from keytrack_ros.cli.app import app

    interrupts: list[int] = []

    def interrupt(number: int, _: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    try:
        if in_main_thread:
            signal.signal(signal.SIGINT, interrupt)
        app(prog_name="keytrack")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        # A library that is being imported may make an error of its own of the interrupt.
        return 130 if interrupts and code == 1 else code
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # a defect of ours: one line for the user, the rest for a report
        return 130 if interrupts else _reported(error)
    finally:
        # All is done. The interpreter takes a moment to end, and makes the signal fatal again before it has.
        if in_main_thread:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    return 0


def _reported(error: Exception) -> int:
    """Shows a defect in one line, and keeps its traceback in a file."""
    from keytrack_ros.cli.console import say_error

    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {' '.join(str(error).split())}"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="keytrack_", suffix=".txt", delete=False) as file:
            traceback.print_exception(error, file=file)
        kept = f"; please report it with {file.name}"
    except OSError:
        kept = ""
    say_error(f"a defect of keytrack: {text}{kept}")
    return 1
