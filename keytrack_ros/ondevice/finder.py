"""Frames → poses of everyone in them, on one device: a frame goes up, the poses of its people come down.

Two lanes: a frame's detection may run beside the pose estimation of the frame before. `submit` launches a frame,
`collect` gives the poses of the oldest one; whoever submits the next frame before collecting the last one overlaps
them, and also whatever is done on the CPU in between.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from keytrack_ros.detection import DetectorOptions
from keytrack_ros.errors import ModelError
from keytrack_ros.estimation import EstimatorOptions
from keytrack_ros.inference.cards import DetectorCard, ImageInput, PoseCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import find_model
from keytrack_ros.inference.session import BackendError, DeviceMemoryError
from keytrack_ros.ondevice.batches import BatchedNetwork
from keytrack_ros.ondevice.detection import DeviceDetector
from keytrack_ros.ondevice.estimation import DeviceEstimator
from keytrack_ros.ondevice.frames import Upload
from keytrack_ros.ondevice.lanes import Download, Lane, Watch
from keytrack_ros.ondevice.networks import load_detector, load_pose
from keytrack_ros.ondevice.toks import Candidates, carried_boxes, keep_best, not_detected
from keytrack_ros.poses import FloatArray, ImageArray, Poses
from keytrack_ros.skeleton import COUNT
from keytrack_ros.toks import ToksOptions

logger = logging.getLogger(__name__)


def open_on_device(
    detector: DetectorOptions,
    estimator: EstimatorOptions,
    toks: ToksOptions,
    inference: InferenceOptions,
    cameras: int = 1,
) -> DeviceFinder:
    """Finds and loads both networks, on the device that the options name; `auto` is the GPU where torch has one.

    Raises:
        BackendError: torch cannot use the GPU, or cannot run one of the networks.
        DeviceMemoryError: the device's memory is too small.
        ModelError: a network is missing or not what its model file says.
    """
    device = torch_device(inference.device)
    half = inference.precision == "fp16" and device.type == "cuda"
    detector_card = find_model(DetectorCard, detector.model, inference.folders)
    pose_card = find_model(PoseCard, estimator.model, inference.folders)
    boxes = BatchedNetwork(load_detector(detector_card), _shape(detector_card.input), device, half)
    poses = BatchedNetwork(load_pose(pose_card), _shape(pose_card.input), device, half)
    finder = DeviceFinder(
        DeviceDetector(detector_card, boxes, cameras), DeviceEstimator(pose_card, poses, estimator), device, cameras
    )
    finder.set_options(detector, estimator, toks)
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
    """What a camera's last frame showed, on the device: as `Candidates`, score 0 for whoever did not stay."""

    keypoints: Tensor
    scores: Tensor


@dataclass(frozen=True)
class _Launched:
    """A frame of every camera, under way.

    Attributes:
        rows: what comes down, see `_packed`.
        counts: people of each camera.
        watch: when which stage was done.
        used: tensors of one lane that the other one reads; they must live until it has done so.
    """

    rows: Download
    counts: list[int]
    watch: Watch
    used: list[Tensor]


class DeviceFinder:
    """A `PeopleFinder` on one device, for one or several cameras.

    Args:
        detector: finds boxes.
        estimator: finds poses in them.
        device: of both.
        cameras: how many; their frames are detected in one batch, their people estimated in common batches.
    """

    def __init__(
        self, detector: DeviceDetector, estimator: DeviceEstimator, device: torch.device, cameras: int = 1
    ) -> None:
        self._detector = detector
        self._estimator = estimator
        self._device = device
        self._options = DetectorOptions(), EstimatorOptions(), ToksOptions()
        self._uploads = [Upload(device) for _ in range(cameras)]
        self._before: list[_Before | None] = [None] * cameras
        self._detection, self._estimation = Lane(device), Lane(device)
        self._launched: deque[_Launched] = deque()
        self._closed = False
        self.stage_seconds: dict[str, float] = {}

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        return self._detector.card, self._estimator.card

    def set_options(self, detector: DetectorOptions, estimator: EstimatorOptions, toks: ToksOptions) -> None:
        self._options = detector, estimator, toks

    def find(self, image_bgr: ImageArray, previous: Poses | None) -> Poses:
        """As `PeopleFinder.find`; the poses of the frame before are those that stayed here."""
        self.submit([image_bgr], [previous is not None])
        return self.collect()[0]

    @torch.inference_mode()
    def submit(self, images_bgr: Sequence[ImageArray], carry_over: Sequence[bool]) -> None:
        """Launches the next frame of every camera; with people to carry over, once the frame before is done.

        Args:
            images_bgr: [H, W, 3] uint8 of each camera, of any sizes; they may be changed afterwards.
            carry_over: for each camera, whether people are looked for where its last frame had them (TOKS).

        Raises:
            DeviceMemoryError: the device's memory is too small, even in the smallest batches.
            ModelError: the finder is closed.
        """
        if self._closed:
            raise ModelError("the people finder is closed")
        try:
            self._launched.append(self._launch(images_bgr, carry_over))
        except torch.OutOfMemoryError as error:
            text = " ".join(str(error).split())[:300]
            raise DeviceMemoryError(
                f"torch: {text}; end what else uses the GPU, or set inference.device to cpu"
            ) from None

    def collect(self) -> list[Poses]:
        """The people of the oldest frame that was submitted and not collected, for every camera, without ids."""
        launched = self._launched.popleft()
        rows = launched.rows.wait().numpy()
        seconds = launched.watch.between
        self.stage_seconds = {
            "detection": seconds("begin", "detected"),
            "toks": seconds("detected", "boxes") + seconds("estimated", "done"),
            "estimation": seconds("boxes", "estimated"),
        }
        parts = np.split(rows, np.cumsum(launched.counts)[:-1])
        return [_unpacked(part) for part in parts]

    def close(self) -> None:
        """Frees the networks; what was not collected is lost."""
        self._closed = True
        self._launched.clear()
        self._before = [None] * len(self._before)
        self._detector.close()
        self._estimator.close()

    def _launch(self, images_bgr: Sequence[ImageArray], carry_over: Sequence[bool]) -> _Launched:
        detector, estimator, toks = self._options
        watch = Watch(self._device)
        with self._detection.work():
            watch.mark("begin")
            frames = [upload(image) for upload, image in zip(self._uploads, images_bgr, strict=True)]
            detected = self._detector.detect(frames, detector)
            watch.mark("detected")
        self._estimation.follow(self._detection)
        with self._estimation.work():
            carried = [
                self._carried(camera, image, boxes, toks) if wanted else boxes[:0]
                for camera, (image, (boxes, _), wanted) in enumerate(zip(images_bgr, detected, carry_over, strict=True))
            ]
            boxes = [torch.cat([found[0], more]) for found, more in zip(detected, carried, strict=True)]
            counts = [len(b) for b in boxes]
            watch.mark("boxes")
            if sum(counts):
                keypoints, scores = self._estimator.estimate(frames, boxes, estimator)
            else:
                keypoints, scores = frames[0].new_zeros(0, COUNT, 2), frames[0].new_zeros(0, COUNT)
            watch.mark("estimated")
            cameras = zip(
                torch.split(keypoints, counts),
                torch.split(scores, counts),
                boxes,
                [certainty for _, certainty in detected],
                strict=True,
            )
            rows = torch.cat([self._chosen(camera, *about, toks) for camera, about in enumerate(cameras)])
            watch.mark("done")  # before the download, whose arrival is waited for
            download = Download(rows)
        return _Launched(download, counts, watch, [*frames, *(part for pair in detected for part in pair)])

    def _carried(self, camera: int, image: ImageArray, detected: Tensor, toks: ToksOptions) -> Tensor:
        """The boxes [C, 4] of the camera's last frame that no detected one covers. The host waits for that frame."""
        before = self._before[camera]
        if before is None:
            return detected[:0]
        size = image.shape[1], image.shape[0]
        boxes, proposed = carried_boxes(before.keypoints, before.scores, size, toks)
        return boxes[proposed & not_detected(boxes, detected, toks)]

    def _chosen(
        self, camera: int, keypoints: Tensor, scores: Tensor, boxes: Tensor, box_scores: Tensor, toks: ToksOptions
    ) -> Tensor:
        """The rows of a camera's people as they come down; who stays is remembered for the next frame.

        Detected boxes come first: `box_scores` [D] are theirs, the other boxes were carried over.
        """
        carried = torch.arange(len(boxes), device=self._device) >= len(box_scores)
        unknown = box_scores.new_full((len(boxes) - len(box_scores),), torch.nan)
        candidates = Candidates(keypoints, scores, boxes, torch.cat([box_scores, unknown]), carried)
        stay = keep_best(candidates, toks)
        self._before[camera] = _Before(keypoints, torch.where(stay[:, None], scores, 0))
        return _packed(candidates, stay)


def _packed(poses: Candidates, stay: Tensor) -> Tensor:
    """[P, 52] float32: keypoints 30, scores 15, box 4, box score, carried, whether the pose stays."""
    flags = torch.stack([poses.box_scores, poses.carried.float(), stay.float()], 1)
    return torch.cat([poses.keypoints.flatten(1), poses.scores, poses.boxes, flags], 1)


def _unpacked(rows: FloatArray) -> Poses:
    """The poses that stay."""
    rows = rows[rows[:, -1] > 0]
    points, scores, boxes = rows[:, : 2 * COUNT].reshape(-1, COUNT, 2), rows[:, 2 * COUNT : 3 * COUNT], rows[:, -7:-3]
    return Poses(points, scores, boxes, box_scores=rows[:, -3], carried=rows[:, -2] > 0)
