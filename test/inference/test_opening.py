"""Which backend is chosen, what is said of it, and what happens where it cannot be had."""

from __future__ import annotations

import dataclasses
import logging
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from torch import nn

from keytrack_ros.errors import ModelError
from keytrack_ros.inference import gpu
from keytrack_ros.inference.background_engine import UpgradingSession
from keytrack_ros.inference.opening import open_session
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.session import BackendError, OnnxSession
from keytrack_ros.inference.tensorrt.build import build_engine
from keytrack_ros.inference.tensorrt.plan import plan_engine
from keytrack_ros.inference.torch_session import TorchNetwork
from test.inference import stand_in_cuda, stand_in_tensorrt
from test.toy import ESTIMATOR

PROVIDERS = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
CROPS = {"crops": np.full((3, 3, 64, 48), 100, np.float32)}


@pytest.fixture
def network(toy_networks: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(logging.INFO, "keytrack_ros")
    return toy_networks / f"{ESTIMATOR}.onnx"


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DRIVER", "libno_such_driver.so.1")


def said(caplog: pytest.LogCaptureFixture) -> tuple[str, str]:
    """Level and text of the one line about the choice."""
    (record,) = (record for record in caplog.records if " runs on " in record.message)
    return record.levelname, record.message


@pytest.mark.usefixtures("no_driver")
def test_without_a_gpu_the_cpu_is_taken_and_the_reason_said(network, caplog):
    session = open_session(network, InferenceOptions(threads=1))
    assert session.runs_on.startswith("ONNX Runtime ")
    level, text = said(caplog)
    assert level == "INFO"
    assert text.startswith("toy_pose.onnx runs on ONNX Runtime ")
    assert text.endswith("(CPU, 1 thread); there is no NVIDIA driver (libno_such_driver.so.1)")


@pytest.mark.usefixtures("no_driver")
def test_a_device_that_is_named_is_kept_to(network):
    with pytest.raises(ModelError, match=r"inference\.device = cuda: there is no NVIDIA driver .* to auto or cpu"):
        open_session(network, InferenceOptions(device="cuda"))


def test_the_cpu_when_it_is_named_asks_no_gpu(network, caplog, monkeypatch):
    monkeypatch.setattr(gpu, "DRIVER", None)
    session = open_session(network, InferenceOptions(device="cpu", threads=2))
    assert said(caplog) == ("INFO", f"toy_pose.onnx runs on {session.runs_on}")


def test_tensorrt_on_the_cpu_is_a_contradiction_that_is_said(network, caplog):
    session = open_session(network, InferenceOptions(device="cpu", backend="tensorrt", threads=1))
    assert said(caplog) == ("WARNING", f"toy_pose.onnx runs on {session.runs_on}; TensorRT does not run on the CPU")


def test_an_engine_that_is_there_is_taken(gpu_machine, network, caplog):
    build_engine(plan_engine(network, "fp32", 4))
    session = open_session(network, InferenceOptions(precision="fp32"), max_rows=4)
    assert said(caplog) == ("INFO", "toy_pose.onnx runs on TensorRT 11.4.0.106 (CUDA, fp32)")
    reference = open_session(network, InferenceOptions(device="cpu", threads=1))
    np.testing.assert_allclose(session.run(CROPS)["heatmaps"], reference.run(CROPS)["heatmaps"], atol=1e-6)
    session.close()
    assert gpu_machine.is_dir()


@pytest.mark.usefixtures("gpu_machine")
def test_without_an_engine_the_next_backend_runs_and_the_way_to_one_is_said(network, caplog):
    session = open_session(network, InferenceOptions(backend="tensorrt", threads=1))
    level, text = said(caplog)
    assert level == "WARNING"
    assert session.runs_on.startswith("ONNX Runtime")
    assert "TensorRT: there is no fp16 engine of toy_pose.onnx for this GPU" in text
    assert "`keytrack build-engines` makes it" in text
    assert "the installed onnxruntime has no CUDAExecutionProvider" in text
    assert stand_in_tensorrt.built == []


@pytest.mark.usefixtures("gpu_machine")
def test_when_it_may_be_built_the_next_backend_runs_until_it_is(network, caplog):
    session = open_session(network, InferenceOptions(precision="fp32", allow_engine_build=True, threads=1), max_rows=2)
    assert "; it is built now" in said(caplog)[1]
    assert isinstance(session, UpgradingSession)
    before = session.run(CROPS)["heatmaps"]
    session._thread.join(30)
    np.testing.assert_allclose(session.run(CROPS)["heatmaps"], before, atol=1e-6)
    assert session.runs_on == "TensorRT 11.4.0.106 (CUDA, fp32)"
    assert caplog.messages[-1] == "toy_pose.onnx runs on TensorRT 11.4.0.106 (CUDA, fp32) from now on"
    session.close()


@pytest.mark.usefixtures("gpu_machine")
def test_with_the_gpu_named_the_cpu_helps_out_only_while_an_engine_is_built(network):
    on_the_gpu = InferenceOptions(device="cuda", precision="fp32", threads=1)
    with pytest.raises(
        ModelError, match=r"nothing can run it with inference\.device = cuda: TensorRT: there is no fp32"
    ):
        open_session(network, on_the_gpu)
    session = open_session(network, dataclasses.replace(on_the_gpu, allow_engine_build=True))
    assert session.runs_on.endswith("(CPU, 1 thread)")
    session._thread.join(30)  # type: ignore[attr-defined]
    session.run(CROPS)
    assert session.runs_on == "TensorRT 11.4.0.106 (CUDA, fp32)"
    session.close()


@pytest.mark.usefixtures("gpu_machine")
def test_an_engine_that_tensorrt_refuses_is_built_again_when_it_may_be(network, caplog, monkeypatch):
    build_engine(plan_engine(network, "fp32", 1))
    monkeypatch.setattr(stand_in_tensorrt, "refuse_to_load", "serialised with another driver")
    options = InferenceOptions(precision="fp32", threads=1)
    assert open_session(network, options).runs_on.startswith("ONNX Runtime")
    assert "cannot load its engine: serialised with another driver" in said(caplog)[1]
    session = open_session(network, InferenceOptions(precision="fp32", threads=1, allow_engine_build=True))
    monkeypatch.setattr(stand_in_tensorrt, "refuse_to_load", "")
    session._thread.join(30)  # type: ignore[attr-defined]
    assert len(stand_in_tensorrt.built) == 2
    session.close()


@pytest.mark.usefixtures("gpu_machine")
def test_a_gpu_without_memory_leaves_the_work_to_the_next_backend(network, caplog, monkeypatch):
    build_engine(plan_engine(network, "fp32", 4))
    monkeypatch.setattr(stand_in_cuda, "limit", 1000)
    session = open_session(network, InferenceOptions(precision="fp32", threads=1), max_rows=4)
    assert session.runs_on.startswith("ONNX Runtime")
    assert said(caplog)[0] == "WARNING"
    assert "TensorRT: cudaMalloc: cudaErrorMemoryAllocation" in said(caplog)[1]


def test_a_folder_of_engines_that_cannot_be_written_leaves_the_tracker_on_what_it_has(gpu_machine, network, caplog):
    gpu_machine.parent.mkdir(parents=True)
    gpu_machine.write_text("a file where the folder should be")  # for root nothing is read-only
    session = open_session(network, InferenceOptions(precision="fp32", allow_engine_build=True, threads=1))
    session._thread.join(30)  # type: ignore[attr-defined]
    session.run(CROPS)
    assert session.runs_on.startswith("ONNX Runtime")
    assert re.search(r"toy_pose\.onnx stays on ONNX Runtime .*building\.lock: .*XDG_CACHE_HOME", caplog.text)
    session.close()


@pytest.mark.usefixtures("gpu_machine")
def test_a_graph_that_tensorrt_cannot_read_stays_on_what_can(tmp_path, caplog):
    caplog.set_level(logging.INFO, "keytrack_ros")
    nodes = [helper.make_node("Det", ["x"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    graph = helper.make_graph(nodes, "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "d.onnx")
    session = open_session(tmp_path / "d.onnx", InferenceOptions(allow_engine_build=True, threads=1))
    session._thread.join(30)  # type: ignore[attr-defined]
    assert session.run({"x": np.eye(2, dtype=np.float32)[None]})["y"].tolist() == [1]
    assert re.search(r"d\.onnx stays on ONNX Runtime .*TensorRT 11\.\S+ cannot read its graph: .*checkDet", caplog.text)
    session.close()


@pytest.mark.parametrize("missing", ["tensorrt", "cuda.bindings.runtime"])
@pytest.mark.usefixtures("gpu_machine")
def test_what_is_not_installed_is_named(network, caplog, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    open_session(network, InferenceOptions(threads=1))
    level, text = said(caplog)
    assert level == "WARNING"  # there is a GPU, and it lies idle
    assert "pip install 'keytrack_ros[gpu]'" in text


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.usefixtures("gpu_machine")
def test_onnx_runtimes_own_tensorrt_serves_where_nvidias_module_is_missing(network, caplog, monkeypatch, allowed):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: PROVIDERS)
    opened = []

    def open_provider(path, threads, provider="CPUExecutionProvider", provider_options=None):
        opened.append((provider, provider_options))
        if provider == "CUDAExecutionProvider":
            raise BackendError("no CUDA provider")
        return OnnxSession(path, threads)

    monkeypatch.setattr("keytrack_ros.inference.opening.OnnxSession", open_provider)
    session = open_session(network, InferenceOptions(allow_engine_build=allowed, threads=1), max_rows=8)
    session.close()
    providers = [provider for provider, _ in opened]
    assert ("TensorrtExecutionProvider" in providers) == allowed
    assert any("TensorRT provider is prepared" in text for text in caplog.messages) == allowed
    if allowed:
        given = dict(opened)["TensorrtExecutionProvider"]
        assert given["trt_profile_max_shapes"] == "crops:8x3x64x48"
        assert given["trt_profile_min_shapes"] == "crops:1x3x64x48"
        assert given["trt_fp16_enable"] == "True"


@pytest.mark.usefixtures("no_driver")
def test_a_file_that_is_no_network_is_an_error_and_no_reason_to_try_the_next(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"broken\.onnx: not a network"):
        open_session(tmp_path / "broken.onnx", InferenceOptions())


@pytest.mark.usefixtures("no_driver")
def test_torch_runs_only_where_it_is_asked_for_and_has_weights(network, caplog):
    class Weights(nn.Module):
        def forward(self, images):
            return images.mean((1, 2, 3), keepdim=True)

    in_torch = TorchNetwork(Weights, {"crops": (3, 64, 48)}, "heatmaps")
    assert "ONNX Runtime" in open_session(network, InferenceOptions(), 1, in_torch).runs_on
    session = open_session(network, InferenceOptions(backend="torch"), 1, in_torch)
    assert session.runs_on.startswith("torch ")
    assert session.run(CROPS)["heatmaps"].ravel().tolist() == [100, 100, 100]
    caplog.clear()
    assert "ONNX Runtime" in open_session(network, InferenceOptions(backend="torch")).runs_on
    assert said(caplog)[0] == "WARNING"
    assert "torch: its torch weights are not beside it" in said(caplog)[1]


@pytest.mark.usefixtures("no_driver")
def test_weights_that_do_not_fit_leave_the_work_to_the_next_backend(network, caplog):
    def load() -> nn.Module:
        raise ModelError("pose.pt: not an HRNet")

    session = open_session(network, InferenceOptions(backend="torch"), 1, TorchNetwork(load, {"x": (3, 4, 4)}, "y"))
    assert "ONNX Runtime" in session.runs_on
    assert "torch: pose.pt: not an HRNet" in said(caplog)[1]
