"""All stages on one device give what NumPy, OpenCV and ONNX Runtime give."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from keytrack_ros.detection import DetectorOptions
from keytrack_ros.errors import ModelError
from keytrack_ros.estimation import EstimatorOptions
from keytrack_ros.gpu.finder import DeviceFinder
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.session import DeviceMemoryError
from keytrack_ros.media.image_source import read_image
from keytrack_ros.pipeline import STAGES, Pipeline, PipelineOptions
from keytrack_ros.pipeline.pose_finder import CameraFrame, FinderOptions
from keytrack_ros.poses import ImageArray, Poses
from keytrack_ros.toks import ToksOptions
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test import toy
from test.gpu.toy_torch import toy_finder


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def finder(networks: Path, device: torch.device) -> DeviceFinder:
    return toy_finder(networks, device)


def frame_of(image: ImageArray, carry_over: bool, camera: int = 0, **options: Any) -> CameraFrame:
    return CameraFrame(camera, image, Poses.empty() if carry_over else None, FinderOptions(**options))


def find(finder: DeviceFinder, image: ImageArray, carry_over: bool = False, **options: Any) -> Poses:
    return finder.find([frame_of(image, carry_over, **options)])[0]


def assert_same(found: Poses, expected: Poses, pixels: float = 0.01) -> None:
    assert len(found) == len(expected)
    np.testing.assert_array_equal(found.carried, expected.carried)
    np.testing.assert_array_equal(found.track_ids, expected.track_ids)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=pixels)
    np.testing.assert_allclose(found.box_scores, expected.box_scores, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=2e-3)
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=pixels)


def test_pipeline_on_one_device_tracks_the_toy_world_as_the_one_with_sessions(networks, finder):
    options = PipelineOptions(
        detector=DetectorOptions(model=toy.DETECTOR),
        estimator=EstimatorOptions(model=toy.ESTIMATOR),
        tracker=TrackerOptions(confirm_frames=1),
        inference=InferenceOptions(models=str(networks), device="cpu", threads=1),
    )
    sessions = Pipeline.from_options(options)
    on_device = Pipeline(finder, PoseTracker(options.tracker), options)
    blind = replace(options, detector=DetectorOptions(model=toy.DETECTOR, score_threshold=1.0))
    carried = 0
    for number, places in enumerate(toy.walk(12, 4)):
        frame = toy.draw_frame([] if number == 6 else places)
        for pipeline in (sessions, on_device):
            pipeline.set_options(blind if number in (3, 9) else options)  # whom the detector misses is carried over
        expected, found = (pipeline.process(frame, number / 10) for pipeline in (sessions, on_device))
        assert_same(found, expected)
        carried += int(found.carried.sum())
        assert set(on_device.stage_seconds) == set(STAGES)
        assert all(seconds > 0 for seconds in on_device.stage_seconds.values())
    assert carried == 8
    on_device.reset()
    assert on_device.process(toy.draw_frame([(300, 300)]), 2.0).track_ids.min() > 4
    on_device.close()
    with pytest.raises(ModelError, match="closed"):
        on_device.process(toy.draw_frame([]), 3.0)


def test_cameras_share_batches_and_nothing_else(networks, device):
    small = (640, 480)
    left = [toy.draw_frame(places) for places in toy.walk(4, 4)]
    right = [toy.draw_frame([(200 + 5 * k, 200)] if k % 2 else [], small) for k in range(4)]
    both = toy_finder(networks, device, cameras=2)
    single = toy_finder(networks, device), toy_finder(networks, device)
    estimator = EstimatorOptions(batch_size=3)  # five people in two batches, across cameras
    for images in zip(left, right, strict=True):
        frames = [frame_of(image, k == 0, k, estimator=estimator) for k, image in enumerate(images)]
        for poses, frame, finder in zip(both.find(frames), frames, single, strict=True):
            assert_same(poses, finder.find([frame])[0])


def test_cameras_with_options_of_their_own_and_frames_now_and_then(networks, device):
    options = (
        FinderOptions(),
        FinderOptions(estimator=EstimatorOptions(flip_test=True)),
        FinderOptions(detector=DetectorOptions(score_threshold=1.0)),  # sees nobody by itself
    )
    together = toy_finder(networks, device, cameras=3)
    single = [toy_finder(networks, device) for _ in options]
    for number, places in enumerate(toy.walk(6, 3)):
        image = toy.draw_frame(places)
        frames = [
            CameraFrame(k, image, Poses.empty(), replace(mine, detector=DetectorOptions()) if number == 0 else mine)
            for k, mine in enumerate(options)
            if number % (k + 1) == 0
        ]
        for poses, frame in zip(together.find(frames), frames, strict=True):
            assert_same(poses, single[frame.camera].find([frame])[0])
            assert len(poses) == 3
            assert poses.carried.all() == (frame.camera == 2 and number > 0)
    together.forget(0)  # its number may be given to another camera, which has seen nobody yet
    assert len(together.find([CameraFrame(0, image, Poses.empty(), options[2])])[0]) == 0


def test_nothing_is_kept_of_frames_that_failed(networks, device, monkeypatch):
    finder = toy_finder(networks, device, cameras=2)
    at, elsewhere = (toy.draw_frame([place]) for place in ((200, 300), (500, 300)))
    finder.find([frame_of(at, False, 0)])

    def fails(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("keytrack_ros.gpu.finder.download", fails)
    with pytest.raises(DeviceMemoryError):
        finder.find([frame_of(elsewhere, False, 0), frame_of(elsewhere, False, 1)])
    monkeypatch.undo()
    blind = DetectorOptions(score_threshold=1.0)
    found = finder.find([frame_of(at, True, 0, detector=blind), frame_of(elsewhere, True, 1, detector=blind)])
    assert [len(poses) for poses in found] == [1, 0]


def test_without_previous_poses_none_are_carried_over(finder):
    blind = DetectorOptions(score_threshold=1.0)
    image = toy.draw_frame([(200, 300), (500, 300)])
    assert len(find(finder, image)) == 2
    carried = find(finder, image, carry_over=True, detector=blind)
    assert carried.carried.tolist() == [True, True]
    assert np.isnan(carried.box_scores).all()
    assert len(find(finder, image, detector=blind)) == 0
    assert len(find(finder, image, carry_over=True, detector=blind)) == 0  # the frame before had no poses


def test_flip_test_may_be_switched_on_while_it_runs(networks, finder):
    frame = toy.draw_frame([(200, 300), (700, 300)])  # the second one half outside
    find(finder, frame)
    flipped = find(finder, frame, estimator=EstimatorOptions(flip_test=True))
    options = PipelineOptions(
        detector=DetectorOptions(model=toy.DETECTOR),
        estimator=EstimatorOptions(model=toy.ESTIMATOR, flip_test=True),
        tracker=TrackerOptions(confirm_frames=1),
        inference=InferenceOptions(models=str(networks), device="cpu", threads=1),
    )
    expected = Pipeline.from_options(options).process(frame, 0.0)
    assert len(flipped) >= 1
    assert_same(flipped, expected.with_fields(track_ids=flipped.track_ids))


def test_tiny_images_have_nobody_in_them(finder):
    for width, height in ((1, 1), (3, 500), (500, 3)):
        assert len(find(finder, np.zeros((height, width, 3), np.uint8), carry_over=True)) == 0


def test_memory_that_ends_anywhere_is_one_kind_of_error(finder, monkeypatch):
    def greedy(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr("keytrack_ros.gpu.detection.letterbox", greedy)
    with pytest.raises(DeviceMemoryError, match=r"torch: CUDA out of memory\. Tried to allocate 2 GiB; stop other"):
        find(finder, toy.draw_frame([]))
    monkeypatch.undo()
    assert len(find(finder, toy.draw_frame([(200, 300)]))) == 1


def test_networks_that_torch_cannot_run_are_run_by_sessions_aloud(networks, caplog):
    options = PipelineOptions(
        detector=DetectorOptions(model=toy.DETECTOR),
        estimator=EstimatorOptions(model=toy.ESTIMATOR),
        tracker=TrackerOptions(confirm_frames=1),
        inference=InferenceOptions(models=str(networks), device="cpu", backend="torch", threads=1),
    )
    with caplog.at_level(logging.WARNING):
        pipeline = Pipeline.from_options(options)
    assert "cannot run in torch on one device: " in caplog.text
    assert "is not a graph of keytrack's own detector" in caplog.text
    assert len(pipeline.process(toy.draw_frame([(200, 300)]), 0.0)) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_cuda_is_refused_as_ever():
    options = PipelineOptions(inference=InferenceOptions(device="cuda", backend="torch"))
    with pytest.raises(ModelError, match=r"nothing can run it with inference\.device = cuda"):
        Pipeline.from_options(options)


def test_real_people_have_the_same_poses_and_ids_in_torch(shared_data, device, caplog):
    options = PipelineOptions(
        estimator=EstimatorOptions(flip_test=True),
        toks=ToksOptions(skip_iou=1.0),
        tracker=TrackerOptions(publish_tentative=True),
        inference=InferenceOptions(device="cpu", threads=1, precision="fp32"),
    )
    sessions = Pipeline.from_options(options)
    with caplog.at_level(logging.INFO):
        torch_options = replace(options.inference, backend="torch", device=device.type)
        on_device = Pipeline.from_options(replace(options, inference=torch_options))
    assert "detection (person_detector), poses (hrnet_w24) and TOKS run in torch" in caplog.text
    assert on_device.fingerprints == sessions.fingerprints
    distances = []
    frames = sorted((shared_data / "clips/bonn_060470979/images").rglob("*.jpg"))[:4]
    for number, file in enumerate(frames):
        image = read_image(file)
        expected, found = (pipeline.process(image, number / 25) for pipeline in (sessions, on_device))
        assert found.track_ids.tolist() == expected.track_ids.tolist()
        assert found.carried.tolist() == expected.carried.tolist()
        sure = expected.scores > 0.3
        distances += list(np.linalg.norm(found.keypoints - expected.keypoints, axis=-1)[sure])
        assert np.abs(found.scores - expected.scores).max() < 0.02
    # A maximum between two pixels of equal height moves by half a heatmap pixel on the smallest difference.
    assert len(distances) > 60
    assert np.mean(np.array(distances) < 0.5) > 0.98
    assert np.median(distances) < (0.05 if device.type == "cuda" else 0.001)
