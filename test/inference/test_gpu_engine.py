"""A real engine on a real GPU: what its layers compute in, and that it gives what ONNX Runtime gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from keytrack_ros.inference.registry import PACKAGE_MODELS
from keytrack_ros.inference.session import BackendError, OnnxSession
from keytrack_ros.inference.tensorrt.build import build_engine
from keytrack_ros.inference.tensorrt.execution import open_engine
from keytrack_ros.inference.tensorrt.library import make_logger
from keytrack_ros.inference.tensorrt.plan import plan_engine

POSE = PACKAGE_MODELS / "hrnet_w24.onnx"


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_the_engine_has_its_precision_and_profile_and_the_results_of_onnx_runtime(
    backend: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        plan = plan_engine(POSE, precision, 4, backend)
    except BackendError as error:
        pytest.skip(str(error))
    built = build_engine(plan)
    trt = plan.library.trt
    engine = trt.Runtime(make_logger(trt)).deserialize_cuda_engine(built.engine)
    assert tuple(engine.get_tensor_profile_shape("image", 0)[2]) == (4, 3, 256, 192)
    layers = json.loads(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))
    assert any(word in json.dumps(layers) for word in (("Half", "FP16") if precision == "fp16" else ("Float", "FP32")))
    session = open_engine(plan, built.engine)
    images = np.random.default_rng(0).normal(size=(6, 3, 256, 192)).astype(np.float32)
    found = session.run({"image": images})["heatmaps"]
    session.close()
    expected = OnnxSession(POSE).run({"image": images})["heatmaps"]
    assert np.abs(found - expected).max() < 2e-2 * np.abs(expected).max()
