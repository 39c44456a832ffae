"""NVIDIA's own builder, from TensorRT for RTX, on the shipped networks: no GPU is needed to parse and build."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from typer.testing import CliRunner

from keytrack_ros.cli.app import app
from keytrack_ros.cli.engines import EnginesRequest, networks_of
from keytrack_ros.cli.models_import import ImportRequest, import_network
from keytrack_ros.errors import OptionError, OutputError
from keytrack_ros.estimation.hrnet import build_hrnet
from keytrack_ros.inference.gpu import Gpu
from keytrack_ros.inference.precision import graph_in
from keytrack_ros.inference.quantization import TENSORRT, quantize
from keytrack_ros.inference.registry import PACKAGE_MODELS
from keytrack_ros.inference.session import BackendError
from keytrack_ros.inference.tensorrt import build as building_module
from keytrack_ros.inference.tensorrt.build import build_engine, progress_text
from keytrack_ros.inference.tensorrt.cache import building, read_engine, sidecar
from keytrack_ros.inference.tensorrt.library import load_library, parse_capabilities
from keytrack_ros.inference.tensorrt.plan import EnginePlan, plan_engine
from keytrack_ros.pipeline import PipelineOptions
from test.toy import ESTIMATOR

pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")

RTX_3090 = Gpu("NVIDIA GeForce RTX 3090", "8.6")


@pytest.fixture(autouse=True)
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of engines, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/keytrack_ros/engines"


def plan(
    network: Path, precision: str = "fp16", max_rows: int = 4, capability: str = "8.6", **sizes: Any
) -> EnginePlan:
    return plan_engine(network, precision, max_rows, "tensorrt_rtx", Gpu("any", capability), **sizes)


@pytest.fixture
def toy_pose(toy_networks: Path) -> Path:
    return toy_networks / f"{ESTIMATOR}.onnx"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_network_of_a_tracker_is_built_with_its_profile(precision):
    for network in networks_of(PipelineOptions()):
        planned = plan(network.card.path, precision, network.max_rows, image_sizes=network.image_sizes)
        built = build_engine(planned)
        assert len(built.engine) > 1e5
        assert built.layers.get("HALF", 0) > 50 or precision == "fp32"
        assert built.layers["FLOAT"] > 0
        about = json.loads(sidecar(planned.file).read_text())
        assert about["made_for"]["tensorrt_rtx"] == planned.library.version
        assert "gpu" not in about["made_for"]
        profiles = about["made_for"]["profiles"]
        assert {shapes[2][0] for shapes in profiles.values()} == {network.max_rows}
        if network.card.task == "detection":
            assert profiles["image"] == [[1, 3, 224, 320], [1, 3, 448, 608], [1, 3, 896, 1216]]


def test_the_matcher_of_pairs_is_built(engines):
    built = build_engine(plan(PACKAGE_MODELS / "pose_entailment_paper.onnx", max_rows=128))
    assert built.layers["HALF"] > 100
    assert len(list(engines.glob("*.engine"))) == 1


def test_an_int8_engine_has_int8_layers_from_explicit_quantisation():
    network = PACKAGE_MODELS / "hrnet_w24.onnx"
    inputs = np.random.default_rng(0).normal(size=(2, 1, 3, 256, 192)).astype(np.float32)
    graph = quantize(network, [{"image": image} for image in inputs], TENSORRT)
    built = build_engine(plan(network, "int8", 16), graph)
    assert built.layers["INT8"] >= 100  # weights and activations of 59 convolutions


def test_an_imported_hrnet_w32_is_built(tmp_path):
    torch.manual_seed(0)
    torch.save(build_hrnet("w32", outputs=17).state_dict(), tmp_path / "w32_coco.pth")
    card = import_network(ImportRequest(file=tmp_path / "w32_coco.pth", name="w32", size=(64, 96)))
    built = build_engine(plan(card.path, "fp16", 16))
    assert built.layers["HALF"] > 500
    assert 55e6 < len(built.engine) < 80e6  # 28.5 million FP16 weights


def test_the_number_types_of_a_graph_are_those_of_its_engine(toy_pose):
    with pytest.raises(BackendError, match=r"no layer of the fp16 engine is HALF \(FLOAT \d+\)"):
        build_engine(plan(toy_pose), graph=graph_in(toy_pose, "fp32"))
    assert not plan(toy_pose).file.exists()


def test_a_profile_reaches_the_builder_with_its_limits(toy_pose, monkeypatch):
    library = load_library("tensorrt_rtx")
    profiles = []

    class Builder(library.trt.Builder):  # type: ignore[misc,name-defined]
        def create_optimization_profile(self) -> object:
            profiles.append(super().create_optimization_profile())
            return profiles[-1]

    monkeypatch.setattr(library.trt, "Builder", Builder)
    build_engine(plan(toy_pose, "fp32", 7))
    assert [tuple(shape) for shape in profiles[0].get_shape("crops")] == [(n, 3, 64, 48) for n in (1, 7, 7)]


def test_a_graph_that_the_parser_refuses_is_refused_in_its_words(tmp_path):
    nodes = [helper.make_node("Det", ["x"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y])), tmp_path / "odd.onnx")
    with pytest.raises(BackendError, match=r"odd\.onnx: TensorRT for RTX 1\.\S+ cannot read its graph: .*checkDet"):
        build_engine(plan(tmp_path / "odd.onnx", "fp32", 1))
    with pytest.raises(BackendError, match=r"cannot read its graph: .*Failed to parse the ONNX model"):
        build_engine(plan(tmp_path / "odd.onnx", "fp32", 1), graph=b"\x08not a graph")


def test_progress_goes_forward_and_stops_a_build_midway(engines):
    network = PACKAGE_MODELS / "hrnet_w24.onnx"
    seen: list[float] = []
    stop = threading.Event()

    def report(part: float, seconds: float) -> None:
        assert seconds >= 0
        seen.append(part)
        if part > 0.3:
            stop.set()

    with pytest.raises(BackendError, match="the build was stopped"):
        build_engine(plan(network, "fp32", 16), stop=stop, progress=report)
    assert seen == sorted(seen)
    assert 0.3 < seen[-1] < 0.9
    assert [file.name for file in engines.iterdir()] == ["building.lock"]
    assert progress_text(0.25, 30) == "25% after 30 s, about 90 s left"
    assert progress_text(0.0, 30) == "0% after 30 s"


def test_of_two_concurrent_builders_the_second_takes_the_first_ones_engine(toy_pose, monkeypatch):
    planned, builds, results = plan(toy_pose, "fp32"), [], []
    build = building_module._build

    def counted(*arguments: object) -> object:
        builds.append(arguments)
        return build(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(building_module, "_build", counted)
    threads = [threading.Thread(target=lambda: results.append(build_engine(planned).engine)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(builds) == 1
    assert results[0] == results[1] == read_engine(planned)


def test_a_timing_cache_is_passed_on_by_tensorrt_and_left_out_by_tensorrt_for_rtx(engines, toy_pose):
    build_engine(plan(toy_pose, "fp32"))
    assert list(engines.glob("timings-*")) == []


def test_waiting_for_another_build_can_be_stopped():
    stop, outcomes = threading.Event(), []

    def wait() -> None:
        try:
            with building(stop):
                raise AssertionError("two hold the lock")
        except BackendError as error:
            outcomes.append(str(error))

    with building(threading.Event()):
        thread = threading.Thread(target=wait)
        thread.start()
        stop.set()
        thread.join(30)
    assert outcomes == ["stopped while waiting for another build"]


def test_compute_capabilities_are_those_of_the_module(toy_pose):
    assert parse_capabilities("sm_86, sm_120") == ["8.6", "12.0"]
    for text in ("86", "sm_86,,sm_89", "sm_x"):
        with pytest.raises(OptionError, match=r"such as sm_86,sm_89"):
            parse_capabilities(text)
    with pytest.raises(BackendError, match=r"TensorRT for RTX \S+ has no compute capability SM53; it has .*SM86"):
        build_engine(plan(toy_pose, "fp32", capability="5.3"))


def test_the_command_builds_for_other_machines_and_a_robot_finds_the_engines(engines, toy_networks, monkeypatch):
    arguments = ["build-engines", "--for", "sm_86,sm_89", "--models", str(toy_networks), "--precision", "fp32"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert len(list(engines.glob("*.engine"))) == 6
    monkeypatch.setattr("keytrack_ros.inference.tensorrt.plan.find_gpu", lambda: RTX_3090)
    request = EnginesRequest(PipelineOptions(), capabilities=["8.6"])
    assert request.backend == "tensorrt_rtx"
    found = plan_engine(toy_networks / f"{ESTIMATOR}.onnx", "fp32", 16, "tensorrt_rtx")
    assert len(read_engine(found)) > 1e5
    assert CliRunner().invoke(app, arguments).output.count(" exists") == 6


@pytest.mark.parametrize("place", ["folder", "disk"])
def test_a_folder_that_cannot_be_written_leaves_no_half_engine(engines, toy_pose, place, monkeypatch):
    if place == "folder":
        engines.parent.mkdir(parents=True)
        engines.write_text("a file where the folder should be")  # for root nothing is read-only
        expected = r"building\.lock: .*XDG_CACHE_HOME"
    else:

        def full(_handle: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        expected = r"\.engine: No space left on device"
    with pytest.raises(OutputError, match=expected):
        build_engine(plan(toy_pose, "fp32"))
    if place == "disk":
        assert [file.name for file in engines.iterdir()] == ["building.lock"]
