"""Scores of tracked boxes, with numbers worked out by hand, and the same as video benches of others give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from keytrack_ros.annotations.sequence import Image, LabelledSequence, from_boxes
from keytrack_ros.errors import EvaluationError
from keytrack_ros.evaluation.boxes import BoxScores, score_boxes
from test.cli.test_evaluate import run

Box = tuple[int, float]
"""Track id, and left side of a box of 10 x 20 px at the top of the image."""


def boxes(*frames: list[Box], first: int = 0, name: str = "street") -> LabelledSequence:
    """One sequence; the numbers of its frames begin with `first`."""
    rows = [(k, track, x) for k, frame in enumerate(frames) for track, x in frame]
    left = np.array([x for _, _, x in rows], np.float64)
    return from_boxes(
        name,
        f"{name}.txt",
        tuple(Image(place=first + k) for k in range(len(frames))),
        np.array([k for k, _, _ in rows], np.int64),
        [track for _, track, _ in rows],
        np.stack([left, 0 * left, left + 10, 0 * left + 20], 1),
    )


TWO_PEOPLE = boxes(*[[(1, 0), (2, 100)]] * 6)


def test_switches_misses_and_ghosts_by_hand() -> None:
    # Person 1 is 11, then 12 after a miss; person 2 is 21 all along, whose box in frame 3 overlaps by a third only;
    # 99 stands where nobody is, for two frames.
    found = boxes(
        [(11, 0), (21, 100)],
        [(11, 0), (21, 100)],
        [(21, 100), (99, 300)],
        [(12, 0), (21, 105), (99, 300)],
        [(12, 0), (21, 100)],
        [(12, 0), (21, 100)],
    )
    scores = score_boxes(TWO_PEOPLE, found).scores()
    assert (scores["IDSW"], scores["FN"], scores["FP"]) == (1, 2, 3)
    assert scores["MOTA"] == pytest.approx(100 * (1 - (1 + 2 + 3) / 12))
    # Best pairing of tracks: 1 with 12 (3 frames), 2 with 21 (5 frames); 12 boxes annotated, 13 predicted.
    assert scores["IDF1"] == pytest.approx(100 * 2 * 8 / (12 + 13))
    assert (scores["people"], scores["ids"], scores["short ids"], scores["ghosts"]) == (2, 4, 3, 1)
    assert scores["ids/person"] == pytest.approx(1.5)
    assert (scores["MT"], scores["PT"], scores["ML"], scores["Frag"]) == (2, 0, 0, 2)


def test_hota_of_boxes_by_hand() -> None:
    # All found at IoU 1, person 1 under two ids of three frames each: DetA 1; AssA: 6 of 12 matches have 3 / 6.
    found = boxes(*[[(11, 0), (21, 100)]] * 3, *[[(12, 0), (21, 100)]] * 3)
    scores = score_boxes(TWO_PEOPLE, found).scores()
    assert (scores["DetA"], scores["AssA"]) == (pytest.approx(100), pytest.approx(75))
    assert scores["HOTA"] == pytest.approx(100 * np.sqrt(0.75))


def test_matches_are_kept_while_they_are_valid() -> None:
    # 21 comes nearer to person 1 than 11 is; 11 overlaps with 0.67 and keeps it, as in py-motmetrics.
    ground_truth = boxes([(1, 0)], [(1, 0)])
    scores = score_boxes(ground_truth, boxes([(11, 0)], [(11, 2), (21, 0)])).scores()
    assert (scores["IDSW"], scores["FP"]) == (0, 1)


def test_frames_are_paired_by_their_numbers(caplog: pytest.LogCaptureFixture) -> None:
    # The prediction begins a frame later and goes on for one longer; its frames 1 to 5 are those of the ground truth.
    found = boxes(*[[(11, 0), (21, 100)]] * 6, first=1)
    scores = score_boxes(TWO_PEOPLE, found).scores()
    assert (scores["FN"], scores["FP"], scores["IDSW"]) == (2, 0, 0)
    assert "2 boxes are in frames that street.txt does not have" in caplog.text


def test_sequences_are_combined_by_their_counts() -> None:
    poor = score_boxes(TWO_PEOPLE, boxes(*[[]] * 6))
    both = BoxScores({"a": score_boxes(TWO_PEOPLE, TWO_PEOPLE), "b": poor})
    total = both.total.scores()
    assert total["MOTA"] == pytest.approx(50)
    assert total["IDF1"] == pytest.approx(100 * 2 * 12 / (24 + 12))
    assert (total["people"], total["ids"], total["ids/person"]) == (4, 2, 1.0)
    assert poor.scores()["MOTA"] == 0


def test_a_person_without_a_box_cannot_be_scored() -> None:
    found = boxes([(11, np.nan)])
    with pytest.raises(EvaluationError, match=r"street\.txt: .*frame 0: track 11 has no box"):
        score_boxes(boxes([(1, 0)]), found)


def test_evaluate_scores_boxes_against_motchallenge_ground_truth(tmp_path: Path) -> None:
    lines = [f"{k},{g},{100 * g},0,10,20,1,-1,-1,-1" for k in range(1, 5) for g in (1, 2)]
    for name in ("left", "right"):
        (tmp_path / "gt" / name / "gt").mkdir(parents=True)
        (tmp_path / "gt" / name / "gt/gt.txt").write_text("\n".join(lines))
    (tmp_path / "pred").mkdir()
    (tmp_path / "pred/left.txt").write_text("\n".join(lines))
    swapped = [line if k < 4 else line.replace(",1,", ",3,", 1) for k, line in enumerate(lines)]
    (tmp_path / "pred/right.txt").write_text("\n".join(swapped))
    arguments = ("--json", tmp_path / "scores.json", "--workers", 1)
    code, output = run("evaluate", tmp_path / "gt", tmp_path / "pred", *arguments)
    assert code == 0, output
    assert "2 sequences, 8 frames; boxes, IoU 0.5" in output
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["sequences"]["left"]["IDF1"] == pytest.approx(100)
    assert scores["sequences"]["right"]["IDSW"] == 1
    assert scores["total"]["MOTA"] == pytest.approx(100 * 15 / 16)
    code, output = run("evaluate", tmp_path / "gt", tmp_path / "pred", "--report", tmp_path / "page.html")
    assert code == 1
    assert "MOTChallenge ground truth has boxes" in output


def test_tracks_of_ours_are_scored_by_their_boxes(tmp_path: Path) -> None:
    (tmp_path / "street").mkdir()
    (tmp_path / "street/gt.txt").write_text("1,1,0,0,10,20,1\n2,1,0,0,10,20,1\n3,1,0,0,10,20,1\n")
    person = {"track_id": 4, "category_id": 1, "bbox": [0, 0, 10, 20], "keypoints": [0] * 51, "scores": []}
    tracks = {
        "images": [{"id": k, "file_name": f"{k}.jpg", "frame_id": k} for k in (0, 2)],  # every second frame
        "annotations": [{"id": k, "image_id": k, **person} for k in (0, 2)],
    }
    (tmp_path / "tracks.json").write_text(json.dumps(tracks))
    code, output = run("evaluate", tmp_path / "street", tmp_path / "tracks.json", "--json", tmp_path / "scores.json")
    assert code == 0, output
    scores = json.loads((tmp_path / "scores.json").read_text())["total"]
    assert (scores["IDSW"], scores["FN"], scores["FP"]) == (0, 1, 0)
