"""Trackers side by side: association, perturbed keypoints, baselines, and `keytrack compare`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from keytrack_ros.annotations.posetrack_writer import write_posetrack18
from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.cli.app import app
from keytrack_ros.errors import OptionError
from keytrack_ros.evaluation.protocol import CLEAN
from keytrack_ros.matching.matcher import MatchQuery
from keytrack_ros.poses import FloatArray, Poses
from keytrack_ros.research.association import Associator, assign_optimally
from keytrack_ros.research.baselines import Baseline, parse_baseline
from keytrack_ros.research.compare import TRUE, Task, Tracked, compare, line, subsample
from keytrack_ros.research.overlap import OksMatcher
from keytrack_ros.research.perturbation import annotated_poses, perturbed
from test.evaluation.toy_sequences import Person, sequence
from test.people import people

SIZE = (640, 480)
NOBODY = Poses.empty()
OKS, IOU = parse_baseline("oks"), parse_baseline("iou")


class _Table:
    """A matcher that reads scores from a table of [current, past]."""

    def __init__(self, scores: list[list[float]]) -> None:
        self._scores = np.array(scores, np.float32)

    def score(self, query: MatchQuery) -> FloatArray:
        return np.asarray(self._scores[query.pairs[:, 0], query.pairs[:, 1]])


def walkers(frames: int = 8, step: float = 4.0, name: str = "000001_mpii_test") -> LabelledSequence:
    """Three people side by side, who walk on by `step` px a frame."""
    return sequence(
        [[Person(g, 100 + 150 * g + step * k) for g in (1, 2, 3)] for k in range(frames)], name=name, size=(960, 480)
    )


class TestAssociation:
    def test_ids_stay_over_as_many_empty_frames_as_the_memory_is_long(self) -> None:
        for memory, stays in ((1, False), (3, False), (4, True), (30, True)):
            tracker = Associator(OksMatcher(), memory_frames=memory, threshold=0.1)
            assert tracker.update(people((100, 200)), SIZE, 0.0).tolist() == [1]
            for k in range(3):
                assert tracker.update(NOBODY, SIZE, 0.1 * k).tolist() == []
            assert tracker.update(people((100, 200)), SIZE, 0.5).tolist() == [1 if stays else 2]

    def test_greedy_takes_the_best_pair_and_hungarian_the_best_sum(self) -> None:
        scores = [[0.9, 0.8], [0.8, 0.1]]  # greedy: 0.9 + 0.1; optimal: 0.8 + 0.8
        both = people((100, 200), (400, 200))
        for assignment, ids in (("greedy", [1, 3]), ("hungarian", [2, 1])):
            tracker = Associator(_Table(scores), assignment=assignment, threshold=0.5)
            assert tracker.update(both, SIZE, 0.0).tolist() == [1, 2]
            assert tracker.update(both, SIZE, 0.1).tolist() == ids

    def test_optimal_assignment_never_uses_a_pair_below_the_threshold(self) -> None:
        scores = np.array([[0.6, -np.inf], [0.55, 0.4]], np.float32)
        ids, won = assign_optimally(scores, np.array([7, 9]), 0.5)
        assert ids.tolist() == [7, -1]
        assert won == pytest.approx([0.6, 0])

    def test_unsure_keypoints_are_not_matched(self) -> None:
        tracker = Associator(OksMatcher(), threshold=0.1)
        assert tracker.update(people((100, 200), score=0.05), SIZE, 0.0).tolist() == [1]
        assert tracker.update(people((100, 200), score=0.05), SIZE, 0.1).tolist() == [2]


class TestKeypoints:
    def test_true_ones_are_those_annotated_in_another_order(self) -> None:
        ground_truth = walkers()
        frames = annotated_poses(ground_truth)
        assert [len(poses) for poses in frames] == [3] * 8
        orders = [np.argsort(poses.keypoints[:, 0, 0]).tolist() for poses in frames]
        assert len({tuple(order) for order in orders}) > 1
        for k, poses in enumerate(frames):
            np.testing.assert_allclose(
                poses.keypoints[orders[k]], ground_truth.keypoints[ground_truth.rows(k)].astype(np.float32), atol=1e-3
            )
            assert (poses.track_ids == -1).all()

    def test_perturbed_ones_miss_and_jitter_as_said_and_are_the_same_at_every_call(self) -> None:
        ground_truth = walkers(400, step=0.0)
        frames = perturbed(ground_truth)
        assert sum(map(len, frames)) / ground_truth.people == pytest.approx(0.85, abs=0.03)
        present = np.concatenate([poses.visible for poses in frames])
        assert present.mean() == pytest.approx(0.85, abs=0.01)
        noses = np.concatenate([poses.keypoints[poses.visible[:, 0], 0] for poses in frames])
        apart = np.abs(noses[:, None] - ground_truth.keypoints[ground_truth.rows(0), 0]).max(2).min(1)
        # Where nobody stands: 5 of the 85 who are seen, but those put beside where they are.
        assert 0.02 < (apart > 30).mean() < 0.07
        assert np.median(apart) == pytest.approx(4.5, abs=1.5)  # a tenth of a head of 40 px, the larger of x and y
        again = perturbed(ground_truth)
        assert all(np.array_equal(a.keypoints, b.keypoints) for a, b in zip(frames, again, strict=True))
        assert not np.array_equal(frames[0].keypoints, perturbed(ground_truth, seed=1)[0].keypoints)

    def test_every_third_frame_from_each_first_one(self) -> None:
        ground_truth = walkers(8)
        parts = [subsample(ground_truth, 3, first) for first in range(3)]
        assert [len(part) for part in parts] == [3, 3, 2]
        assert [part.images[-1].file_name[-10:] for part in parts] == ["000006.jpg", "000007.jpg", "000005.jpg"]
        assert (
            parts[1].keypoints[parts[1].rows(2)][0].tolist() == ground_truth.keypoints[ground_truth.rows(7)][0].tolist()
        )


class TestBaselines:
    @pytest.mark.parametrize(
        ("text", "expected", "name"),
        [
            ("oks", Baseline("oks", threshold=0.001), "oks"),
            ("oks,memory=1", Baseline("oks", memory=1, threshold=0.001), "oks,memory=1"),
            (
                "iou, assignment=hungarian, threshold=0.2",
                Baseline("iou", assignment="hungarian", threshold=0.2),
                "iou,assignment=hungarian,threshold=0.2",
            ),
            ("graph,weights=a/g.pt", Baseline("graph", weights="a/g.pt"), "graph,weights=g.pt"),
        ],
    )
    def test_words(self, text: str, expected: Baseline, name: str) -> None:
        assert parse_baseline(text) == expected
        assert parse_baseline(text).name == name

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("magic", "unknown; known are tracker, entailment"),
            ("oks,speed=3", "'speed' is none of memory"),
            ("oks,memory=long", "memory is a number, not 'long'"),
            ("oks,memory=0", "at least 1"),
            ("oks,threshold=2", "threshold lies in 0..1"),
            ("oks,assignment=best", "assignment is one of greedy, hungarian"),
            ("graph", "name its network with weights=FILE"),
            ("tracker,memory=2", "as it is shipped"),
        ],
    )
    def test_words_that_mean_nothing(self, text: str, words: str) -> None:
        with pytest.raises(OptionError, match=words):
            parse_baseline(text)


class TestLines:
    def run(self, ground_truth: LabelledSequence, chosen: Baseline, every: int = 1) -> Tracked:
        ((_, results),) = compare([Task(ground_truth, {}, (TRUE,), every)], [chosen], CLEAN)
        return results[TRUE, chosen.name]

    def test_people_who_can_be_told_apart_never_switch(self) -> None:
        found = line([self.run(walkers(), OKS)])
        assert found.totals == pytest.approx({"IDSW": 0, "MOTA": 100, "IDF1": 100})
        assert (found.switches, found.intervals) == (0, None)

    def test_a_step_that_is_too_long_makes_everyone_switch_in_every_frame(self) -> None:
        tracked = self.run(walkers(8, step=500.0), OKS)
        found = line([tracked])
        assert found.switches == 3 * 7
        assert found.totals["IDSW"] == pytest.approx(100 * 7 / 8)
        assert found.totals["MOTA"] == pytest.approx(100 / 8)
        assert found.idsw["Wri"] == pytest.approx(100 * 7 / 8)
        # Every second frame, from both first ones: 4 + 4 frames, 3 + 3 switches of each person.
        half = line([self.run(walkers(8, step=500.0), OKS, every=2)])
        assert half.totals["IDSW"] == pytest.approx(100 * 6 / 8)

    def test_intervals_hold_the_figure_and_grow_with_the_differences_between_sequences(self) -> None:
        good, bad = self.run(walkers(), OKS), self.run(walkers(8, step=500.0), OKS)
        alike, mixed = line([good] * 10), line([good, bad] * 5)
        assert alike.intervals is not None
        assert alike.intervals["MOTA"] == pytest.approx((100, 100))
        assert mixed.intervals is not None
        low, high = mixed.intervals["MOTA"]
        assert low < mixed.totals["MOTA"] < high
        # Half of 10 are bad, 87.5 points apart: the standard error of the mean is 87.5 × 0.5 / √10.
        assert high - low == pytest.approx(2 * 1.96 * 87.5 * 0.5 / np.sqrt(10), rel=0.15)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "150"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two annotated sequences; predictions that miss one of three people."""
    for name in ("000001_mpii_test", "000002_mpii_test"):
        ground_truth = walkers(5, name=name)
        fewer = ground_truth.taken(ground_truth.track_ids != 2)
        for side, content in (("gt", ground_truth), ("found", fewer)):
            (tmp_path / side).mkdir(exist_ok=True)
            write_posetrack18(content, tmp_path / side / f"{name}.json")
    return tmp_path / "gt", tmp_path / "found"


class TestCommand:
    def test_table_and_json_on_all_sets_of_keypoints(self, folders: tuple[Path, Path], tmp_path: Path) -> None:
        ground_truth, found = folders
        arguments = ("--method", "oks", "--method", "iou,memory=1", "--predicted", found, "--json", tmp_path / "c.json")
        code, output = run(ground_truth, *arguments, "--workers", 1)
        assert code == 0, output
        assert "2 sequences, 10 frames, every 1; mode clean" in output
        for words in ("true keypoints", "perturbed keypoints", "found keypoints", "iou,memory=1", "Ankl", "ms/frame"):
            assert words in output
        content = json.loads((tmp_path / "c.json").read_text())
        assert list(content) == ["true", "perturbed", "found"]
        assert content["true"]["oks"]["MOTA_total"] == pytest.approx(100)
        assert content["found"]["oks"]["MOTA_total"] == pytest.approx(100 * 2 / 3)
        assert content["found"]["oks"]["confidence_intervals_95"]["IDSW"] == [0, 0]
        assert content["perturbed"]["oks"]["MOTA_total"] < 90

    def test_processes_give_the_same_figures(self, folders: tuple[Path, Path], tmp_path: Path) -> None:
        for workers in (1, 2):
            arguments = ("--method", "oks", "--json", tmp_path / f"{workers}.json", "--workers", workers)
            assert run(folders[0], *arguments)[0] == 0
        a, b = (json.loads((tmp_path / f"{workers}.json").read_text()) for workers in (1, 2))
        for found in (a, b):
            for by_name in found.values():
                by_name["oks"].pop("ms_per_frame")
        assert a == b

    def test_optical_flow_looks_at_the_images(self, tmp_path: Path) -> None:
        ground_truth = sequence([[Person(1, 200 + 40 * k)] for k in range(4)], size=(640, 480))  # OKS loses such steps
        write_posetrack18(ground_truth, tmp_path / "a.json")
        noise = np.random.default_rng(0).integers(0, 256, (480, 1000, 3), np.uint8)
        texture = cv2.GaussianBlur(noise, (0, 0), 16)
        texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
        for k, image in enumerate(ground_truth.images):
            file = tmp_path / image.file_name
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), texture[:, 250 - 40 * k : 890 - 40 * k])
        arguments = ("--method", "oks,threshold=0.2", "--method", "flow,threshold=0.2", "--keypoints", "true")
        code, output = run(tmp_path / "a.json", *arguments, "--images", tmp_path, "--json", tmp_path / "c.json")
        assert code == 0, output
        found = json.loads((tmp_path / "c.json").read_text())["true"]
        assert found["oks,threshold=0.2"]["person_switches"] == 3
        assert found["flow,threshold=0.2"]["person_switches"] == 0

    def test_held_back_videos_of_track_files(self, shared_data: Path, tmp_path: Path) -> None:
        arguments = ("--method", "oks", "--keypoints", "true", "--json", tmp_path / "c.json", "--workers", 1)
        code, output = run(shared_data / "tracks", *arguments)
        assert code == 0, output
        assert "27 sequences" in output
        # As bench/identity.py counts on the same videos.
        assert json.loads((tmp_path / "c.json").read_text())["true"]["oks"]["person_switches"] == 35

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["{gt}", "--method", "flow"], "add --images"),
            (["{gt}", "--method", "flow", "--images", "{gt}"], "there is no image for"),
            (["{gt}", "--keypoints", "guessed"], "'guessed' is neither true nor perturbed"),
            (["{gt}", "--keypoints", "none"], "no keypoints to compare on"),
            (["{gt}", "--predicted", "{found}", "--predicted", "{found}"], "names must differ: true, perturbed, found"),
            (["{gt}", "--method", "graph,weights=gone.pt"], "gone.pt: there is no such file"),
            (["{gt}", "--predicted", "{gt}/000001_mpii_test.json"], "there is no prediction for sequence 000002"),
            (["{empty}"], "neither PoseTrack files"),
        ],
    )
    def test_errors_are_one_line(
        self, folders: tuple[Path, Path], tmp_path: Path, arguments: list[str], words: str
    ) -> None:
        (tmp_path / "empty").mkdir()
        names = {"gt": folders[0], "found": folders[1], "empty": tmp_path / "empty"}
        code, output = run(*(a.format(**names) for a in arguments), "--workers", 1)
        assert code == 1
        assert words in output.replace("\n", " ")
