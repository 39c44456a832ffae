"""`keytrack replay` as a person runs it: bags in, the same tracks every time, and their scores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin
from typer.testing import CliRunner

from keytrack_ros.annotations.posetrack_writer import write_posetrack18
from keytrack_ros.annotations.sequence import Image, LabelledSequence, from_poses
from keytrack_ros.cli.app import app
from keytrack_ros.media.messages import typestore
from test.cli.test_track import PROGRAM, environment
from test.conftest import REPOSITORY
from test.media.test_bag_source import BASE_NS, header, image_message, write_bag
from test.people import people
from test.toy import FRAME_SIZE, draw_frame, walk, write_networks

FRAMES = 8
KINDS = {
    "raw_mcap": ("raw", StoragePlugin.MCAP),
    "raw_sqlite": ("raw", StoragePlugin.SQLITE3),
    "jpeg_mcap": ("jpeg", StoragePlugin.MCAP),
    "jpeg_sqlite": ("jpeg", StoragePlugin.SQLITE3),
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_networks(tmp_path_factory.mktemp("networks"))


def write_walk(folder: Path, kind: str, storage: StoragePlugin, topic: str = "/camera", frames: int = FRAMES) -> Path:
    """A bag of three walkers."""
    messages = []
    for k, places in enumerate(walk(frames, 3)):
        stamp = BASE_NS + k * 40_000_000
        image = draw_frame(places)
        if kind == "raw":
            message = image_message(image, stamp)
        else:
            data = cv2.imencode(".jpg", image)[1].ravel()
            compressed = typestore().types["sensor_msgs/msg/CompressedImage"]
            message = compressed(header=header(stamp), format="jpeg", data=data)
        messages.append((topic, stamp, message))
    return write_bag(folder, messages, storage)


def ground_truth_of_walk(name: str, frames: int = FRAMES) -> LabelledSequence:
    """The walkers as annotated: 3 people with heads of 30 x 40 px."""
    images = tuple(Image(f"images/{name}/{k:06d}.jpg", image_id=k, size=FRAME_SIZE) for k in range(frames))
    poses = [people(*places, track_ids=np.arange(3)) for places in walk(frames, 3)]
    ground_truth = from_poses(name, name, images, poses)
    corner = ground_truth.keypoints[:, 2] - np.array([15, 0])
    return replace(ground_truth, head_boxes=np.concatenate([corner, corner + np.array([30, 40])], 1))


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path]:
    """The same walk in both storages, raw and compressed; and annotations of the same names."""
    folder = tmp_path_factory.mktemp("bags")
    (folder / "gt").mkdir()
    for name in KINDS:
        write_posetrack18(ground_truth_of_walk(name), folder / "gt" / f"{name}.json")
    return [write_walk(folder / name, *kind) for name, kind in KINDS.items()], folder / "gt"


def replay(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    result = CliRunner().invoke(app, ["replay", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.stdout, result.stderr


def test_two_replays_are_equal_byte_for_byte_and_scored(
    tmp_path: Path, bags: tuple[list[Path], Path], networks: Path
) -> None:
    sources, ground_truth = bags
    for out, workers in (("a", 2), ("b", 1)):
        report = ("--report", tmp_path / f"{out}.html")
        arguments = ("-o", tmp_path / out, "--gt", ground_truth, "--models", networks, "--workers", workers, *report)
        code, stdout, stderr = replay(*sources, *arguments)
        assert code == 0, stderr
        for name in KINDS:
            assert f"{name}: {FRAMES} frames" in stderr
            (line,) = (line for line in stdout.splitlines() if f" {name} " in line)
            assert [cell.strip() for cell in line.split("│")[2:5]] == ["8", "24", "3"]  # frames, poses, tracks
        assert "4 sequences, 32 frames; mode official" in stdout
    for name in KINDS:
        for file in ("tracks.json", "tracks/tracks.mcap", "tracks/metadata.yaml"):
            assert (tmp_path / "a" / name / file).read_bytes() == (tmp_path / "b" / name / file).read_bytes(), file
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert "4 sequences, 32 frames" in (tmp_path / "a.html").read_text()
    scores = [json.loads((tmp_path / out / "scores.json").read_text()) for out in "ab"]
    assert scores[0] == scores[1]
    assert scores[0]["groups"]["MOTA"]["Total"] == pytest.approx(100)
    assert scores[0]["person"]["OKS"]["IDF1"] == pytest.approx(100)


def test_one_bag_and_a_parameter_file(tmp_path: Path, bags: tuple[list[Path], Path], networks: Path) -> None:
    params = tmp_path / "tracker.yaml"
    params.write_text("tracker:\n  ros__parameters:\n    detector.score_threshold: 1.0\n    image: /camera\n")
    ground_truth = bags[1] / "raw_mcap.json"
    arguments = (bags[0][0], "-o", tmp_path / "out", "--gt", ground_truth, "--models", networks, "--params", params)
    code, stdout, _ = replay(*arguments, "--mode", "clean")
    assert code == 0
    assert "mode clean" in stdout
    assert json.loads((tmp_path / "out/summary.json").read_text())["options"]["detector.score_threshold"] == 1.0
    assert json.loads((tmp_path / "out/scores.json").read_text())["frames"] == FRAMES


def test_of_a_bag_that_was_cut_off_what_is_there_is_scored(tmp_path: Path, networks: Path) -> None:
    bag = write_walk(tmp_path / "walk", "raw", StoragePlugin.MCAP)
    file = bag / "walk.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    write_posetrack18(ground_truth_of_walk("walk"), tmp_path / "gt.json")
    code, stdout, stderr = replay(file, "-o", tmp_path / "out", "--gt", tmp_path / "gt.json", "--models", networks)
    assert code == 0, stderr
    frames = json.loads((tmp_path / "out/summary.json").read_text())["frames"]
    assert 3 <= frames < FRAMES
    assert "the recording was cut off" in stderr
    assert f"the recording ends after frame {frames} of {FRAMES}; the rest is not scored" in stderr
    assert f"1 sequences, {frames} frames" in stdout
    assert json.loads((tmp_path / "out/scores.json").read_text())["groups"]["MOTA"]["Total"] == pytest.approx(100)


def test_an_image_that_cannot_be_read_counts_as_nobody_found(tmp_path: Path, networks: Path) -> None:
    messages = [
        ("/camera", BASE_NS + k, image_message(draw_frame(places), BASE_NS + k))
        for k, places in enumerate(walk(FRAMES, 3))
    ]
    messages[2][2].step = 7
    bag = write_bag(tmp_path / "walk", messages)
    write_posetrack18(ground_truth_of_walk("walk"), tmp_path / "gt.json")
    arguments = (bag, "-o", tmp_path / "out", "--gt", tmp_path / "gt.json", "--models", networks, "--mode", "clean")
    code, _, stderr = replay(*arguments)
    assert code == 0, stderr
    assert f"there are no poses for 1 of {FRAMES} frames; they count as frames in which nobody was found" in stderr
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["groups"]["recall"]["Total"] == pytest.approx(100 * (FRAMES - 1) / FRAMES)
    assert scores["groups"]["IDSW"]["Total"] == 0


def test_a_bag_that_fails_leaves_the_others_alone(
    tmp_path: Path, bags: tuple[list[Path], Path], networks: Path
) -> None:
    (tmp_path / "broken.mcap").write_text("shopping list" * 50)
    arguments = (bags[0][2], tmp_path / "broken.mcap", "-o", tmp_path / "out", "--models", networks, "--workers", 1)
    code, stdout, stderr = replay(*arguments)
    assert code == 1
    assert "broken.mcap: not a bag that can be read" in stderr
    assert "broken (failed)" in stdout
    assert json.loads((tmp_path / "out/jpeg_mcap/summary.json").read_text())["frames"] == FRAMES


def test_ctrl_c_leaves_whole_files_and_begins_nothing_more(tmp_path: Path, networks: Path) -> None:
    bags = [write_walk(tmp_path / name, "jpeg", StoragePlugin.MCAP, frames=400) for name in ("a", "b", "c")]
    command = [*PROGRAM, "replay", *map(str, bags), "-o", str(tmp_path / "out"), "--workers", "2"]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment(networks),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # As in a terminal: a shell's background jobs, and so perhaps this suite, have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    parts = [tmp_path / "out" / name / "tracks.json.part" for name in ("a", "b")]
    deadline = time.monotonic() + 60
    while not all(part.exists() and part.stat().st_size > 0 for part in parts):  # the first frames are written
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 130, errors
    assert "stopped by Ctrl-C" in errors
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == ["a", "b"]
    for name in ("a", "b"):
        summary = json.loads((tmp_path / "out" / name / "summary.json").read_text())
        assert summary["interrupted"] is True
        tracks = json.loads((tmp_path / "out" / name / "tracks.json").read_text())
        assert len(tracks["images"]) == summary["frames"] < 400


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{raw}", "{jpeg}", "--gt", "{gt}/raw_mcap.json"], "one file of annotations for 2 recordings"),
        (["{raw}", "{jpeg}", "--gt", "{other}"], "there is no ground truth for jpeg_mcap"),
        (["{raw}", "{raw}"], "two recordings have the name 'raw_mcap'"),
        (["{raw}", "--gt", "{gt}/gone.json"], "gone.json: there is no such file or folder"),
        (["{raw}", "--report", "out.html"], "nothing to report without annotations; add --gt"),
        (["gone.mcap"], "gone.mcap: there is no such file or folder"),
        (["{two}"], "2 topics with images; name one with --topic: /left, /right"),
        (["{talk}"], "the bag has no topic with images; it holds /chatter (std_msgs/msg/String)"),
        (["{raw}", "--topic", "/right"], "no images on '/right'; it has them on /camera"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, bags: tuple[list[Path], Path], networks: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "other").mkdir()
    write_posetrack18(ground_truth_of_walk("raw_mcap"), tmp_path / "other/raw_mcap.json")
    if arguments == ["{two}"]:
        left, right = (image_message(draw_frame([]), BASE_NS) for _ in range(2))
        write_bag(tmp_path / "two", [("/left", BASE_NS, left), ("/right", BASE_NS, right)])
    write_bag(tmp_path / "talk", [("/chatter", BASE_NS, typestore().types["std_msgs/msg/String"](data="hello"))])
    names = {
        "raw": bags[0][0],
        "jpeg": bags[0][2],
        "gt": bags[1],
        "other": tmp_path / "other",
        "two": tmp_path / "two",
        "talk": tmp_path / "talk",
    }
    code, stdout, stderr = replay(*(a.format(**names) for a in arguments), "-o", tmp_path / "out", "--models", networks)
    assert code == 1
    assert words in stderr
    assert stderr.count("\n") == 1
    assert stdout == ""
