"""`keytrack attention`: which pairs it takes, what it draws, what it refuses."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from keytrack_ros.annotations.posetrack_writer import write_posetrack18
from keytrack_ros.cli.app import app
from keytrack_ros.errors import InputError
from keytrack_ros.media.posetrack_writer import PoseTrackWriter
from keytrack_ros.poses import Poses
from keytrack_ros.research.attention_figure import attended
from keytrack_ros.research.attention_pairs import choose_pairs
from test.evaluation.toy_sequences import Person, sequence
from test.people import people

SIZE = (640, 480)
NAME = "000001_mpii_test"
WALK = sequence([[Person(1, 100 + 6 * k), Person(2, 300 - 6 * k), Person(3, 560)] for k in range(7)], size=SIZE)
ALONE = sequence([[Person(1, 100)] for _ in range(5)], size=SIZE)


class TestPairs:
    def test_what_is_named_is_taken(self):
        matching, other = choose_pairs(WALK, gap=3, frame=5, person=2)
        assert (matching.image, matching.past_image) == (5, 2)
        assert [int(p.track_ids[0]) for p in (matching.current, matching.past, other.past)] == [2, 2, 1]
        assert matching.same
        assert not other.same
        np.testing.assert_allclose(matching.current.keypoints[0] - matching.past.keypoints[0], [[-18, 0]] * 15)

    def test_the_other_person_is_the_nearest_unless_named(self):
        assert int(choose_pairs(WALK, 1, 6, 3)[1].past.track_ids[0]) == 2
        assert int(choose_pairs(WALK, 1, 6, 3, other=1)[1].past.track_ids[0]) == 1

    def test_by_default_a_usual_case_of_those_who_are_seen_best(self):
        # 18 choices; in frame 3 person 1 is 200 − 6 · 3 − 6 · 1 px from where 2 was: the tenth of them.
        matching, other = choose_pairs(WALK, gap=2)
        apart = [
            abs(int(pair[1].current.keypoints[0, 0, 0]) - int(pair[1].past.keypoints[0, 0, 0]))
            for frame in range(2, 7)
            for person in (1, 2, 3)
            for pair in [choose_pairs(WALK, 2, frame, person)]
        ]
        found = abs(int(other.current.keypoints[0, 0, 0]) - int(other.past.keypoints[0, 0, 0]))
        assert sorted(apart)[len(apart) // 2] == found
        assert matching.current.track_ids == other.current.track_ids

    def test_people_whose_keypoints_are_missing_are_not_chosen(self):
        half = ("left_knee", "left_ankle", "right_knee")
        scene = sequence([[Person(1, 100), Person(2, 200, without=half if k < 4 else ())] for k in range(6)], size=SIZE)
        matching, _ = choose_pairs(scene, gap=1)
        assert matching.past_image == 4  # the only two frames in a row in which both are whole

    def test_uncertain_keypoints_are_missing(self):
        faint = sequence([[Person(1, 100, score=0.05), Person(2, 300, score=0.5)] for _ in range(3)], size=SIZE)
        matching, other = choose_pairs(faint, 1, 2, 2, keypoint_threshold=0.1)
        assert matching.current.visible.all()
        assert not other.past.visible.any()

    @pytest.mark.parametrize(
        ("scene", "options", "words"),
        [
            (ALONE, {}, "1 person in it; a non-matching pair needs two"),
            (sequence([[], []], size=SIZE), {}, "0 person in it"),
            (WALK, {"frame": 9}, "there is no frame 9; there are 0 … 6"),
            (WALK, {"frame": 1}, "frame 1 has only 1 frame(s) before it; poses 2 apart are wanted"),
            (WALK, {"gap": 7}, "7 frame(s) in it; poses 7 apart need 8"),
            (WALK, {"person": 8}, "there is no person 8; there are 1, 2, 3"),
            (WALK, {"person": 1, "other": 1}, "person 1 is not another person"),
            (
                sequence([[Person(1, 100)], [Person(2, 300)], [Person(1, 100)]], size=SIZE),
                {"frame": 2, "person": 1},
                "in frame 2 is person 1 who was there 2 frame(s) earlier, too, with another beside",
            ),
        ],
    )
    def test_what_cannot_be_is_said(self, scene, options, words):
        with pytest.raises(InputError) as error:
            choose_pairs(scene, **{"gap": 2, **options})
        assert words in str(error.value)
        assert str(error.value).startswith(f"{NAME}.json: ")


def test_attended_by_those_who_count():
    weights = np.array([[[0.5, 0.5, 0.0], [0.1, 0.9, 0.0], [0.7, 0.3, 0.0]]])
    mask = np.array([True, True, False])
    np.testing.assert_allclose(attended(weights, mask, last=True), [[0.5, 0.5, 0.0]])
    np.testing.assert_allclose(attended(weights, mask, last=False), [[0.3, 0.7, 0.0]])


def draw(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["attention", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


class TestCommand:
    @pytest.fixture(autouse=True)
    def torch(self) -> None:
        pytest.importorskip("torch", reason="torch is not installed; make dev installs it")
        pytest.importorskip("matplotlib", reason="Matplotlib is not installed; make dev installs it")

    def test_one_layer_with_images(self, tmp_path: Path):
        write_posetrack18(WALK, tmp_path / f"{NAME}.json")
        folder = tmp_path / "images/val" / NAME
        folder.mkdir(parents=True)
        for k in (3, 5):
            cv2.imwrite(str(folder / f"{k:06d}.jpg"), np.full((480, 640, 3), (0, 0, 255), np.uint8))
        out = tmp_path / "a.png"
        arguments = (tmp_path / f"{NAME}.json", "--frame", 5, "--person", 1, "-o", out)
        code, output = draw(*arguments, "--images", tmp_path)
        assert code == 0, output
        lines = output.splitlines()
        assert lines[0].startswith("matching pair: 1 in frame 5, 1 in frame 3; p(one person) = ")
        assert lines[1].startswith("non-matching pair: 1 in frame 5, 2 in frame 3; p(one person) = ")
        assert [float(line.split("= ")[1]) > 0.5 for line in lines[:2]] == [True, False]
        picture = cv2.imread(str(out))
        assert picture.shape == (1488, 1824, 3)
        red = (np.abs(picture.astype(int) - (0, 0, 254)).max(-1) < 4).mean()
        assert draw(*arguments)[0] == 0
        without = (np.abs(cv2.imread(str(out)).astype(int) - (0, 0, 254)).max(-1) < 4).mean()
        assert red > 0.1 > 0.01 > without  # the rest of the red is the frame around the row that is read

    def test_results_of_track_have_the_numbers_of_their_recording(self, tmp_path: Path):
        with PoseTrackWriter(tmp_path / "tracks.json", "walk") as writer:
            for k in range(4):
                poses = people((200 + 4 * k, 200), (400, 220), track_ids=[1, 2])
                writer.write(poses if k else Poses.empty(), 100 + 5 * k, SIZE)
        (tmp_path / "summary.json").write_text("{}")
        video = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, SIZE)
        for k in range(118):
            video.write(np.full((SIZE[1], SIZE[0], 3), 255 if k == 110 else 0, np.uint8))
        video.release()
        out = tmp_path / "a.png"
        code, output = draw(
            tmp_path,
            "--gap",
            1,
            "--frame",
            110,
            "--layer",
            2,
            "-o",
            out,
            "--images",
            tmp_path / "walk.avi",
        )
        assert code == 0, output
        assert "in frame 110, 1 in frame 105; p" in output
        assert cv2.imread(str(out)).shape == (1488, 1824, 3)
        code, output = draw(tmp_path, "--gap", 1, "--frame", 2, "-o", out)
        assert (code, "there is no frame 2; there are 100 … 115" in output) == (1, True)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--gap", 5], "--gap 5: pose_entailment_paper knows poses that are 1 … 4 frames apart"),
            (["--layer", 5], "--layer 5: pose_entailment_paper has layers 1 … 4"),
            (["--model", "pose_entailment"], "compares poses with tracks; the figure is of networks of pairs"),
            (["--images", "gone"], "gone: there is no image for"),
            (["-o", "gone/a.png"], "gone/a.png: cannot be written: No such file or directory"),
        ],
    )
    def test_errors_are_one_line(self, tmp_path: Path, arguments: list[object], words: str):
        write_posetrack18(WALK, tmp_path / f"{NAME}.json")
        code, output = draw(tmp_path / f"{NAME}.json", "-o", tmp_path / "a.png", *arguments)
        assert code == 1
        assert words in output
        assert output.count("\n") == 1
        assert not (tmp_path / "a.png").exists()

    def test_a_folder_that_is_missing_is_noticed_before_anything_is_read(self, tmp_path: Path):
        code, output = draw(tmp_path / "no poses.json", "-o", tmp_path / "gone" / "a.png")
        assert (code, "a.png: cannot be written: No such file or directory" in output) == (1, True)

    def test_one_sequence_at_a_time(self, tmp_path: Path):
        for name in "ab":
            write_posetrack18(WALK, tmp_path / f"{name}.json")
        code, output = draw(tmp_path)
        assert (code, "holds 2 sequences; name one, such as" in output) == (1, True)

    def test_a_model_without_torch_weights(self, tmp_path: Path):
        write_posetrack18(WALK, tmp_path / f"{NAME}.json")
        card = Path(importlib.util.find_spec("keytrack_ros.models").submodule_search_locations[0])
        text = (card / "pose_entailment_paper.yaml").read_text().replace("weights: pose_entailment_paper.pt\n", "")
        (tmp_path / "mine.yaml").write_text(text.replace("name: pose_entailment_paper", "name: mine"))
        code, output = draw(tmp_path / f"{NAME}.json", "--model", tmp_path / "mine.yaml")
        assert (code, "the torch weights of mine are not beside it" in output) == (1, True)


@pytest.mark.parametrize(("package", "extra"), [("matplotlib", "[eval]"), ("torch", "[train]")])
def test_without_a_package_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch, package: str, extra: str):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else found(name, *rest)
    )
    code, output = draw("gone.json")
    assert code == 1
    assert (
        output == f"error: attention: {package} is not installed: pip install {package}, or this package with {extra}\n"
    )
