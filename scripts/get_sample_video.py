"""Fetches the sample video of the demo: pedestrians, 768×576, 10 fps, 795 frames (`vtest.avi` of OpenCV).

It is part of the Debian and Ubuntu package opencv-doc and is fetched through apt, which checks its signature; no root
is needed. The copy stays in the user's cache. Run as a program, this prints the video's path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from keytrack_ros.cli.console import say_error
from keytrack_ros.errors import InputError

_PACKAGE = "opencv-doc"
_INSTALLED = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
_OTHERWISE = "or take any other video: make demo VIDEO=path"


def sample_video() -> Path:
    """Path of the video, which is downloaded (a few MB) if it is not there yet.

    Raises InputError, with the way out, if it cannot be downloaded.
    """
    if _INSTALLED.is_file():
        return _INSTALLED
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keytrack_ros/samples"
    video = cache / "vtest.avi"
    if video.is_file():
        return video
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise InputError(
                f"the sample video comes by {program}, which is not on this machine; install it, {_OTHERWISE}"
            )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, apt downloads as the user _apt where it can
        _download(folder)
        (package,) = folder.glob(f"{_PACKAGE}_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "content")], check=True)
        found = folder / "content" / _INSTALLED.relative_to("/")
        if not found.is_file():
            raise InputError(f"{package.name} holds no {_INSTALLED.name}; take any other video: make demo VIDEO=path")
        found.replace(video)
    return video


def _download(folder: Path) -> None:
    environment = os.environ | {"LC_ALL": "C"}
    try:
        result = subprocess.run(
            ["apt-get", "download", _PACKAGE],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"apt-get download {_PACKAGE} took over five minutes; try again, {_OTHERWISE}") from None
    if result.returncode == 0 and list(folder.glob("*.deb")):
        return
    errors = [line.removeprefix("E: ") for line in result.stderr.splitlines() if line.startswith("E:")]
    cause = errors[0] if errors else f"exit code {result.returncode}"
    if "Unable to locate" in result.stderr or "No packages found" in result.stderr or "Can't select" in result.stderr:
        raise InputError(
            f"apt does not know the package {_PACKAGE} ({cause}): run `sudo apt-get update` once (on Ubuntu with "
            f"'universe'), {_OTHERWISE}"
        )
    raise InputError(
        f"the sample video cannot be downloaded; is this machine online? ({cause}); try again, {_OTHERWISE}"
    )


def main() -> int:
    try:
        sys.stdout.write(f"{sample_video()}\n")
    except InputError as error:
        say_error(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
