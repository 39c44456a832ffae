"""Engines planned, stored and run: built by NVIDIA's builder, run by a stand-in runtime with ONNX Runtime."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.gpu import Gpu
from keytrack_ros.inference.session import BackendError, DeviceMemoryError, OnnxSession
from keytrack_ros.inference.tensorrt import plan as planning
from keytrack_ros.inference.tensorrt.build import build_engine
from keytrack_ros.inference.tensorrt.cache import MissingEngineError, read_engine, sidecar
from keytrack_ros.inference.tensorrt.execution import TensorRTSession, open_engine
from keytrack_ros.inference.tensorrt.plan import Profile, plan_engine, profiles_of
from test.inference import stand_in_cuda, stand_in_tensorrt
from test.toy import DETECTOR, ESTIMATOR

pytestmark = pytest.mark.usefixtures("gpu_machine")


@pytest.fixture
def pose_network(toy_networks: Path) -> Path:
    return toy_networks / f"{ESTIMATOR}.onnx"


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).uniform(0, 255, (count, 3, 64, 48)).astype(np.float32)


def test_profiles_are_of_the_inputs_with_a_free_first_axis(toy_networks):
    assert profiles_of(toy_networks / f"{DETECTOR}.onnx", 1) == {}
    assert profiles_of(toy_networks / f"{ESTIMATOR}.onnx", 8) == {
        "crops": Profile((1, 3, 64, 48), (8, 3, 64, 48), (8, 3, 64, 48))
    }


def test_of_other_axes_only_height_and_width_may_be_free_where_their_sizes_are_known(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in "xy"]
    onnx.save(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:])), tmp_path / "free.onnx")
    with pytest.raises(BackendError, match="only the first axis may be free"):
        profiles_of(tmp_path / "free.onnx", 1)
    assert profiles_of(tmp_path / "free.onnx", 2, ((96, 64), (160, 128), (320, 256))) == {
        "x": Profile((1, 3, 64, 96), (2, 3, 128, 160), (2, 3, 256, 320))
    }


def test_the_key_changes_with_all_that_an_engine_depends_on(gpu_machine, pose_network, tmp_path, monkeypatch):
    first = plan_engine(pose_network, "fp16", 8)
    assert plan_engine(pose_network, "fp16", 8).key == first.key
    keys = {first.key, plan_engine(pose_network, "fp32", 8).key, plan_engine(pose_network, "fp16", 9).key}
    changed = tmp_path / pose_network.name
    changed.write_bytes(pose_network.read_bytes() + b"\x92\x01\x00")  # an empty field more: the same network
    keys.add(plan_engine(changed, "fp16", 8).key)
    for name, capability in (("Another GPU", "8.7"), ("Stand-in GPU", "8.9")):
        with monkeypatch.context() as patch:
            patch.setattr(planning, "find_gpu", lambda name=name, capability=capability: Gpu(name, capability))
            keys.add(plan_engine(pose_network, "fp16", 8).key)
    with monkeypatch.context() as patch:
        patch.setattr(stand_in_tensorrt, "__version__", "10.12.0.36")
        keys.add(plan_engine(pose_network, "fp16", 8).key)
    with monkeypatch.context() as patch:
        patch.setattr(planning, "RECIPE", planning.RECIPE + 1)
        keys.add(plan_engine(pose_network, "fp16", 8).key)
    keys.add(plan_engine(pose_network, "fp16", 8, "tensorrt_rtx", Gpu("any", "8.7")).key)
    assert len(keys) == 9
    assert first.file == gpu_machine / f"toy_pose-{first.key}.engine"


def test_tensorrt_too_old(pose_network, monkeypatch):
    monkeypatch.setattr(stand_in_tensorrt, "__version__", "10.0.1")
    with pytest.raises(BackendError, match=r"TensorRT 10\.0\.1 is too old; 10\.3 or later is needed"):
        plan_engine(pose_network, "fp16", 8)


def test_a_built_engine_is_kept_with_what_it_was_made_for(gpu_machine, pose_network, caplog):
    caplog.set_level(logging.INFO, "keytrack_ros")
    plan = plan_engine(pose_network, "fp16", 8)
    with pytest.raises(MissingEngineError, match=r"no fp16 engine of toy_pose\.onnx .*`keytrack build-engines`"):
        read_engine(plan)
    built = build_engine(plan)
    assert read_engine(plan) == built.engine
    about = json.loads(sidecar(plan.file).read_text())
    assert about["key"] == plan.key
    assert about["made_for"]["gpu"] == "Stand-in GPU"
    assert about["made_for"]["profiles"]["crops"][2] == [8, 3, 64, 48]
    assert about["layers"]["HALF"] > 0
    assert sorted(file.name for file in gpu_machine.iterdir()) == sorted(
        [plan.file.name, sidecar(plan.file).name, "building.lock", "timings-11.4.0.106-8.7.cache"]
    )
    assert caplog.messages[0] == "building the fp16 engine of toy_pose.onnx; this takes minutes"
    assert build_engine(plan).engine == built.engine
    assert len(stand_in_tensorrt.built) == 1  # the second time it was there


def test_an_engine_gives_what_onnx_runtime_gives(pose_network, toy_networks):
    for file, inputs in (
        (pose_network, {"crops": crops(3)}),
        (toy_networks / f"{DETECTOR}.onnx", {"image": np.full((1, 3, 416, 416), 99, np.float32)}),
    ):
        plan = plan_engine(file, "fp32", 4)
        session, reference = open_engine(plan, build_engine(plan).engine), OnnxSession(file, threads=1)
        assert session.input_shapes == reference.input_shapes
        assert session.output_names == reference.output_names
        assert session.runs_on == "TensorRT 11.4.0.106 (CUDA, fp32)"
        found, expected = session.run(inputs), reference.run(inputs)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-6)
        session.close()


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9])
def test_more_rows_than_the_profile_has_are_run_in_pieces(pose_network, count):
    plan = plan_engine(pose_network, "fp32", 4)
    session = open_engine(plan, build_engine(plan).engine)
    found = session.run({"crops": crops(count)})["heatmaps"]
    expected = OnnxSession(pose_network, threads=1).run({"crops": crops(count)})["heatmaps"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    session.close()


def test_results_do_not_change_with_the_next_call(pose_network):
    plan = plan_engine(pose_network, "fp32", 4)
    session = open_engine(plan, build_engine(plan).engine)
    first = session.run({"crops": crops(2)})["heatmaps"]
    kept = first.copy()
    session.run({"crops": crops(4)})
    np.testing.assert_array_equal(first, kept)
    session.close()


def test_wrong_inputs_are_refused_by_name(pose_network):
    plan = plan_engine(pose_network, "fp32", 4)
    session = TensorRTSession(plan.library, build_engine(plan).engine, "toy", "fp32")
    with pytest.raises(ModelError, match="inputs are images; the engine has crops"):
        session.run({"images": crops(1)})
    with pytest.raises(ModelError, match="'crops' is float64; the engine's is float32"):
        session.run({"crops": crops(1).astype(np.float64)})
    with pytest.raises(ModelError, match=r"shape \(5, 3, 64, 48\); the engine takes at most \(4, 3, 64, 48\)"):
        session.run({"crops": crops(5)})
    session.close()
    session.close()
    with pytest.raises(ModelError, match="the session is closed"):
        session.run({"crops": crops(1)})


def test_a_refusal_at_run_time_is_not_overlooked(pose_network, monkeypatch):
    plan = plan_engine(pose_network, "fp32", 4)
    session = open_engine(plan, build_engine(plan).engine)
    monkeypatch.setattr(stand_in_tensorrt.IExecutionContext, "execute_async_v3", lambda *_: False)
    with pytest.raises(ModelError, match="TensorRT failed"):
        session.run({"crops": crops(1)})
    session.close()


def test_a_gpu_without_memory_gives_back_what_it_had_given(pose_network, monkeypatch):
    plan = plan_engine(pose_network, "fp32", 4)
    engine = build_engine(plan).engine
    monkeypatch.setattr(stand_in_cuda, "limit", 4 * 3 * 64 * 48 * 4 * 2 + 100)  # the input alone, twice
    with pytest.raises(DeviceMemoryError, match="cudaErrorMemoryAllocation"):
        open_engine(plan, engine)
    assert not stand_in_cuda.memory
    monkeypatch.setattr(stand_in_tensorrt, "no_memory_for_contexts", True)
    with pytest.raises(DeviceMemoryError, match="the GPU has too little memory for its engine"):
        open_engine(plan, engine)


@pytest.mark.parametrize("damage", ["engine", "sidecar", "no sidecar", "foreign"])
def test_what_is_damaged_or_foreign_is_not_run_and_is_built_again(pose_network, damage):
    plan = plan_engine(pose_network, "fp16", 8)
    engine = build_engine(plan).engine
    if damage == "engine":
        plan.file.write_bytes(engine[:-1])
    elif damage == "sidecar":
        sidecar(plan.file).write_text("{")
    elif damage == "no sidecar":
        sidecar(plan.file).unlink()
    else:  # another GPU's engine, renamed
        other = json.loads(sidecar(plan.file).read_text())
        other["made_for"]["gpu"] = "Another GPU"
        sidecar(plan.file).write_text(json.dumps(other))
    with pytest.raises(MissingEngineError, match=r"`keytrack build-engines` (makes it|builds it again)"):
        read_engine(plan)
    assert build_engine(plan).engine == engine
    assert read_engine(plan) == engine
    assert len(stand_in_tensorrt.built) == 2
