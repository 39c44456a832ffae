"""TOKS on the device chooses what TOKS with arrays chooses."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from keytrack_ros import toks as arrays
from keytrack_ros.gpu.toks import Candidates, carried_boxes, keep_best, not_detected
from keytrack_ros.poses import Poses
from keytrack_ros.toks import ToksOptions
from test.people import people

SIZE = (768, 576)


def crowd(seed: int, count: int) -> Poses:
    """People close to each other, some half outside the picture, some with few or no keypoints, some carried over."""
    rng = np.random.default_rng(seed)
    poses = people(*[tuple(rng.uniform((-20, 20), (120, 160))) for _ in range(count)])
    scores = rng.uniform(0.05, 1, (count, 15)) * (rng.random((count, 15)) < rng.choice([0.05, 0.9], (count, 1)))
    keypoints = poses.keypoints + rng.normal(0, 8, (count, 15, 2))
    return Poses(keypoints, scores, poses.boxes, carried=rng.random(count) < 0.5)


def on_device(poses: Poses, device: str | torch.device = "cpu") -> Candidates:
    names = ("keypoints", "scores", "boxes", "box_scores", "carried")
    return Candidates(*(torch.from_numpy(getattr(poses, name).copy()).to(device) for name in names))


@settings(deadline=None)  # torch takes its time at the first call
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_same_poses_stay(seed, count, threshold, minimum, overlap):
    options = ToksOptions(oks_threshold=threshold, minimum_score=minimum, duplicate_overlap=overlap)
    poses = crowd(seed, count)
    assert (
        torch.nonzero(keep_best(on_device(poses), options))[:, 0].tolist() == arrays.keep_best(poses, options).tolist()
    )


@settings(deadline=None)  # torch takes its time at the first call
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 12), st.floats(0, 1))
def test_the_same_boxes_are_carried_over(seed, count, detections, skip_iou):
    poses, options = crowd(seed, count), ToksOptions(skip_iou=skip_iou, keypoint_threshold=0.2)
    detected = crowd(seed + 1, detections).boxes
    expected = arrays.not_detected(arrays.carried_boxes(poses, SIZE, options), detected, options)
    given_ = on_device(poses)
    boxes, proposed = carried_boxes(given_.keypoints, given_.scores, SIZE, options)
    found = boxes[proposed & not_detected(boxes, torch.from_numpy(detected.copy()), options)]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_equal_scores_keep_the_detected_pose(device):
    poses = Poses.concatenate([people((100, 200)), people((100, 200), carried=[True])])
    assert keep_best(on_device(poses, device), ToksOptions()).tolist() == [True, False]
