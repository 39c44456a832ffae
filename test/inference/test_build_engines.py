"""`keytrack build-engines`: NVIDIA's builder, and a stand-in for the runtime."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from keytrack_ros.cli.app import app
from keytrack_ros.cli.calibration import calibration_batches
from keytrack_ros.detection import DetectorOptions
from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import find_model
from keytrack_ros.matching.histories import TOKEN_WIDTH
from keytrack_ros.pipeline import Pipeline, PipelineOptions
from keytrack_ros.tracker import TrackerOptions
from test.conftest import REPOSITORY
from test.inference import stand_in_tensorrt
from test.toy import draw_frame


def build_engines(networks: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and all that it printed."""
    result = CliRunner().invoke(app, ["build-engines", "--models", str(networks), *arguments])
    return result.exit_code, result.output


def test_a_tracker_with_the_same_options_finds_what_was_built(gpu_machine, toy_networks):
    code, output = build_engines(toy_networks, "--precision", "fp32", "--set", "estimator.batch_size=4")
    assert code == 0, output
    assert "toy_detector: building the fp32 engine; this takes minutes" in output
    assert "toy_pose: differs from ONNX Runtime by at most 0.00% of the range" in output
    engines = sorted(file.name.split("-")[0] for file in gpu_machine.glob("*.engine"))
    assert engines == ["pose_entailment", "toy_detector", "toy_pose"]

    options = PipelineOptions(inference=InferenceOptions(models=str(toy_networks), precision="fp32", threads=1))
    pipeline = Pipeline.from_options(options)
    finder = pipeline._finder
    assert finder._detector._session.runs_on.startswith("TensorRT")
    assert finder._estimator._session.runs_on.startswith("ONNX Runtime")  # made for 4 people at once, not 16
    assert pipeline._tracker.matcher._session.runs_on.startswith("TensorRT")
    pipeline.close()

    code, output = build_engines(toy_networks, "--precision", "fp32", "--set", "estimator.batch_size=4")
    assert code == 0
    assert output.count(" exists") == 3
    assert len(stand_in_tensorrt.built) == 3
    assert build_engines(toy_networks, "--precision", "fp32", "--force")[0] == 0
    assert len(stand_in_tensorrt.built) == 6


@pytest.mark.usefixtures("gpu_machine")
@pytest.mark.parametrize("matcher", ["pose_entailment", "pose_entailment_paper"])
def test_a_tracker_that_may_build_changes_over_with_all_three_networks(toy_networks, matcher, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(stand_in_tensorrt, "during_build", lambda: go_on.wait(60))
    inference = InferenceOptions(models=str(toy_networks), precision="fp32", allow_engine_build=True, threads=1)
    tracker = TrackerOptions(
        model=matcher, gating=False, confirm_frames=1
    )  # the matching network is asked about every frame
    pipeline = Pipeline.from_options(PipelineOptions(tracker=tracker, inference=inference))
    finder = pipeline._finder
    sessions = [stage._session for stage in (finder._detector, finder._estimator)]
    sessions.append(pipeline._tracker.matcher._session)
    ids = []
    for index in range(6):
        if index == 3:
            assert all("ONNX Runtime" in session.runs_on for session in sessions)
            go_on.set()
            for session in sessions:
                session._thread.join(60)
        poses = pipeline.process(draw_frame([(200.0 + 5 * index, 200.0), (500.0, 300.0)]), index / 25)
        ids.append(sorted(poses.track_ids))
    assert ids == [[1, 2]] * 6
    assert all(session.runs_on.startswith("TensorRT") for session in sessions)
    pipeline.close()  # the fixture sees that the matcher's memory is given back, too


@pytest.mark.usefixtures("gpu_machine")
def test_of_int8_the_matcher_is_left_out(toy_networks):
    code, output = build_engines(toy_networks, "--precision", "int8", "--dry-run")
    assert code == 0
    assert re.search(r"toy_pose \(pose\): .*, int8\n", output)
    assert re.search(r"pose_entailment \(matching\): .*, fp16\n", output)


def test_dry_run_shows_key_file_and_profile_and_builds_nothing(gpu_machine, toy_networks):
    code, output = build_engines(toy_networks, "--dry-run", "--set", "estimator.batch_size=4")
    assert code == 0
    assert "profile of 'crops': 1x3x64x48, 4x3x64x48, 4x3x64x48" in output
    assert f"file: {gpu_machine}/toy_pose-" in output
    assert output.count("key: ") == 3
    assert f"profile of 'tokens': 1x15x{TOKEN_WIDTH}, 128x15x{TOKEN_WIDTH}, 128x15x{TOKEN_WIDTH}" in output
    assert "fp16" in output
    assert not gpu_machine.exists()


def test_dry_run_without_tensorrt_shows_the_profiles_and_why_there_is_no_key(toy_networks, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    code, output = build_engines(toy_networks, "--dry-run")
    assert code == 0
    assert "profile of 'crops': 1x3x64x48, 16x3x64x48, 16x3x64x48" in output
    assert "no key on this machine: tensorrt cannot be imported" in output


def test_without_tensorrt_one_line_says_what_is_missing(toy_networks):
    code = "import sys; sys.modules['tensorrt'] = None; from keytrack_ros.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "build-engines", "--models", str(toy_networks)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: tensorrt cannot be imported")
    assert done.stderr.endswith("pip install 'keytrack_ros[gpu]'\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("gpu_machine")
def test_an_engine_that_tensorrt_refuses_is_built_again(toy_networks, monkeypatch):
    build_engines(toy_networks, "--precision", "fp32")
    refusing = stand_in_tensorrt.Runtime.deserialize_cuda_engine
    refused = []

    def refuse_once(self, serialized_engine):
        if not refused:
            refused.append(self)
            return None
        return refusing(self, serialized_engine)

    monkeypatch.setattr(stand_in_tensorrt.Runtime, "deserialize_cuda_engine", refuse_once)
    code, output = build_engines(toy_networks, "--precision", "fp32")
    assert code == 0
    assert "cannot load its engine" in output
    assert len(stand_in_tensorrt.built) == 4


def test_an_engine_that_computes_something_else_is_removed(gpu_machine, toy_networks, monkeypatch):
    execute = stand_in_tensorrt.IExecutionContext.execute_async_v3

    def wrong(self, stream_handle):
        execute(self, stream_handle)
        for name in self._engine.outputs:
            self._memory(name)[...] = 0.5
        return True

    monkeypatch.setattr(stand_in_tensorrt.IExecutionContext, "execute_async_v3", wrong)
    code, output = build_engines(toy_networks, "--precision", "fp32")
    assert code == 1
    assert "its fp32 engine was removed, because it differs from ONNX Runtime by" in output
    assert list(gpu_machine.glob("*.engine")) == []


def test_a_signal_stops_the_build_and_nothing_is_kept(gpu_machine, toy_networks, monkeypatch):
    monkeypatch.setattr(stand_in_tensorrt, "during_build", lambda: signal.raise_signal(signal.SIGINT))
    code, output = build_engines(toy_networks)
    assert code == 128 + signal.SIGINT
    assert "stopped by SIGINT; no part of the engine was stored" in output
    assert list(gpu_machine.glob("*.engine")) == []


@pytest.mark.usefixtures("gpu_machine")
def test_int8_asks_for_images_with_people(toy_networks, tmp_path):
    import cv2

    code, output = build_engines(toy_networks, "--precision", "int8")
    assert code == 1
    assert "int8 needs --images" in output
    for number in range(60):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), draw_frame([(200, 200), (400, 300)]))
    code, output = build_engines(toy_networks, "--precision", "int8", "--images", str(tmp_path))
    assert code == 1
    assert "no layer of the int8 engine is INT8" in output  # the toy networks have no convolutions


def test_networks_are_calibrated_on_the_inputs_of_a_tracker(toy_networks):
    inference = InferenceOptions(models=str(toy_networks), threads=1)
    images = [draw_frame([(200, 200), (400, 300)]), draw_frame([(300, 300)]), draw_frame([])]
    detector, pose = (find_model(kind, folders=[toy_networks]) for kind in (DetectorCard, PoseCard))
    frames, crops = (calibration_batches(card, images, DetectorOptions(), inference, 3) for card in (detector, pose))
    assert [batch["image"].shape for batch in frames] == [(1, 3, 416, 416)] * 3
    assert [batch["crops"].shape for batch in crops] == [(1, 3, 64, 48)] * 3
    assert all(np.ptp(batch["crops"]) == 255 for batch in crops)
