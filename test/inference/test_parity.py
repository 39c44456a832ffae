"""The networks on other backends give the same results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.estimation.hrnet import build_hrnet
from keytrack_ros.inference.cards import MatcherCard, PoseCard, file_sha256, write_card
from keytrack_ros.inference.opening import open_session
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.precision import graph_in
from keytrack_ros.inference.registry import PACKAGE_MODELS, find_model
from keytrack_ros.inference.session import BackendError, OnnxSession
from keytrack_ros.inference.tensorrt.build import build_engine
from keytrack_ros.inference.tensorrt.plan import plan_engine
from keytrack_ros.inference.torch_session import TorchNetwork
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.matching.sessions import PAIRS, example_inputs
from keytrack_ros.training.common.export import export_onnx

SHAPE = (3, 64, 64)


@pytest.fixture(scope="module")
def hrnet() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_hrnet("w16_small", outputs=15).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, hrnet: torch.nn.Module) -> Path:
    """Our export of the smallest HRNet, which has every operator of the larger ones."""
    file = tmp_path_factory.mktemp("exported") / "hrnet.onnx"
    export_onnx(hrnet, file, "image", SHAPE, "result")
    return file


BACKENDS: dict[str, InferenceOptions] = {
    "torch, CPU": InferenceOptions(device="cpu", backend="torch", threads=1),
    "torch, CUDA": InferenceOptions(device="cuda", backend="torch"),
    "ONNX Runtime, CUDA": InferenceOptions(device="cuda", backend="onnxruntime"),
    "TensorRT": InferenceOptions(device="cuda", backend="tensorrt"),
}


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_of_this_machine_gives_what_onnx_runtime_gives(exported, hrnet, name, tmp_path, monkeypatch):
    options = BACKENDS[name]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        if options.backend == "tensorrt":
            build_engine(plan_engine(exported, options.gpu_precision, 4))
        in_torch = TorchNetwork(lambda: build_like(hrnet), {"image": SHAPE}, "result")
        session = open_session(exported, options, 4, in_torch)
    except BackendError as error:
        pytest.skip(str(error))
    if options.backend not in session.runs_on.lower().replace(" ", ""):
        pytest.skip(f"{session.runs_on} ran instead")
    images = np.random.default_rng(1).normal(size=(5, *SHAPE)).astype(np.float32)
    found = session.run({"image": images})["result"]
    session.close()
    expected = OnnxSession(exported, threads=1).run({"image": images})["result"]
    # FP16 on the GPU; on the CPU only the export's FP16 weights differ.
    assert np.abs(found - expected).max() < 2e-2 * np.abs(expected).max()


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("matcher", ["pose_entailment", "pose_entailment_paper"])
def test_match_probabilities_are_those_of_onnx_runtime_on_every_backend(matcher, name, tmp_path, monkeypatch):
    options = replace(BACKENDS[name], models=str(PACKAGE_MODELS))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    card = find_model(MatcherCard, matcher, [PACKAGE_MODELS])
    try:
        if options.backend == "tensorrt":
            build_engine(plan_engine(card.path, options.gpu_precision, PAIRS))
        opened = open_matcher(matcher, options)
    except BackendError as error:
        pytest.skip(str(error))
    session = opened._session
    if options.backend not in session.runs_on.lower().replace(" ", ""):
        pytest.skip(f"{session.runs_on} ran instead")
    reference = OnnxSession(card.path, threads=1)
    inputs = example_inputs(card, 300)
    expected, found = (
        probabilities(each.run({name: inputs[name] for name in each.input_shapes})["logits"])
        for each in (reference, session)
    )
    opened.close()
    assert np.ptp(expected) > 0.1  # they tell something
    assert np.abs(found - expected).max() < 5e-3


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Of networks of tracks ([N]) and of pairs ([N, 2])."""
    return 1 / (1 + np.exp(-(logits if logits.ndim == 1 else logits[:, 1] - logits[:, 0])))


def build_like(network: torch.nn.Module) -> torch.nn.Module:
    """A copy of the small HRNet that a backend may change."""
    copy = build_hrnet("w16_small", outputs=15)
    copy.load_state_dict(network.state_dict())
    return copy


def test_keypoints_of_the_fp16_graph_are_within_half_a_pixel_on_real_people(shared_data, tmp_path):
    # The graph that a TensorRT engine is built from, computed by ONNX Runtime.
    card = find_model(PoseCard, "efficientpose_ii_lite", [shared_data / "models"])
    half = tmp_path / card.file
    half.write_bytes(graph_in(card.path, "fp16"))
    write_card(replace(card, sha256=file_sha256(half), name="half"), tmp_path / "half.yaml")
    clip = shared_data / "clips" / "bonn_060470979"
    truth = json.loads((clip / "gt.json").read_text())
    networks = [
        Estimator(EstimatorOptions(model=name), InferenceOptions(models=str(folder), threads=1))
        for name, folder in (("efficientpose_ii_lite", shared_data / "models"), (str(tmp_path / "half.yaml"), tmp_path))
    ]
    distances, changes = [], []
    for entry in truth["images"][::20]:
        boxes = np.array([a["bbox"] for a in truth["annotations"] if a["image_id"] == entry["id"]], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        image = np.asarray(cv2.imread(str(clip / entry["file_name"])), np.uint8)
        exact, rounded = (network.estimate(image, boxes) for network in networks)
        distances += list(np.linalg.norm(exact.keypoints - rounded.keypoints, axis=-1)[exact.scores > 0.3])
        changes.append(np.abs(exact.scores - rounded.scores).max())
    assert len(distances) > 50
    assert 0 < max(changes) < 0.01  # scores change a little; places, decoded to whole heatmap pixels, hardly ever
    assert max(distances) < 0.5
