"""Numbers of poseval and TrackEval for the two synthetic cases, to 1e-6.

`poseval_numbers.json` was printed by poseval (github.com/leonid-pishchulin/poseval, with py-motmetrics 1.4.0) and by
TrackEval 1.3.0 for the very files that `synthetic_case` makes; percent, counts as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keytrack_ros.annotations.posetrack_writer import write_posetrack18
from keytrack_ros.evaluation.evaluate import evaluate
from keytrack_ros.evaluation.protocol import OFFICIAL
from keytrack_ros.evaluation.scores import Scores
from test.evaluation.synthetic_cases import NAMES, synthetic_case

NUMBERS = json.loads(Path(__file__).with_name("poseval_numbers.json").read_text())


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scores, dict[str, Any]]:
    """Our scores in official mode, of the case's files, and the numbers that they must equal."""
    folder = tmp_path_factory.mktemp(request.param)
    files = []
    for side, data in zip(("gt", "pred"), synthetic_case(request.param), strict=True):
        (folder / side).mkdir()
        files.append(folder / side / "000001_mpii_test.json")
        write_posetrack18(data, files[-1])
    return evaluate([(files[0], files[1])], OFFICIAL), NUMBERS[request.param]


@pytest.mark.parametrize("measure", ["AP", "AP_precision", "AP_recall", "MOTA", "MOTP", "precision", "recall"])
def test_joints_are_scored_as_poseval_does(case: tuple[Scores, dict[str, Any]], measure: str) -> None:
    scores, numbers = case
    assert scores.to_dict()["joints"][measure] == pytest.approx(numbers[measure], abs=1e-6)


@pytest.mark.parametrize("similarity", ["OKS", "PCKh"])
def test_whole_people_are_scored_as_trackeval_does(case: tuple[Scores, dict[str, Any]], similarity: str) -> None:
    scores, numbers = case
    expected = numbers["person"][similarity]
    ours = {name: scores.person[similarity][name] for name in expected}
    assert ours == pytest.approx(expected, abs=1e-6)
