"""config/paper.yaml after config/tracker.yaml against the values that the paper states."""

from pathlib import Path

import pytest
import yaml

CONFIG = Path(__file__).parent.parent / "config"

PAPER = {
    # §3.3, A.4 (datasets and evaluation)
    "detector.score_threshold": 0.2,  # bounding boxes with a score below 0.2 are dropped
    "tracker.keypoint_threshold": 0.1,  # keypoints below 0.1 do not count
    "toks.keypoint_threshold": 0.1,
    "toks.oks_threshold": 0.35,
    "toks.dilation": 1.25,  # α
    "estimator.flip_test": True,
    # A.5 (tracking)
    "tracker.delta": 4,  # δ
    "tracker.match_threshold": 0.5,
    # Algorithm 1: all boxes of t−1 are estimated; the pose with the higher keypoint score stays
    "toks.enabled": True,
    "toks.skip_iou": 1.0,
    "toks.duplicate_overlap": 0.0,
    "toks.detected_first": False,
    # §3.2: the network of pairs scores every candidate by keypoints; no track waits to be confirmed
    "tracker.model": "pose_entailment_paper",
    "tracker.gating": False,
    "tracker.use_boxes": False,
    "tracker.birth_score": 0.0,
    "tracker.birth_pose_score": 0.0,
    "tracker.confirm_frames": 1,
}


def read(name: str) -> dict[str, object]:
    """Parameters by dotted name."""
    content = yaml.safe_load((CONFIG / name).read_text())["/**"]["tracker"]["ros__parameters"]
    found: dict[str, object] = {}
    for section, values in content.items():
        found |= {f"{section}.{key}": value for key, value in values.items()} if isinstance(values, dict) else {}
    return found


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_value(name):
    assert (read("tracker.yaml") | read("paper.yaml"))[name] == PAPER[name]


def test_the_default_has_the_papers_delta_and_alpha():
    defaults = read("tracker.yaml")
    assert (defaults["tracker.delta"], defaults["toks.dilation"]) == (4, 1.25)


def test_the_papers_file_only_names_parameters_that_exist():
    assert set(read("paper.yaml")) <= set(read("tracker.yaml"))
