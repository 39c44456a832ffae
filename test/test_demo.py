"""The demo with toy networks: three real processes over DDS, their files, and their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import pytest

from keytrack_ros.media.bag_reader import read_poses
from test.conftest import REPOSITORY
from test.toy import FRAME_SIZE, draw_frame, walk, write_networks

pytestmark = pytest.mark.skipif(
    not (Path(sys.prefix) / "lib/keytrack_ros/video_node").is_file(), reason="the nodes are not built into this Python"
)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, FRAME_SIZE)
    for people in walk(400, 2):
        writer.write(draw_frame(people))
    writer.release()
    return path


def start(networks: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    environment = os.environ | {"KEYTRACK_MODELS": str(networks), "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    command = [sys.executable, str(REPOSITORY / "scripts/demo.py"), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(process: subprocess.Popen[str]) -> dict[str, int]:
    """The nodes' process ids by the nodes' names."""
    nodes = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with suppress(OSError):  # it has ended meanwhile
            command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            nodes |= {Path(a).name.removesuffix("_node"): int(pid) for a in command if a.endswith("_node")}
    return nodes


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_every_frame_is_tracked_and_recorded(tmp_path: Path, networks: Path, video: Path) -> None:
    out = tmp_path / "out"
    process = start(networks, "--video", video, "--frames", 25, "--out", out)
    stdout, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr
    assert [f.stamp_ns for f in read_poses(out / "tracks")] == [i * 100_000_000 for i in range(25)]
    assert [sorted(f.poses.track_ids.tolist()) for f in read_poses(out / "tracks")] == [[]] * 2 + [[1, 2]] * 23
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["frames"], summary["poses"], summary["tracks"]) == (25, 46, 2)  # confirmed in the third frame
    assert len(json.loads((out / "tracks.json").read_text())["annotations"]) == 46
    assert cv2.VideoCapture(str(out / "tracks.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 25
    assert cv2.imread(str(out / "frame.png")).shape == (576, 768, 3)
    assert "warning" not in stderr
    assert str(out / "frame.png") in stdout


def test_ctrl_c_ends_all_processes_and_keeps_what_there_is(tmp_path: Path, networks: Path, video: Path) -> None:
    process = start(networks, "--video", video, "--frames", 400, "--out", tmp_path)
    wait_until(lambda: "video" in children(process), process)
    nodes = children(process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=280)
    assert process.returncode == 130, stderr
    assert set(nodes) == {"recorder", "tracker", "video"}
    assert all(is_gone(pid) for pid in nodes.values())
    assert "stopped by SIGINT" in stderr
    recorded = len(list(read_poses(tmp_path / "tracks")))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["frames"], summary["interrupted"]) == (recorded, True)
    assert recorded < 400


def test_a_node_that_dies_is_named_and_takes_the_others_along(tmp_path: Path, networks: Path, video: Path) -> None:
    process = start(networks, "--video", video, "--frames", 400, "--out", tmp_path)
    wait_until(lambda: "video" in children(process), process)
    nodes = children(process)
    os.kill(nodes["tracker"], signal.SIGKILL)
    _, stderr = process.communicate(timeout=280)
    assert process.returncode == 1
    assert "tracker_node ended early with code -9; its last lines:" in stderr
    assert all(is_gone(pid) for pid in nodes.values())


def test_with_a_damaged_network_nothing_is_started(tmp_path: Path, video: Path) -> None:
    networks = write_networks(tmp_path / "networks")
    damaged = next(networks.glob("*.onnx"))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    process = start(networks, "--video", video, "--out", tmp_path / "out")
    _, stderr = process.communicate(timeout=280)
    assert process.returncode == 1
    assert stderr.startswith(f"error: {damaged}: damaged or not ")
    assert not (tmp_path / "out").exists()
