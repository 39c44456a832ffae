"""scripts/setup.sh on machines that lack something: it must name the thing and the command that installs it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from test.conftest import REPOSITORY

TOOLS = ("bash", "dirname", "grep", "sed", "sort", "head", "cat", "cmp", "find", "mkdir", "tail", "rm", "touch", "env")


def machine(folder: Path, **programs: str) -> Path:
    """A PATH with the usual tools and `programs` (name → script text)."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (bin_folder / tool).symlink_to(found)
    for name, text in programs.items():
        file = bin_folder / name.replace("_", ".")
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    return bin_folder


def set_up(folder: Path, release: str = "", **programs: str) -> subprocess.CompletedProcess[str]:
    """Runs the script in a folder that has nothing but it; `release` is ROS of its environment."""
    (folder / "repository" / "scripts").mkdir(parents=True)
    script = folder / "repository" / "scripts" / "setup.sh"
    shutil.copy(REPOSITORY / "scripts" / "setup.sh", script)
    path = machine(folder, **programs)
    environment = {"PATH": str(path), "HOME": str(folder), "ROS": release}
    return subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        ({}, "Python 3.10 to 3.13 is needed: sudo apt-get install python3 python3-venv python3-dev"),
        ({"python3": "exit 1"}, "Python 3.10 to 3.13 is needed"),
        ({"python3": "exit 0"}, "CMake 3.21 or newer is needed: sudo apt-get install cmake"),
        ({"python3": "exit 0", "cmake": "echo cmake version 3.16.3"}, "CMake 3.21 or newer is needed, this is 3.16"),
        (
            {"python3": "exit 0", "cmake": "echo cmake version 3.25.1"},
            "a C++ compiler is needed: sudo apt-get install g++",
        ),
        (
            {
                "python3": 'case "$2" in *ensurepip*) exit 1;; esac',
                "cmake": "echo cmake version 4.0.2",
                "c++": "",
                "make": "",
            },
            "Python's venv module is needed: sudo apt-get install python3-venv",
        ),
        (
            {
                "python3": 'case "$2" in *sysconfig*) echo /nowhere/Python.h;; esac',
                "cmake": "echo cmake version 4.0.2",
                "c++": "",
                "make": "",
            },
            "Python's headers are needed (/nowhere/Python.h): sudo apt-get install python3-dev",
        ),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_installs_it(tmp_path, programs, message):
    done = set_up(tmp_path, **programs)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "repository" / ".venv").exists()


@pytest.mark.parametrize(
    ("release", "message"),
    [
        ("jazzy", "Python 3.12 is needed"),
        ("foxy", "ROS=foxy is not known; there are kilted (the default) and jazzy"),
    ],
)
def test_other_releases_of_ros(tmp_path, release, message):
    done = set_up(tmp_path, release=release, python3="exit 1")
    assert done.returncode == 1
    assert message in done.stderr
