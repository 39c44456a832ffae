"""Frames of a video, folder or bag as the inputs that the networks will see, for INT8 to be calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from keytrack_ros.detection import Detector, DetectorOptions, yolox
from keytrack_ros.errors import DataError
from keytrack_ros.estimation.crops import crop_image, crop_transforms
from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.inference.images import network_input
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.session import Array
from keytrack_ros.media.sources import open_source
from keytrack_ros.poses import ImageArray

MIN_SAMPLES = 50
"""Frames (detector) or crops of people (pose network) below which ranges are not representative."""

Batch = dict[str, Array]


def read_images(source: str, count: int) -> list[ImageArray]:
    """At most `count` frames, evenly spaced where the source knows its length. Raises InputError."""
    with open_source(source) as frames:
        total = frames.total or count
    with open_source(source, every=max(1, ceil(total / count)), frames=count) as frames:
        return [frame.image_bgr for frame in frames]


def calibration_batches(
    card: DetectorCard | PoseCard,
    images: Sequence[ImageArray],
    detector: DetectorOptions,
    inference: InferenceOptions,
    min_samples: int = MIN_SAMPLES,
) -> list[Batch]:
    """Inputs of the network, one image each: frames for a detector, crops of detected people for a pose network.

    Args:
        card: of the network.
        images: frames.
        detector: which detector finds the people for a pose network.
        inference: where networks are found.
        min_samples: how many inputs are needed.

    Raises DataError if there are fewer inputs.
    """
    if isinstance(card, DetectorCard):
        what, inputs = "frames", [yolox.letterbox(image, card.input.size, card.fill)[0] for image in images]
    else:
        what, inputs = "people found by the detector", _crops(card, images, detector, inference)
    if len(inputs) < min_samples:
        raise DataError(
            f"--images: {len(inputs)} {what}; at least {min_samples} are needed to calibrate {card.name}: name a "
            "longer video, or more images like those of your camera"
        )
    return [{card.input.name: network_input([image], card.input)} for image in inputs]


def _crops(
    card: PoseCard, images: Sequence[ImageArray], options: DetectorOptions, inference: InferenceOptions
) -> list[ImageArray]:
    detector = Detector(options, replace(inference, device="cpu", backend="auto"))
    crops: list[ImageArray] = []
    for image in images:
        boxes, _ = detector.detect(image)
        crops += crop_image(image, crop_transforms(boxes, card.input.size, card.padding), card.input.size)
    detector.close()
    return crops
