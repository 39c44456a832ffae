"""`keytrack track` as a person runs it: a process, files in, files out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import keytrack_ros
from keytrack_ros.cli import main
from keytrack_ros.media.bag_reader import read_poses
from keytrack_ros.media.bag_writer import BagWriter
from test.conftest import REPOSITORY
from test.toy import FRAME_SIZE, draw_frame, keypoints_of, walk, write_networks

PROGRAM = [sys.executable, "-c", "import sys; from keytrack_ros.cli import main; sys.exit(main())"]


def environment(networks: Path | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYTRACK")}
    return kept | {"COLUMNS": "200"} | ({"KEYTRACK_MODELS": str(networks)} if networks else {})


def keytrack(*arguments: str | Path, networks: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment(networks), capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames at 10 fps, three people walking."""
    return write_video(tmp_path_factory.mktemp("video") / "walk.avi", walk(30, 3))


def write_video(path: Path, places: list[list[tuple[float, float]]]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, FRAME_SIZE)
    for people in places:
        writer.write(draw_frame(people))
    writer.release()
    return path


def frames_of(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.grab():
        count += 1
    return count


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_three_walkers_give_three_tracks_in_all_files(tmp_path: Path, networks: Path, video: Path) -> None:
    out = tmp_path / "deep/out"
    result = keytrack("track", video, "-o", out, "--models", networks)
    assert result.returncode == 0, result.stderr
    summary = load(out / "summary.json")
    assert (summary["frames"], summary["frames_with_people"], summary["poses"]) == (30, 30, 90)
    assert summary["people_per_frame"] == {"mean": 3.0, "max": 3}
    assert summary["tracks"] == 3
    assert summary["track_length_frames"] == {"median": 30.0, "max": 30}
    assert set(summary["stage_ms"]) == {"reading", "detection", "estimation", "toks", "tracking", "writing"}
    assert summary["networks"]["detection"].startswith("toy_detector ")
    assert summary["options"]["toks.dilation"] == 1.25
    assert summary["interrupted"] is False
    assert "30, 30 of them with people" in result.stdout
    assert str(out / "tracks.mp4") in result.stdout

    content = load(out / "tracks.json")
    assert [i["frame_id"] for i in content["images"]] == list(range(30))
    assert len(content["annotations"]) == 90
    assert {a["track_id"] for a in content["annotations"]} == {1, 2, 3}

    recorded = list(read_poses(out / "tracks"))
    assert [f.stamp_ns for f in recorded] == [i * 100_000_000 for i in range(30)]
    for frame, places in zip(recorded, walk(30, 3), strict=True):
        assert frame.size == FRAME_SIZE
        people = frame.poses[np.argsort(frame.poses.boxes[:, 0])]
        for row, (x, y) in enumerate(places):
            assert np.abs(people.keypoints[row] - keypoints_of(x, y)).max() < 10  # a cell of the toy detector is 15 px
    # the same numbers in both files, JSON rounded to 0.01 px
    in_json = np.array([a["keypoints"][:3] for a in content["annotations"]])[:, :2]
    in_bag = np.concatenate([f.poses.keypoints[:, 0] for f in recorded])
    np.testing.assert_allclose(in_json, in_bag, atol=0.006)
    assert frames_of(out / "tracks.mp4") == 30


def test_selection(tmp_path: Path, networks: Path, video: Path) -> None:
    selection = ["--start", "4", "--every", "3", "--frames", "5", "--no-video"]
    assert keytrack("track", video, "-o", tmp_path, *selection, networks=networks).returncode == 0
    assert [i["frame_id"] for i in load(tmp_path / "tracks.json")["images"]] == [4, 7, 10, 13, 16]
    assert [f.stamp_ns for f in read_poses(tmp_path / "tracks")] == [i * 100_000_000 for i in (4, 7, 10, 13, 16)]
    assert load(tmp_path / "summary.json")["selection"] == {"start": 4, "every": 3, "frames": 5}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["summary.json", "tracks", "tracks.json"]


def test_a_bag_keeps_its_stamps_and_frame_id(tmp_path: Path, networks: Path) -> None:
    stamps = [1_700_000_000_000_000_001 + i * 40_000_000 for i in range(4)]
    with BagWriter(tmp_path / "bag") as bag:
        for stamp, people in zip(stamps, walk(4, 1), strict=True):
            bag.write_image("/camera/compressed", draw_frame(people), stamp, frame_id="optical")
    assert keytrack("track", tmp_path / "bag", "-o", tmp_path / "out", networks=networks).returncode == 0
    recorded = list(read_poses(tmp_path / "out/tracks"))
    assert [f.stamp_ns for f in recorded] == stamps
    assert {f.frame_id for f in recorded} == {"optical"}
    assert [f.poses.track_ids.tolist() for f in recorded] == [[1]] * 4


def test_image_folder_with_an_empty_scene_and_another_size(tmp_path: Path, networks: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.png"), np.zeros((576, 768, 3), np.uint8))
    cv2.imwrite(str(folder / "4.png"), np.zeros((301, 401, 3), np.uint8))
    result = keytrack("track", folder, "-o", tmp_path / "out", networks=networks)
    assert result.returncode == 0, result.stderr
    summary = load(tmp_path / "out/summary.json")
    assert (summary["frames"], summary["poses"], summary["tracks"]) == (5, 0, 0)
    assert "image size changed from 768x576 to 401x301" in result.stderr
    assert any("401x301 is scaled to 768x576" in text for text in summary["warnings"])
    content = load(tmp_path / "out/tracks.json")
    assert [i["file_name"] for i in content["images"]] == [f"{i}.png" for i in range(5)]
    assert content["annotations"] == []
    assert frames_of(tmp_path / "out/tracks.mp4") == 5


def test_results_are_overwritten_only_when_told(tmp_path: Path, networks: Path, video: Path) -> None:
    (tmp_path / "tracks.json").write_text("mine")
    arguments = ("track", video, "-o", tmp_path, "--frames", "2")
    refused = keytrack(*arguments, networks=networks)
    assert refused.returncode == 1
    assert "tracks.json: exists already" in refused.stderr
    assert (tmp_path / "tracks.json").read_text() == "mine"
    assert keytrack(*arguments, "--overwrite", networks=networks).returncode == 0
    assert keytrack(*arguments, "--overwrite", "--no-video", networks=networks).returncode == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["summary.json", "tracks", "tracks.json"]


def test_options_from_a_parameter_file_and_from_set(tmp_path: Path, networks: Path, video: Path) -> None:
    params = tmp_path / "tracker.yaml"
    params.write_text(
        "/**:\n  ros__parameters:\n    autostart: true\n    toks: {dilation: 1.5, enabled: false}\n"
        "    tracker.candidates: 7\n    estimator.batch_size: 3\n"
    )
    settings = ["--params", params, "--set", "estimator.batch_size=2", "--flip-test"]
    result = keytrack("track", video, "-o", tmp_path / "out", "--frames", "1", *settings, networks=networks)
    assert result.returncode == 0, result.stderr
    options = load(tmp_path / "out/summary.json")["options"]
    names = ("toks.dilation", "toks.enabled", "tracker.candidates", "estimator.batch_size", "estimator.flip_test")
    assert [options[name] for name in names] == [1.5, False, 7, 2, True]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone.mp4"], "gone.mp4: there is no such file or folder"),
        (["{folder}"], "holds neither images"),
        (["{text}"], "not a video that can be read"),
        (["{video}", "--topic", "/image"], "this is no bag"),
        (["{video}", "--start", "30"], "no frame at or after frame 30; 30 were found"),
        (["{video}", "--set", "toks.dilation=9"], "toks.dilation: 9.0 lies outside 1..2"),
        (["{video}", "--set", "toks.dilatation=1.3"], "there is no such option; known are detector.model"),
        (["{video}", "--set", "toks.dilation"], "NAME=VALUE is needed"),
        (["{video}", "--set", "toks.enabled=perhaps"], "'perhaps' is not true or false"),
        (["{video}", "--params", "gone.yaml"], "gone.yaml: No such file or directory"),
        (["{video}", "--params", "{bad_params}"], "params.yaml: toks.dilation: 9.0 lies outside 1..2"),
        (["{video}", "--params", "{text}"], "no 'ros__parameters' in it"),
        (["{video}", "--set", "detector.model=nope"], "no detection network 'nope' was found"),
        (["{video}", "--models", "/nowhere"], "/nowhere: there is no such folder of networks"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    tmp_path: Path,
    video: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.delenv("KEYTRACK_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = {"folder": tmp_path / "empty", "text": tmp_path / "text.avi", "bad_params": tmp_path / "params.yaml"}
    names["folder"].mkdir()
    names["text"].write_text("shopping list")
    names["bad_params"].write_text("tracker:\n  ros__parameters:\n    toks.dilation: 9.0\n")
    filled = [argument.format(video=video, **names) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["keytrack", "track", *filled, "-o", str(tmp_path / "out")])
    assert main() == 1
    stdout, stderr = capfd.readouterr()
    assert words in stderr
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [["track"], ["track", "a.mp4"], ["juggle"], ["track", "a", "-o", "b", "--every", "0"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert keytrack(*arguments).returncode == 2


def test_a_video_that_breaks_off_is_said_and_used(tmp_path: Path, networks: Path, video: Path) -> None:
    half = tmp_path / "half.avi"
    half.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    result = keytrack("track", half, "-o", tmp_path / "out", "--no-video", networks=networks)
    assert result.returncode == 0
    summary = load(tmp_path / "out/summary.json")
    assert 5 < summary["frames"] < 30
    warning = f"half.avi: ends at frame {summary['frames']} of 30"
    assert f"warning: {half.parent}/{warning}" in result.stderr
    assert any(warning in text for text in summary["warnings"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_leaves_whole_files(tmp_path: Path, networks: Path, number: signal.Signals, code: int) -> None:
    long = write_video(tmp_path / "long.avi", walk(600, 4))
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*PROGRAM, "track", str(long), "-o", str(out)],
        cwd=REPOSITORY,
        env=environment(networks),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    part = out / "tracks.json.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 0):  # the first frames are written
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=280)
    assert process.returncode == code, errors
    summary = load(out / "summary.json")
    assert summary["interrupted"] is True
    assert 0 < summary["frames"] < 600
    assert f"stopped by {number.name} after {summary['frames']} frames" in errors
    assert len(load(out / "tracks.json")["images"]) == summary["frames"]
    assert len(list(read_poses(out / "tracks"))) == summary["frames"]
    assert frames_of(out / "tracks.mp4") == summary["frames"]
    assert sorted(file.name for file in out.iterdir()) == ["summary.json", "tracks", "tracks.json", "tracks.mp4"]


def test_version_and_help_load_nothing_heavy() -> None:
    assert keytrack("--version").stdout == f"keytrack_ros {keytrack_ros.__version__}\n"
    code = (
        "import sys; sys.argv = ['keytrack', '--help']; from keytrack_ros.cli import main; main(); "
        "print('loaded:', {'torch', 'onnxruntime', 'cv2', 'rclpy'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "track" in result.stdout
    assert "models" in result.stdout
    assert result.stdout.endswith("loaded: set()\n")


def test_models_list_says_what_is_used_and_what_is_missing(tmp_path: Path, networks: Path) -> None:
    result = keytrack("models", "list", "--models", networks)
    assert result.returncode == 0, result.stderr
    assert f"toy_detector (used): {networks}/toy_detector.onnx" in result.stdout
    assert f"toy_pose (used): {networks}/toy_pose.onnx" in result.stdout
    assert "No network for" not in result.stdout
    damaged = write_networks(tmp_path / "damaged")
    (damaged / "toy_pose.onnx").write_bytes(b"cut off")
    result = keytrack("models", "list", "--models", damaged)
    assert "toy_pose: toy_pose.onnx is damaged, or another network" in result.stdout
    assert "hrnet_w24 (used)" in result.stdout
