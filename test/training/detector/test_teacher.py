"""The teacher answers for every cell, at any size, whatever size its file fixes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from keytrack_ros.detection.nano import STRIDES, NanoDetector
from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import DetectorCard
from keytrack_ros.inference.registry import find_model
from keytrack_ros.training.detector.export import export_detector
from keytrack_ros.training.detector.loss import decode_maps
from keytrack_ros.training.detector.teacher import DenseTeacher
from keytrack_ros.training.detector.training import network_images


@pytest.fixture(scope="module")
def network() -> NanoDetector:
    torch.manual_seed(3)
    return NanoDetector().eval()


@pytest.fixture(scope="module")
def card(network: NanoDetector, tmp_path_factory: pytest.TempPathFactory) -> DetectorCard:
    """A file whose input is 64 × 64."""
    folder = tmp_path_factory.mktemp("teacher")
    return find_model(DetectorCard, str(export_detector(network, folder, (64, 64))[1]))


@pytest.mark.parametrize("side", [64, 96])
def test_answers_are_those_of_the_network(network: NanoDetector, card: DetectorCard, side: int) -> None:
    images = [np.random.default_rng(k).integers(0, 256, (side, side, 3), dtype=np.uint8) for k in range(2)]
    answers = DenseTeacher([card], STRIDES, threads=1)(images)
    with torch.no_grad():
        found = decode_maps(network.maps(network_images(images, torch.device("cpu"))), STRIDES)
    assert answers.boxes.shape == (2, sum((side // stride) ** 2 for stride in STRIDES), 4)
    np.testing.assert_allclose(answers.boxes, found.boxes.numpy(), atol=0.05)  # the file's weights are FP16
    np.testing.assert_allclose(answers.scores, found.logits.sigmoid().numpy(), atol=1e-3)


def test_of_several_the_scores_are_averaged_and_the_boxes_by_score(card: DetectorCard, tmp_path: Path) -> None:
    network = NanoDetector().eval()
    for level, head in enumerate(network.heads):  # larger boxes and other scores
        torch.nn.init.constant_(head.box[-1].bias, 2.0)
        torch.nn.init.constant_(head.score[-1].bias, level - 1.0)
    other = find_model(DetectorCard, str(export_detector(network, tmp_path, (64, 64))[1]))
    images = [np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)]
    first, second, both = (DenseTeacher(cards, STRIDES, 1)(images) for cards in ([card], [other], [card, other]))
    np.testing.assert_allclose(both.scores, (first.scores + second.scores) / 2, atol=1e-6)
    weighted = first.scores[..., None] * first.boxes + second.scores[..., None] * second.boxes
    total = (first.scores + second.scores)[..., None]
    np.testing.assert_allclose(both.boxes, weighted / total, rtol=1e-3, atol=0.01)
    assert np.abs(first.boxes - second.boxes).max() > 1


def test_other_strides_and_damaged_files_are_refused(card: DetectorCard, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"its cells have the strides \(8, 16, 32\); a teacher needs \(8, 16\)"):
        DenseTeacher([card], (8, 16))
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match="not an ONNX file"):
        DenseTeacher([replace(card, path=tmp_path / "broken.onnx")], STRIDES)
