"""The command line, `keytrack`. What a command needs is imported when it runs, so that `keytrack --help` is quick."""

from __future__ import annotations

import os


def main() -> int:
    """Runs the command that `sys.argv` names; returns the exit code: 0, 1 error, 2 wrong usage, 130 Ctrl-C."""
    # OpenCV and FFmpeg write about damaged files to stderr by themselves; our own messages say it better.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    from keytrack_ros.cli.app import app

    try:
        app(prog_name="keytrack")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
