"""The package as its users build it: make (this very environment), colcon, pip. Each from a copy of the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from test.conftest import REPOSITORY

NODES = (
    "cameras_node",
    "count_crossings_node",
    "follow_person_node",
    "recorder_node",
    "tracker_node",
    "video_node",
)
SCRIPT = """
import keytrack_ros, rclpy
from keytrack_ros.msg import TrackedPose, TrackedPoseArray
from rclpy.serialization import deserialize_message, serialize_message
message = TrackedPoseArray(image_width=640, poses=[TrackedPose(track_id=7)])
assert deserialize_message(serialize_message(message), TrackedPoseArray) == message
assert len(message.poses[0].keypoints) == TrackedPose.NUM_KEYPOINTS == 15
import keytrack_ros.pipeline
print(keytrack_ros.__file__)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "keytrack_ros"
    left_out = shutil.ignore_patterns(
        ".venv*", "build", "install", "log", ".git", "demo_output", "runs", "__pycache__", ".*_cache"
    )
    shutil.copytree(REPOSITORY, folder, ignore=left_out)
    return folder


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Output of a command that must succeed, with no more environment than a new shell has."""
    clean = {"HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **environment}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_this_environment_has_messages_and_executables():
    prefix = Path(sys.prefix)
    installed = Path(sysconfig.get_path("purelib")) / "keytrack_ros"
    assert run([sys.executable, "-c", SCRIPT], prefix).strip() == str(installed / "__init__.py")
    for name in NODES:
        assert os.access(prefix / "lib" / "keytrack_ros" / name, os.X_OK)
    assert "Usage: keytrack" in run([str(prefix / "bin" / "keytrack"), "--help"], prefix)
    for file in ("launch/tracker.launch.py", "config/tracker.yaml", "msg/TrackedPoseArray.msg", "package.xml"):
        assert (prefix / "share" / "keytrack_ros" / file).is_file()


@pytest.mark.parametrize("options", [[], ["--symlink-install"]], ids=["copied", "linked"])
def test_colcon_builds_it_over_the_environment(sources, tmp_path, options):
    run(["colcon", "build", *options, "--base-paths", str(sources), "--cmake-args", "-DBUILD_TESTING=OFF"], tmp_path)
    prefix = tmp_path / "install" / "keytrack_ros"
    sourced = ["bash", "-c", '. install/setup.bash && python -c "$0" && keytrack --help', SCRIPT]
    output = run(sourced, tmp_path)
    assert output.startswith(str(prefix))
    assert "Usage: keytrack" in output
    for name in NODES:
        assert os.access(prefix / "lib" / "keytrack_ros" / name, os.X_OK)


def test_pip_installs_it_through_setup_py(sources, tmp_path):
    prefix = tmp_path / "prefix"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--ignore-installed"]
    run([*pip, "--prefix", str(prefix), str(sources)], tmp_path)
    packages = next(prefix.glob("lib/python3.*/site-packages"))
    environment = {"PYTHONPATH": str(packages), "LD_LIBRARY_PATH": str(prefix / "lib")}
    assert run([sys.executable, "-c", SCRIPT], tmp_path, **environment).startswith(str(packages))
    assert "Usage: keytrack" in run([str(prefix / "bin" / "keytrack"), "--help"], tmp_path, **environment)
    for name in NODES:
        assert os.access(prefix / "lib" / "keytrack_ros" / name, os.X_OK)
    for file in ("launch/tracker.launch.py", "config/tracker.yaml", "package.xml"):
        assert (prefix / "share" / "keytrack_ros" / file).is_file()


def test_pip_keeps_numpy_1_beside_a_ros_distribution(sources, tmp_path):
    # Its compiled packages, cv_bridge among them, end a process under NumPy 2.
    def required(**environment: str) -> list[str]:
        egg_info = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
        run(egg_info, sources, **environment)
        return (tmp_path / "keytrack_ros.egg-info" / "requires.txt").read_text().splitlines()

    assert "numpy<2" in required(ROS_DISTRO="jazzy")
    assert "numpy<2" not in required()
