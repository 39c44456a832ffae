"""Numbers of the public evaluators for two synthetic cases, to 1e-6: poseval, PoseTrack21, py-motmetrics, TrackEval."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keytrack_ros import skeleton
from keytrack_ros.evaluation.evaluate import evaluate
from keytrack_ros.evaluation.protocol import CLEAN, OFFICIAL, Protocol

POSETRACK21 = ("Nose", "Neck", "Head", "LS", "RS", "LE", "RE", "LW", "RW", "LH", "RH", "LK", "RK", "LA", "RA")
HOTA_NAMES = dict(zip((*POSETRACK21, "Total"), (*skeleton.NAMES, "total"), strict=True))
COUNTS = ("misses", "switches", "false_positives", "objects", "detections")
PERSON_NAMES = {"CLR_Re": "recall", "CLR_Pr": "precision"}
PERSON_COUNTS = ("IDSW", "MT", "PT", "ML", "Frag")


@pytest.fixture(params=["a", "b"])
def case(request: pytest.FixtureRequest, shared_data: Path) -> tuple[dict[str, Any], list[tuple[Path, Path]]]:
    """Expected numbers, and the files that they belong to."""
    folder = shared_data / "golden"
    name = "000001_mpii_test.json"
    expected = json.loads((folder / f"golden_{request.param}.json").read_text())
    return expected, [(folder / f"case_{request.param}/gt/{name}", folder / f"case_{request.param}/pred/{name}")]


def approx(expected: dict[str, float], names: dict[str, str] | None = None) -> dict[str, Any]:
    names = names or {"neck": "head_bottom"}
    return {names.get(name, name): pytest.approx(value, abs=1e-6) for name, value in expected.items()}


def test_poseval(case):
    expected, files = case
    poseval, scores = expected["poseval"], evaluate(files, OFFICIAL).to_dict()
    measures = {
        "AP_per_joint": "AP",
        "AP_precision": "AP_precision",
        "AP_recall": "AP_recall",
        "MOTA_per_joint": "MOTA",
        "MOTP_per_joint": "MOTP",
        "PRE_per_joint": "precision",
        "REC_per_joint": "recall",
    }
    for theirs, ours in measures.items():
        assert scores["joints"][ours] == approx(poseval[theirs]), ours
    assert scores["groups"]["AP"] == approx(poseval["AP_groups"])
    assert scores["groups"]["MOTA"] == approx(poseval["MOTA_groups"])
    assert scores["frames"] == poseval["n_frames_used"]


@pytest.mark.parametrize(
    ("block", "protocol"),
    [
        ("counts_drop_last_frame", OFFICIAL),
        ("counts_all_frames", replace(OFFICIAL, drop_last_frame=False)),
        ("clean_mota", CLEAN),
        ("clean_mota_keep_unlabeled_frames", CLEAN.with_frames("all")),
    ],
)
def test_counts(case, block: str, protocol: Protocol):
    expected, files = case
    numbers, scores = expected[block], evaluate(files, protocol).to_dict()
    for name in COUNTS:
        assert scores["counts"][name] == approx(numbers[f"num_{name}"]), name
    assert scores["joints"]["MOTA"] == approx(numbers["MOTA"])
    assert scores["joints"]["IDSW"]["total"] == pytest.approx(numbers["IDSW_pct_mean"], abs=1e-6)
    # What these blocks call MOTP is the mean over py-motmetrics' events, which lists some matches twice.
    if "MOTP" in numbers:
        assert scores["joints"]["MOTP_events"]["total"] == pytest.approx(numbers["MOTP"], abs=1e-6)
    else:
        assert scores["joints"]["MOTP_events"] == approx(numbers["MOTP_correct(mot_events)"])


def test_posetrack21(case):
    expected, files = case
    for block, protocol in (
        (expected["posetrack21"]["HOTA"], OFFICIAL),
        (expected["posetrack21_hota_fixed"], CLEAN),
    ):
        scores = evaluate(files, protocol).to_dict()["joints"]
        for measure, values in block.items():
            assert scores[measure] == approx(values, HOTA_NAMES), measure


def test_posetrack21_map(case):
    expected, files = case
    scores = evaluate(files, OFFICIAL).to_dict()["groups"]
    for theirs, ours in (("map", "AP"), ("precision", "AP_precision"), ("recall", "AP_recall")):
        assert scores[ours] == approx(expected["posetrack21"]["mAP"][theirs]), ours


@pytest.mark.parametrize("protocol", [OFFICIAL, CLEAN])
def test_whole_people(case, protocol: Protocol):
    expected, files = case
    scores = evaluate(files, protocol).person
    checked = 0
    for similarity, families in expected["trackeval_person_level"].items():
        for values in families.values():
            for name, value in values.items():
                ours = PERSON_NAMES.get(name, name)
                if ours in scores[similarity]:
                    factor = 1 if ours in PERSON_COUNTS else 100
                    assert scores[similarity][ours] == pytest.approx(factor * value, abs=1e-6), name
                    checked += 1
    assert checked == 2 * len(scores["OKS"])
