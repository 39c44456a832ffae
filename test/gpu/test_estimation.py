"""Keypoints of real people on the device, in both precisions, against those of NumPy, OpenCV and ONNX Runtime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.gpu.batches import BatchedNetwork
from keytrack_ros.gpu.estimation import DeviceEstimator
from keytrack_ros.gpu.networks import load_pose
from keytrack_ros.gpu.transfer import Upload
from keytrack_ros.inference.cards import PoseCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import find_model
from keytrack_ros.media.image_source import read_image
from keytrack_ros.skeleton import derive_head_points
from test import toy
from test.gpu.toy_torch import ToyPose


@pytest.mark.parametrize("half", [False, True])
def test_keypoints_of_real_people_are_within_half_a_pixel(shared_data: Path, device: torch.device, half: bool) -> None:
    clip = shared_data / "clips/bonn_060470979"
    truth = json.loads((clip / "gt.json").read_text())
    card, options = find_model(PoseCard), EstimatorOptions(flip_test=True)
    network = BatchedNetwork(load_pose(card), (3, card.input.size[1], card.input.size[0]), device, half)
    on_device = DeviceEstimator(card, network, options)
    reference = Estimator(options, InferenceOptions(device="cpu", threads=1, precision="fp32"))
    distances, changes = [], []
    for entry in truth["images"][::20]:
        boxes = np.array([a["bbox"] for a in truth["annotations"] if a["image_id"] == entry["id"]], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        image = read_image(clip / entry["file_name"])
        expected = reference.estimate(image, boxes)
        frame = Upload(device)(image)
        points, scores = on_device.estimate([frame], [torch.from_numpy(boxes).to(device)], options)
        apart = np.linalg.norm(points.cpu().numpy() - expected.keypoints, axis=-1)
        distances += list(apart[expected.scores > 0.3])
        changes.append(np.abs(scores.cpu().numpy() - expected.scores).max())
    assert len(distances) > 100
    assert max(changes) < 0.01
    # A maximum between two pixels of equal height may fall to either side: half a heatmap pixel.
    assert np.mean(np.array(distances) < 0.5) >= 0.98
    assert np.median(distances) < 0.01


def test_networks_that_know_other_joints_fill_what_they_know(device: torch.device, tmp_path: Path) -> None:
    # As if the toy network's 15 channels were 15 of COCO's: no head points, which are derived, and ears unused.
    names = ["nose", "left_eye", "right_eye", *skeleton.NAMES[3:]]
    card = find_model(PoseCard, toy.ESTIMATOR, [toy.write_networks(tmp_path)])
    card = replace(card, joints=tuple(names))
    estimator = DeviceEstimator(
        card, BatchedNetwork(ToyPose(card.path), (3, 64, 48), device, False), EstimatorOptions()
    )
    frame = Upload(device)(toy.draw_frame([(200.0, 300.0)]))
    keypoints, scores = (
        part.cpu().numpy()
        for part in estimator.estimate(
            [frame], [torch.tensor([[170.0, 220, 230, 380]], device=device)], EstimatorOptions()
        )
    )
    known = [skeleton.INDEX[name] for name in names if name in skeleton.INDEX]
    np.testing.assert_allclose(keypoints[0, known], toy.keypoints_of(200, 300)[known], atol=14)
    expected = keypoints.copy(), scores.copy()
    expected[0][:, 1:3] = 0
    derive_head_points(*expected)
    np.testing.assert_allclose(keypoints, expected[0], atol=1e-3)
    np.testing.assert_allclose(scores, expected[1], atol=1e-6)


def test_a_network_with_other_heatmaps_than_its_model_file_says_is_refused(
    device: torch.device, tmp_path: Path
) -> None:
    card = find_model(PoseCard, toy.ESTIMATOR, [toy.write_networks(tmp_path)])
    card = replace(card, joints=card.joints[:14])
    with pytest.raises(ModelError, match=r"toy_pose\.onnx: the output has shape \(1, 15, 32, 24\); .* names 14 joints"):
        DeviceEstimator(card, BatchedNetwork(ToyPose(card.path), (3, 64, 48), device, False), EstimatorOptions())
