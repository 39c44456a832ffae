"""Images of the user's as the inputs that the networks will see, for int8 engines to be calibrated on."""

from __future__ import annotations

from dataclasses import replace

from keytrack_ros.detection import Detector, yolox
from keytrack_ros.errors import DataError
from keytrack_ros.estimation.crops import crop_image, crop_transforms
from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.inference.images import network_input
from keytrack_ros.inference.session import Array
from keytrack_ros.media.sources import open_source
from keytrack_ros.pipeline import PipelineOptions
from keytrack_ros.poses import ImageArray

FRAMES = 100
"""Frames that are looked at; for ranges of numbers more tell nothing new."""

Batch = dict[str, Array]


def read_images(source: str) -> list[ImageArray]:
    """The first 100 frames of a video, folder of images or bag. Raises InputError."""
    with open_source(source, frames=FRAMES) as frames:
        return [frame.image_bgr for frame in frames]


def detector_batches(card: DetectorCard, images: list[ImageArray]) -> list[Batch]:
    """What the detector is fed with, one image each."""
    boxed = (yolox.letterbox(image, card.input.size, card.fill)[0] for image in images)
    return [{card.input.name: network_input([image], card.input)} for image in boxed]


def pose_batches(card: PoseCard, images: list[ImageArray], options: PipelineOptions) -> list[Batch]:
    """What the pose network is fed with: the people whom the detector finds, one each.

    Raises DataError if it finds nobody.
    """
    detector = Detector(options.detector, replace(options.inference, device="cpu", backend="auto"))
    size = card.input.size
    batches: list[Batch] = []
    for image in images:
        boxes, _ = detector.detect(image)
        crops = crop_image(image, crop_transforms(boxes, size, card.padding), size)
        batches += [{card.input.name: network_input([crop], card.input)} for crop in crops]
    if not batches:
        raise DataError("--images: the detector finds nobody in them; the pose network needs images with people")
    return batches
