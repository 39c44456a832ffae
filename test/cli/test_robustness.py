"""The command line under bad conditions, as a process: names, signals, full disks, its own results as input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from test.conftest import REPOSITORY
from test.media.video_files import scene, write_video

CODE = "import sys; from keytrack_ros.cli import main; sys.exit(main())"


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", CODE, *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}


def run(*arguments: str | Path, prefix: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*prefix, *command(*arguments)], capture_output=True, env=environment() | variables, check=False, cwd="/"
    )


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "walk.avi", [scene(k) for k in range(4)])


def test_names_that_are_not_utf8(tmp_path: Path, video: Path) -> None:
    folder = tmp_path / os.fsdecode(b"d\xe9p")
    folder.mkdir()
    source = folder / os.fsdecode(b"caf\xe9.avi")
    video.rename(source)
    out = folder / os.fsdecode(b"r\xe9s")
    done = run("track", source, "-o", out)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert sorted(file.name for file in out.iterdir()) == ["summary.json", "tracks", "tracks.json", "tracks.mp4"]
    ascii_only = run("track", source, "-o", out, "--overwrite", "--frames", "2", LC_ALL="C", PYTHONUTF8="0")
    assert ascii_only.returncode == 0, ascii_only.stderr


def test_names_that_look_like_markup_or_hold_a_line_break(tmp_path: Path, video: Path) -> None:
    source = video.rename(tmp_path / "[red]a\n.avi")
    out = tmp_path / "o[/b]\nx"
    done = run("track", source, "-o", out, "--frames", "2", COLUMNS="400")
    assert done.returncode == 0, done.stderr
    assert str(out / "summary.json").replace("\n", "\\n").encode() in done.stdout
    missing = run("track", tmp_path / "gone[/b]\n.avi", "-o", tmp_path / "out")
    assert missing.returncode == 1
    assert missing.stderr.endswith(b"gone[/b]\\n.avi: there is no such file or folder\n")
    assert missing.stderr.count(b"\n") == 1


def test_a_reader_that_has_enough_is_no_error() -> None:
    done = run("models", "list", prefix=("bash", "-c", '"$@" | true', "piped"))
    assert done.stderr == b""


@pytest.mark.parametrize(
    "source", ["rtsp://127.0.0.1:1/cam", "http://127.0.0.1:1/v.mp4", "file:///gone.avi", "~nobody/x"]
)
def test_what_cannot_be_reached_is_one_line(tmp_path: Path, source: str) -> None:
    done = run("track", source, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"error: ")


def test_the_results_never_overwrite_their_input(tmp_path: Path, video: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    source = out / "tracks.mp4"
    video.rename(source)
    content = source.read_bytes()
    done = run("track", source, "-o", out, "--overwrite")
    assert done.returncode == 1
    assert b"the result tracks.mp4 would overwrite the input" in done.stderr
    assert source.read_bytes() == content


def test_a_full_disk_is_named_and_leaves_no_parts(tmp_path: Path, video: Path) -> None:
    # Files of at most 4 kB stand for a disk that is full; the signal for it is what Python ignores.
    out = tmp_path / "out"
    limited = ("bash", "-c", 'ulimit -f 4; exec "$@"', "limited")
    done = run("track", video, "-o", out, prefix=limited)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"cannot be written: File too large" in done.stderr
    assert str(out).encode() in done.stderr
    assert list(out.rglob("*.part*")) == []


def test_a_disk_that_fills_up_while_the_video_is_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (4, 96, 128, 3), np.uint8)
    video = write_video(tmp_path / "noise.avi", list(noise))
    out = tmp_path / "out"
    done = run("track", video, "-o", out, prefix=("bash", "-c", 'ulimit -f 16; exec "$@"', "limited"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(b"tracks.part.mp4: cannot be written: File too large")
    assert b"Traceback" not in done.stderr
    assert sorted(file.name for file in out.rglob("*") if file.is_file()) == [
        "metadata.yaml",
        "tracks.json",
        "tracks.mcap",
    ]


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.3, 1.0])
def test_ctrl_c_at_any_moment_is_no_traceback(tmp_path: Path, video: Path, delay_s: float) -> None:
    begin = "import os, signal; signal.signal(signal.SIGINT, lambda *_: os._exit(130)); "  # as the executable does
    process = subprocess.Popen(
        [sys.executable, "-c", begin + "print(flush=True); " + CODE, "track", str(video), "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    process.stdout.readline()  # before that, the interpreter is not ready
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=280)
    assert b"Traceback" not in errors
    assert process.returncode in (0, 130)


def test_ctrl_c_after_the_last_step_changes_nothing() -> None:
    code = (
        "import os, signal, sys; from keytrack_ros.cli import main; code = main()\n"
        "os.kill(os.getpid(), signal.SIGINT); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, env=environment(), check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("error", ["SystemExit(1)", "ImportError('half imported')"])
def test_ctrl_c_that_a_library_turns_into_its_own_error_is_still_ctrl_c(error: str) -> None:
    code = (
        "import os, signal, sys, keytrack_ros.cli.app as module; from keytrack_ros.cli import main\n"
        "def app(**_):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n"
        f"        raise {error} from None\n"
        "module.app = app; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=False, timeout=60)
    assert (done.returncode, done.stderr) == (130, b"")


def test_a_defect_is_one_line_and_a_file(tmp_path: Path) -> None:
    code = (
        "import sys; import keytrack_ros.cli.app as app\n"
        "def broken(**_): raise TypeError('len of a number')\n"
        "app.app = broken\n"
        "from keytrack_ros.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment() | {"TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: a defect of keytrack: TypeError in <string>:2: len of a number; please report"
    )
    (report,) = tmp_path.glob("keytrack_*.txt")
    assert "Traceback" in report.read_text()


def test_a_user_without_a_home(tmp_path: Path, video: Path) -> None:
    code = (
        "import os, pwd, sys\n"
        "def nobody(*_): raise KeyError('uid not found')\n"
        "pwd.getpwuid = pwd.getpwnam = nobody  # as in a container that runs under a number\n"
        "from keytrack_ros.cli import main; sys.exit(main())"
    )
    variables = {k: v for k, v in environment().items() if k not in ("HOME", "XDG_CACHE_HOME")}
    arguments = ["track", str(video), "-o", str(tmp_path / "out"), "--frames", "2"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-c", code, "track", "~/a.avi", "-o", "x"], capture_output=True, env=variables, check=False
    )
    assert done.stderr == b"error: ~/a.avi: the home folder is not known; write the whole path\n"
