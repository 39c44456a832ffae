"""The networks in the package: what a tracker without options runs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.detection import Detector
from keytrack_ros.estimation import Estimator
from keytrack_ros.inference.cards import load_card
from keytrack_ros.inference.registry import PACKAGE_MODELS
from keytrack_ros.poses import FloatArray

DETECTOR_RECALL, FALSE_BOXES, LIMBS_FOUND = 0.72, 0.6, 0.6
"""A little below what the networks' cards say: a change that breaks them is seen."""
LIMBS = [k for k, name in enumerate(skeleton.NAMES) if name.startswith(("left_", "right_"))]


@pytest.fixture(autouse=True)
def _only_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEYTRACK_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_detector_and_estimator_need_nothing_else() -> None:
    detector, estimator = Detector(), Estimator()
    assert (detector.card.name, estimator.card.name) == ("person_detector", "hrnet_w24")
    assert detector.card.path.parent == estimator.card.path.parent == PACKAGE_MODELS
    frame = np.full((480, 640, 3), 90, np.uint8)
    boxes, scores = detector.detect(frame)
    assert len(boxes) == len(scores) == 0  # nobody stands on a grey wall
    poses = estimator.estimate(frame, np.array([[100, 50, 200, 350]], np.float32))
    assert poses.keypoints.shape == (1, 15, 2)
    assert poses.mean_scores[0] < 0.2


def test_together_they_are_small() -> None:
    networks = [PACKAGE_MODELS / f"{name}.onnx" for name in ("person_detector", "hrnet_w24")]
    assert sum(file.stat().st_size for file in networks) <= 12e6


def test_all_that_ships_is_below_12_megabytes() -> None:
    assert sum(file.stat().st_size for file in PACKAGE_MODELS.iterdir()) <= 12e6


def test_their_terms_are_stated() -> None:
    for name in ("person_detector", "hrnet_w24"):
        assert "non-commercial" in load_card(PACKAGE_MODELS / f"{name}.yaml").licence


@pytest.fixture(scope="module")
def clip(shared_data: Path) -> list[tuple[np.ndarray, FloatArray, FloatArray, FloatArray]]:
    """Every fifth frame of an annotated clip: image, boxes [P, 4], keypoints [P, 15, 3], head sizes [P]."""
    folder = shared_data / "clips/bonn_060470979"
    labels = json.loads((folder / "gt.json").read_text())
    slots = [skeleton.POSETRACK17.index(name) for name in skeleton.NAMES]
    frames = []
    for image in labels["images"][::5]:
        people = [a for a in labels["annotations"] if a["image_id"] == image["id"]]
        boxes = np.array([a["bbox"] for a in people], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        heads = np.array([a["bbox_head"][2:] for a in people])
        points = np.array([a["keypoints"] for a in people], np.float32).reshape(-1, 17, 3)[:, slots]
        frames.append((cv2.imread(str(folder / image["file_name"])), boxes, points, 0.6 * np.hypot(*heads.T)))
    return frames


def test_the_detector_finds_the_people_of_a_real_clip(clip) -> None:
    detector, found, asked, false = Detector(), 0, 0, 0
    for image, boxes, _, _ in clip:
        detected, _ = detector.detect(image)
        low = np.maximum(boxes[:, None, :2], detected[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], detected[None, :, 2:])
        common = np.clip(high - low, 0, None).prod(2)
        areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, detected)]
        overlap = common / (areas[0][:, None] + areas[1] - common)
        found += int((overlap.max(1) >= 0.5).sum())
        false += int((overlap.max(0) < 0.5).sum())
        asked += len(boxes)
    assert found / asked >= DETECTOR_RECALL
    assert false / len(clip) <= FALSE_BOXES


def test_the_estimator_finds_the_limbs_of_a_real_clip(clip) -> None:
    estimator, right, asked = Estimator(), 0, 0
    for image, boxes, truth, heads in clip:
        poses = estimator.estimate(image, boxes)
        known = truth[:, LIMBS, 2] > 0
        error = np.linalg.norm(poses.keypoints - truth[..., :2], axis=2)[:, LIMBS]
        right += int((known & (error <= 0.5 * heads[:, None])).sum())
        asked += int(known.sum())
    assert right / asked >= LIMBS_FOUND
