"""Frames → poses on one device: a frame is uploaded, its poses are downloaded."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from keytrack_ros.errors import ModelError
from keytrack_ros.gpu.batches import BatchedNetwork
from keytrack_ros.gpu.detection import DeviceDetector
from keytrack_ros.gpu.estimation import DeviceEstimator
from keytrack_ros.gpu.networks import load_detector, load_pose
from keytrack_ros.gpu.toks import Candidates, carried_boxes, keep_best, not_detected
from keytrack_ros.gpu.transfer import Timer, Upload, download
from keytrack_ros.inference.cards import DetectorCard, ImageInput, PoseCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import find_model
from keytrack_ros.inference.session import BackendError, DeviceMemoryError
from keytrack_ros.pipeline.pose_finder import CameraFrame, FinderOptions, group_by_estimator
from keytrack_ros.poses import FloatArray, Poses
from keytrack_ros.skeleton import COUNT

logger = logging.getLogger(__name__)


def open_on_device(options: FinderOptions, inference: InferenceOptions, cameras: int = 1) -> DeviceFinder:
    """Finds and loads both networks on the device of the options; `auto` is the GPU if torch has one.

    Args:
        options: which networks; batch sizes are prepared for these.
        inference: where they run.
        cameras: maximum number of frames in one call.

    Raises:
        BackendError: torch cannot use the GPU, or cannot run one of the networks.
        DeviceMemoryError: the device's memory is too small.
        ModelError: a network is missing or not what its model file says.
    """
    device = torch_device(inference.device)
    half = inference.gpu_precision == "fp16" and device.type == "cuda"
    detector_card = find_model(DetectorCard, options.detector.model, inference.folders)
    pose_card = find_model(PoseCard, options.estimator.model, inference.folders)
    boxes = BatchedNetwork(load_detector(detector_card), _shape(detector_card.input), device, half)
    poses = BatchedNetwork(load_pose(pose_card), _shape(pose_card.input), device, half)
    finder = DeviceFinder(
        DeviceDetector(detector_card, boxes, cameras), DeviceEstimator(pose_card, poses, options.estimator), device
    )
    logger.info(
        "detection (%s), poses (%s) and TOKS run in torch %s (%s, %s)",
        detector_card.name,
        pose_card.name,
        torch.__version__,
        torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "FP16" if half else "FP32",
    )
    return finder


def torch_device(name: str) -> torch.device:
    """The device of the option `inference.device`. Raises BackendError if it is cuda and torch cannot use it."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise BackendError(f"torch {torch.__version__} cannot use the GPU; install the build for its CUDA version")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def _shape(about: ImageInput) -> tuple[int, int, int]:
    return 3, about.size[1], about.size[0]


@dataclass(frozen=True)
class _Before:
    """Poses of a camera's last frame, on the device: as `Candidates`, with score 0 where TOKS dropped the pose."""

    keypoints: Tensor
    scores: Tensor


class DeviceFinder:
    """A `PoseFinder` on one device, where it keeps the poses of each camera's last frame.

    Frames are detected in one batch; their poses are estimated in common batches where the options are the same.

    Args:
        detector: finds boxes.
        estimator: finds poses in them.
        device: of both.
    """

    def __init__(self, detector: DeviceDetector, estimator: DeviceEstimator, device: torch.device) -> None:
        self._detector = detector
        self._estimator = estimator
        self._device = device
        self._uploads: dict[Hashable, Upload] = {}
        self._before: dict[Hashable, _Before] = {}
        self._closed = False
        self.stage_seconds: dict[str, float] = {}

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        return self._detector.card, self._estimator.card

    @torch.inference_mode()
    def find(self, frames: Sequence[CameraFrame]) -> list[Poses]:
        """As `PoseFinder.find`. Of `previous` only matters whether it is None: the poses of t−1 are kept here.

        Raises:
            DeviceMemoryError: the device's memory is too small, even in the smallest batches.
            ModelError: the finder is closed.
        """
        if self._closed:
            raise ModelError("the pose finder is closed")
        try:
            return self._find(frames)
        except torch.OutOfMemoryError as error:
            text = " ".join(str(error).split())[:300]
            raise DeviceMemoryError(
                f"torch: {text}; stop other processes on the GPU, or set inference.device to cpu"
            ) from None

    def forget(self, camera: Hashable) -> None:
        self._uploads.pop(camera, None)
        self._before.pop(camera, None)

    def close(self) -> None:
        """Frees the networks."""
        self._closed = True
        self._before.clear()
        self._detector.close()
        self._estimator.close()

    def _find(self, frames: Sequence[CameraFrame]) -> list[Poses]:
        timer = Timer(self._device)
        timer.mark("begin")
        images = [self._uploaded(frame) for frame in frames]
        detected = self._detector.detect(images, [frame.options.detector for frame in frames])
        timer.mark("detected")
        boxes = [
            torch.cat([found, self._carried(frame, found)]) for frame, (found, _) in zip(frames, detected, strict=True)
        ]
        timer.mark("boxes")
        estimated = self._estimated(frames, images, boxes)
        timer.mark("estimated")
        candidates = [
            self._candidates(*pose, found, scores)
            for pose, found, (_, scores) in zip(estimated, boxes, detected, strict=True)
        ]
        kept = [keep_best(poses, frame.options.toks) for poses, frame in zip(candidates, frames, strict=True)]
        rows = torch.cat([_packed(*about) for about in zip(candidates, kept, strict=True)])
        timer.mark("done")
        packed = download(rows)  # waits for all work above
        for frame, poses, those in zip(frames, candidates, kept, strict=True):
            self._before[frame.camera] = _Before(poses.keypoints, torch.where(those[:, None], poses.scores, 0))
        self.stage_seconds = {
            "detection": timer.between("begin", "detected"),
            "toks": timer.between("detected", "boxes") + timer.between("estimated", "done"),
            "estimation": timer.between("boxes", "estimated"),
        }
        return [_unpacked(part) for part in np.split(packed, np.cumsum([len(b) for b in boxes])[:-1])]

    def _uploaded(self, frame: CameraFrame) -> Tensor:
        if frame.camera not in self._uploads:
            self._uploads[frame.camera] = Upload(self._device)
        return self._uploads[frame.camera](frame.image_bgr)

    def _estimated(
        self, frames: Sequence[CameraFrame], images: Sequence[Tensor], boxes: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Keypoints [P, 15, 2] and scores [P, 15] of each frame."""
        empty = images[0].new_zeros(0, COUNT, 2), images[0].new_zeros(0, COUNT)
        found = [empty] * len(frames)
        for options, members in group_by_estimator(frames).items():
            some = [k for k in members if len(boxes[k])]
            if some:
                parts = self._estimator.estimate([images[k] for k in some], [boxes[k] for k in some], options)
                counts = [len(boxes[k]) for k in some]
                for k, keypoints, scores in zip(some, *(torch.split(part, counts) for part in parts), strict=True):
                    found[k] = keypoints, scores
        return found

    def _carried(self, frame: CameraFrame, detected: Tensor) -> Tensor:
        """Boxes [C, 4] of the camera's last frame that no detected box covers."""
        before = self._before.get(frame.camera)
        if before is None or frame.previous is None:
            return detected[:0]
        toks = frame.options.toks
        boxes, proposed = carried_boxes(before.keypoints, before.scores, frame.size, toks)
        return boxes[proposed & not_detected(boxes, detected, toks)]

    def _candidates(self, keypoints: Tensor, scores: Tensor, boxes: Tensor, box_scores: Tensor) -> Candidates:
        """The first D boxes were detected, with `box_scores` [D]; the others are carried over."""
        carried = torch.arange(len(boxes), device=self._device) >= len(box_scores)
        unknown = box_scores.new_full((len(boxes) - len(box_scores),), torch.nan)
        return Candidates(keypoints, scores, boxes, torch.cat([box_scores, unknown]), carried)


def _packed(poses: Candidates, kept: Tensor) -> Tensor:
    """[P, 52] float32: keypoints 30, scores 15, box 4, box score, carried, kept."""
    flags = torch.stack([poses.box_scores, poses.carried.float(), kept.float()], 1)
    return torch.cat([poses.keypoints.flatten(1), poses.scores, poses.boxes, flags], 1)


def _unpacked(rows: FloatArray) -> Poses:
    """The poses that are kept."""
    rows = rows[rows[:, -1] > 0]
    points, scores, boxes = rows[:, : 2 * COUNT].reshape(-1, COUNT, 2), rows[:, 2 * COUNT : 3 * COUNT], rows[:, -7:-3]
    return Poses(points, scores, boxes, box_scores=rows[:, -3], carried=rows[:, -2] > 0)
