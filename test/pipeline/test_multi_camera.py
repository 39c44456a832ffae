"""Cameras that share networks get the results that each would get alone, and their errors stay apart."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.media.image_source import read_image
from keytrack_ros.options import with_values
from keytrack_ros.pipeline import STAGES, Pipeline, PipelineOptions, multi_camera
from keytrack_ros.pipeline.multi_camera import BatchingFinder, SharedNetworks
from keytrack_ros.pipeline.open_finder import open_finder
from keytrack_ros.pipeline.pose_finder import CameraFrame, FinderOptions, PoseFinder
from keytrack_ros.poses import ImageArray, Poses
from test import toy
from test.conftest import REPOSITORY
from test.gpu.toy_torch import toy_finder

NO_IMAGE = np.zeros((0, 0, 3), np.uint8)
"""What no detector can scale to its input."""


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> PipelineOptions:
    networks = toy.write_networks(tmp_path_factory.mktemp("networks"))
    values = {"detector.model": toy.DETECTOR, "estimator.model": toy.ESTIMATOR, "inference.models": str(networks)}
    return with_values(PipelineOptions(), values | {"tracker.confirm_frames": 1})


class Gate:
    """A finder that waits before every batch for permission, and records which cameras were in it."""

    def __init__(self, finder: PoseFinder) -> None:
        self._finder = finder
        self.may_work = threading.Semaphore(0)
        self.at_work = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find(self, frames: Sequence[CameraFrame]) -> list[Poses]:
        self.batches.append(sorted(int(str(frame.camera)) for frame in frames))
        self.at_work.release()
        assert self.may_work.acquire(timeout=30)
        return self._finder.find(frames)


class Cameras:
    """A shared finder behind a gate, called from one thread per camera."""

    def __init__(self, gate: Gate, options: Sequence[FinderOptions]) -> None:
        self.gate = gate
        self.finder = BatchingFinder(gate)
        self._options = options
        self._threads = ThreadPoolExecutor(len(options))

    def ask(self, camera: int, image: ImageArray, previous: Poses | None = None) -> Future[Poses]:
        """Sends a frame, and returns once it is at work or waits for its turn."""
        before = len(self.finder._waiting), len(self.gate.batches)
        frame = CameraFrame(camera, image, previous, self._options[camera])
        found = self._threads.submit(lambda: self.finder.find([frame])[0])
        while (len(self.finder._waiting), len(self.gate.batches)) == before:
            threading.Event().wait(0.001)
        return found


Opening = Callable[..., Cameras]


@pytest.fixture(params=["sessions", "torch"])
def cameras(options: PipelineOptions, request: pytest.FixtureRequest) -> Opening:
    """Opens one camera for each of the given options."""

    def opened(*each: FinderOptions) -> Cameras:
        if request.param == "torch":
            finder: PoseFinder = toy_finder(Path(options.inference.models), torch.device("cpu"), len(each))
        else:
            finder = open_finder(options.finder, options.inference, len(each))
        return Cameras(Gate(finder), each)

    return opened


def assert_equal(found: Poses, expected: Poses) -> None:
    assert len(found) == len(expected)
    for name in ("keypoints", "scores", "boxes", "box_scores", "carried", "track_ids"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


def test_cameras_track_together_as_each_would_alone(options, caplog):
    walks = [toy.walk(20, 4), toy.walk(20, 2)[::-1], [[(300.0, 300.0)]] * 20]
    sizes = [toy.FRAME_SIZE, (900, 700), toy.FRAME_SIZE]
    own = [options, options, with_values(options, {"estimator.flip_test": True, "tracker.delta": 2})]
    films = [[toy.draw_frame(places, size) for places in walk] for walk, size in zip(walks, sizes, strict=True)]
    expected = []
    for film, mine in zip(films, own, strict=True):
        alone = Pipeline.from_options(mine)
        expected.append([alone.process(frame, number / 10) for number, frame in enumerate(film)])
    networks = SharedNetworks(3)
    with caplog.at_level(logging.INFO):
        pipelines = [Pipeline.from_options(mine, networks) for mine in own]
    for network in ("toy_detector", "toy_pose", "pose_entailment"):
        assert caplog.text.count(f"{network}.onnx runs on") == 1

    def track(camera: int) -> list[Poses]:
        return [pipelines[camera].process(frame, number / 10) for number, frame in enumerate(films[camera])]

    with ThreadPoolExecutor(3) as threads:
        for found, wanted in zip(threads.map(track, range(3)), expected, strict=True):
            for poses, right in zip(found, wanted, strict=True):
                assert_equal(poses, right)
    assert set(pipelines[0].stage_seconds) == {"waiting", *STAGES}
    assert pipelines[0].fingerprints == pipelines[1].fingerprints


def test_frames_that_wait_together_are_one_batch_and_each_camera_has_its_turn(cameras):
    rig = cameras(FinderOptions(), FinderOptions(), FinderOptions())
    images = [toy.draw_frame(places) for places in ([(200, 200)], [(300, 200), (500, 300)], [])]
    first = rig.ask(0, images[0])
    assert rig.gate.at_work.acquire(timeout=30)
    second, third = rig.ask(1, images[1]), rig.ask(2, images[2])
    rig.gate.may_work.release()
    assert len(first.result(30)) == 1
    assert rig.gate.at_work.acquire(timeout=30)
    again = rig.ask(0, images[0])
    for _ in range(2):
        rig.gate.may_work.release()
    assert [len(found.result(30)) for found in (second, third, again)] == [2, 0, 1]
    assert rig.gate.batches == [[0], [1, 2], [0]]


def test_a_frame_that_fails_fails_alone(cameras):
    rig = cameras(FinderOptions(), FinderOptions(), FinderOptions())
    image = toy.draw_frame([(200, 200)])
    first = rig.ask(0, image)
    assert rig.gate.at_work.acquire(timeout=30)
    bad, good = rig.ask(1, NO_IMAGE), rig.ask(2, image)
    for _ in range(4):
        rig.gate.may_work.release()
    assert len(first.result(30)) == len(good.result(30)) == 1
    with pytest.raises(ZeroDivisionError):
        bad.result(30)
    assert rig.gate.batches == [[0], [1, 2], [1], [2]]
    rig.gate.may_work.release()
    assert len(rig.ask(1, image, Poses.empty()).result(30)) == 1


def test_the_last_camera_frees_the_networks(options, monkeypatch):
    closed = []
    monkeypatch.setattr(multi_camera.BatchingFinder, "close", lambda finder: closed.append(finder))
    networks = SharedNetworks(2)
    front, rear = (Pipeline.from_options(options, networks) for _ in range(2))
    image = toy.draw_frame([(200, 200)])
    front.close()
    front.close()
    with pytest.raises(ModelError, match="the pipeline is closed"):
        front.process(image, 0.0)
    assert closed == []
    assert len(rear.process(image, 0.0)) == 1
    rear.close()
    assert len(closed) == 1


def test_what_cannot_be_opened_is_not_counted(options, caplog):
    networks = SharedNetworks(2)
    for wrong in ("detector.model", "tracker.model"):
        with pytest.raises(ModelError, match="network 'none' was found"):
            Pipeline.from_options(with_values(options, {wrong: "none"}), networks)
    with caplog.at_level(logging.INFO):
        first = Pipeline.from_options(options, networks)
        Pipeline.from_options(options, networks).close()
        assert caplog.text.count("toy_detector.onnx runs on") == 1
        assert len(first.process(toy.draw_frame([(200, 200)]), 0.0)) == 1
        first.close()
        caplog.clear()
        Pipeline.from_options(options, networks).close()
    assert caplog.text.count("toy_detector.onnx runs on") == 1  # freed, and therefore loaded again


def test_the_matcher_of_pairs_is_shared_too(options):
    pairs = with_values(options, {"tracker.model": "pose_entailment_paper"})
    networks = SharedNetworks(2)
    front, rear = (Pipeline.from_options(pairs, networks) for _ in range(2))
    for number, places in enumerate(toy.walk(3, 3)):
        frame = toy.draw_frame(places)
        ids = [pipeline.process(frame, number / 10).track_ids.tolist() for pipeline in (front, rear)]
        assert sorted(ids[0]) == sorted(ids[1]) == [1, 2, 3]
    front.close()
    assert len(rear.process(frame, 1.0)) == 3


# In torch detection is one batch, too, and sums in another order; at 1,000 px two neighbouring float32 numbers are
# 6e-5 px apart, and what moves a box by so much changes the crop, hence the scores.
@pytest.mark.parametrize(("backend", "most"), [("onnxruntime", 1e-4), ("torch", 1e-3)])
def test_real_people_of_two_cameras_in_one_batch_have_the_poses_of_each_alone(shared_data, backend, most):
    files = sorted((shared_data / "clips/bonn_060470979/images").rglob("*.jpg"))[:2]
    inference = InferenceOptions(device="cpu", backend=backend, threads=1)
    finder = open_finder(FinderOptions(), inference, 2)
    frames = [CameraFrame(camera, read_image(file), None, FinderOptions()) for camera, file in enumerate(files)]
    for found, frame in zip(finder.find(frames), frames, strict=True):
        expected = finder.find([frame])[0]
        assert len(found) == len(expected) > 2
        for name in ("keypoints", "scores", "boxes", "box_scores"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=most, err_msg=name)


def test_the_benchmark_runs_both_ways(options, tmp_path):
    video = cv2.VideoWriter(str(tmp_path / "toy.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, toy.FRAME_SIZE)
    for places in toy.walk(5, 2):
        video.write(toy.draw_frame(places))
    video.release()
    command = [sys.executable, "bench/cameras.py", str(tmp_path / "toy.avi"), "--frames", "3", "--turns", "1"]
    paths = {"PYTHONPATH": str(REPOSITORY), "KEYTRACK_MODELS": options.inference.models}
    done = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for words in ("one process, 2 cameras", "2 processes", "shared / apart"):
        assert words in done.stdout
