"""`keytrack track --explain`: the files, and that tracking is the same with and without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from keytrack_ros.cli.app import app
from test.conftest import REPOSITORY
from test.toy import FRAME_SIZE, draw_frame, walk, write_networks

PAPER = ("--params", REPOSITORY / "config" / "paper.yaml")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames with three walkers; one of them is away in frames 5 and 6."""
    folder = tmp_path_factory.mktemp("frames")
    for k, places in enumerate(walk(12, 3)):
        cv2.imwrite(str(folder / f"{k:03d}.png"), draw_frame(places[: 2 if k in (5, 6) else 3]))
    return folder


def track(networks: Path, *arguments: object) -> tuple[int, str]:
    command = ["track", *arguments, "--no-video", "--models", networks, "--set", "toks.enabled=false"]
    result = CliRunner().invoke(app, list(map(str, command)), env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("configuration", [(), PAPER], ids=["default", "paper"])
def test_tracks_are_the_same_and_every_pose_has_its_reason(
    tmp_path: Path, networks: Path, frames: Path, configuration: tuple[object, ...]
) -> None:
    assert track(networks, frames, "-o", tmp_path / "plain", *configuration)[0] == 0
    why = tmp_path / "deep/why.json"
    arguments = (frames, "-o", tmp_path / "out", *configuration, "--explain", why, "--explain-frame", 7)
    code, output = track(networks, *arguments)
    assert code == 0, output
    assert (tmp_path / "plain/tracks.json").read_bytes() == (tmp_path / "out/tracks.json").read_bytes()
    assert str(why) in output
    assert str(why.with_suffix(".png")) in output

    tracks, content = load(tmp_path / "out/tracks.json"), load(why)
    assert (content["schema"], content["doubt"], len(content["causes"])) == (1, 3.0, 8)
    assert [frame["frame"] for frame in content["frames"]] == list(range(12))
    assert [frame["stamp"] for frame in content["frames"][:3]] == [0, 0.04, 0.08]
    assert {frame["threshold"] for frame in content["frames"]} == {0.5 if configuration else 0.1}
    for frame in content["frames"]:
        ids = [a["track_id"] for a in tracks["annotations"] if a["image_id"] == frame["frame"]]
        assert [pose["track_id"] for pose in frame["poses"]] == ids
        for pose in frame["poses"]:
            own = [c for c in pose["candidates"] if c["track_id"] == pose["track_id"]]
            assert len(own) == (pose["choice"] == "continued")
            assert all(c["score"] <= pose["candidates"][0]["score"] for c in pose["candidates"])
    first, away, back = (content["frames"][k] for k in (0, 5, 7))
    assert [(pose["choice"], pose["cause"]) for pose in first["poses"]] == [("new", "first")] * 3
    (missing,) = away["unseen"]
    (pose,) = [pose for pose in back["poses"] if pose["track_id"] == missing]
    own = pose["candidates"][0]
    assert (pose["choice"], pose["cause"], own["gap_frames"], own["gap_s"]) == ("continued", "best", 3, 0.12)
    assert pose["geometry"] == {"track_id": missing, "predicted_oks": own["predicted_oks"]}
    said = "score " if configuration else "nobody else is around, "  # boxes settle it, which the paper does without
    assert pose["reason"].startswith(f"continues {missing}, seen 3 frames ago: {said}")
    assert [pair["gap_frames"] for pair in own.get("pairs", [])] == ([3, 4] if configuration else [])

    described = (REPOSITORY / "docs/evaluation.md").read_text(encoding="utf-8")
    for key in {*content, *back, *pose, *pose["geometry"], *own}:
        assert f"`{key}`" in described

    picture = cv2.imread(str(why.with_suffix(".png")))
    assert picture.shape[0] == 1000
    assert picture.shape[1] >= round(FRAME_SIZE[0] * 1000 / FRAME_SIZE[1]) + 500
    code, output = track(networks, *arguments)
    assert (code, "exists already" in output) == (1, True)


def test_without_a_frame_there_is_no_picture_and_others_are_left_alone(
    tmp_path: Path, networks: Path, frames: Path
) -> None:
    why = tmp_path / "why.json"
    why.with_suffix(".png").write_text("mine")
    assert track(networks, frames, "-o", tmp_path, "--start", 3, "--every", 2, "--frames", 2, "--explain", why)[0] == 0
    assert [frame["frame"] for frame in load(why)["frames"]] == [3, 5]
    assert why.with_suffix(".png").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--explain-frame", 3], "--explain-frame: names a frame of what --explain writes; add --explain FILE.json"),
        (["--explain", "{out}/why.txt"], "why.txt: a name that ends in .json is needed"),
        (["--explain", "{out}/tracks.json"], "tracks.json: has the name of another result; choose another"),
        (["--explain", "{out}/w.json", "--explain-frame", 12], "from 0 on, every 1, 12 of them"),
        (["--explain", "{out}/w.json", "--explain-frame", 2, "--start", 3], "is not among the frames that are tracked"),
        (["--explain", "{out}/w.json", "--explain-frame", 4, "--every", 3], "from 0 on, every 3, 4 of them"),
        (["--explain", "{out}/w.json", "--explain-frame", 6, "--every", 3, "--frames", 2], "every 3, 2 of them"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    tmp_path: Path, networks: Path, frames: Path, arguments: list[object], words: str
) -> None:
    out = tmp_path / "out"
    filled = [str(argument).format(out=out) for argument in arguments]
    code, output = track(networks, frames, "-o", out, *filled)
    assert code == 1
    assert words in output
    assert output.startswith("error: ")
    assert output.count("\n") == 1
    assert not out.exists()


def test_a_frame_that_cannot_be_read_is_said(tmp_path: Path, networks: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(3):
        cv2.imwrite(str(folder / f"{k}.png"), np.zeros((*FRAME_SIZE[::-1], 3), np.uint8))
    (folder / "1.png").write_text("no image")
    why = tmp_path / "why.json"
    code, output = track(networks, folder, "-o", tmp_path / "out", "--explain", why, "--explain-frame", 1)
    assert code == 0
    assert "warning: frame 1 was not read, so it is not drawn" in output
    assert not why.with_suffix(".png").exists()
    assert [frame["poses"] for frame in load(why)["frames"]] == [[], []]
