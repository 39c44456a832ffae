from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.detection.nano import NanoDetector
from keytrack_ros.estimation.hrnet import build_hrnet
from keytrack_ros.gpu.batches import BatchedNetwork
from keytrack_ros.gpu.detection import DeviceDetector
from keytrack_ros.gpu.networks import load_detector, load_pose
from keytrack_ros.inference.cards import DetectorCard, ImageInput, PoseCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import find_model
from keytrack_ros.inference.session import BackendError, OnnxSession
from keytrack_ros.inference.torch_session import fold_batch_norms
from keytrack_ros.media.image_source import read_image
from keytrack_ros.training.common.export import export_onnx
from test import toy


def with_statistics(network: nn.Module) -> nn.Module:
    """The network as if it had been trained: batch normalisation with statistics and factors of its own."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return network.eval()


def test_the_shipped_detector_computes_in_torch_what_its_graph_computes() -> None:
    card = find_model(DetectorCard)
    session, network = OnnxSession(card.path, threads=1), load_detector(card)
    for width, height in (card.input.size, card.input_size((1280, 720))):
        images = np.random.default_rng(0).normal(size=(1, 3, height, width)).astype(np.float32)
        expected = session.run({card.input.name: images})[card.output]
        with torch.inference_mode():
            found = network(torch.from_numpy(images)).numpy()
        assert np.abs(found - expected).max() < 1e-4


def test_cameras_of_two_shapes_get_the_boxes_that_the_host_finds(device: torch.device, shared_data: Path) -> None:
    image = read_image(sorted((shared_data / "clips/bonn_060470979").glob("**/*.jpg"))[0])
    wide = np.concatenate([image, image[:, ::-1]], 1)
    card = find_model(DetectorCard)
    width, height = card.input.size
    network = BatchedNetwork(load_detector(card), (3, height, width), device, half=False)
    detector = DeviceDetector(card, network, cameras=2)
    frames = [torch.from_numpy(picture).to(device).permute(2, 0, 1).float() for picture in (image, wide, image)]
    with torch.inference_mode():
        found = detector.detect(frames, [DetectorOptions()] * 3)
    on_host = Detector(inference=InferenceOptions(precision="fp32"))
    for picture, (boxes, scores) in zip((image, wide, image), found, strict=True):
        expected, expected_scores = on_host.detect(picture)
        assert len(expected) >= 3
        np.testing.assert_allclose(boxes.cpu().numpy(), expected, atol=0.1)
        np.testing.assert_allclose(scores.cpu().numpy(), expected_scores, atol=2e-3)


def test_widths_and_depths_of_a_detector_are_seen_from_its_file(tmp_path: Path) -> None:
    network = with_statistics(NanoDetector((4, 8, 8, 12, 16), (1, 1, 2, 3), 8))
    export_onnx(network, tmp_path / "mine.onnx", "image", (3, 64, 96), "rows", weight_bits=32)
    card = DetectorCard(name="mine", file="mine.onnx", input=ImageInput("image", (96, 64)), output="rows")
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        found = load_detector(replace(card, path=tmp_path / "mine.onnx"))(images)
        assert (found - network(images)).abs().max() < 1e-4


def test_other_detectors_are_refused(tmp_path: Path) -> None:
    folder = toy.write_networks(tmp_path)
    card = find_model(DetectorCard, toy.DETECTOR, [folder])
    with pytest.raises(BackendError, match=r"toy_detector\.onnx is not a graph of keytrack's own detector"):
        load_detector(card)
    (tmp_path / "broken.onnx").write_bytes(b"\x08not a network")
    with pytest.raises(BackendError, match=r"broken\.onnx"):
        load_detector(replace(card, path=tmp_path / "broken.onnx"))
    with pytest.raises(BackendError, match=r"person_detector names strides \(8, 16\)"):
        load_detector(replace(find_model(DetectorCard), strides=(8, 16)))


def test_a_pose_network_without_its_checkpoint_is_refused(tmp_path: Path) -> None:
    card = find_model(PoseCard)
    with pytest.raises(BackendError, match="its torch weights are not beside it"):
        load_pose(replace(card, path=tmp_path / card.file))
    (tmp_path / card.weights).write_bytes(b"nothing")
    with pytest.raises(BackendError, match=f"{card.weights}: "):
        load_pose(replace(card, path=tmp_path / card.file))


def test_folding_batch_normalisation_changes_nothing_and_leaves_none() -> None:
    network, same = (with_statistics(build_hrnet("w16_small", outputs=15)) for _ in range(2))
    same.load_state_dict(network.state_dict())
    folded = fold_batch_norms(same)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(images)
        assert (folded(images) - expected).abs().max() < 1e-4 * expected.abs().max()
