"""Tracked people in ROS bags (`TrackedPoseArray`), read and written as a `LabelledSequence`."""

from __future__ import annotations

import logging
from pathlib import Path

from keytrack_ros.annotations.sequence import Image, LabelledSequence, from_poses
from keytrack_ros.errors import InputError
from keytrack_ros.media.bag_reader import read_poses
from keytrack_ros.media.bag_writer import BagWriter
from keytrack_ros.media.frames import DEFAULT_FPS
from keytrack_ros.timing import NANOSECONDS

logger = logging.getLogger(__name__)


def read_bag(path: Path, topic: str | None = None) -> LabelledSequence:
    """The people of a bag's topic of tracked poses, which need not be named where there is one.

    Raises InputError if it is not a bag that can be read, has no such topic, no message on it, or two people of a
    message have one id.
    """
    images, poses = [], []
    for frame in read_poses(path, topic):
        images.append(Image(size=frame.size, stamp_ns=frame.stamp_ns))
        poses.append(frame.poses)
    if not images:
        raise InputError(f"{path}: the bag has no message with tracked poses")
    return from_poses(path.stem, str(path), tuple(images), poses).checked()


def write_bag(sequence: LabelledSequence, path: Path, *, overwrite: bool = False) -> None:
    """Writes an MCAP bag. Images without a stamp are 1/25 s apart.

    A bag has no place for head boxes, ignore regions and unlabelled frames; a warning says which of them are lost.

    Raises OutputError if the bag exists or cannot be written.
    """
    lost = []
    if (sequence.head_boxes == sequence.head_boxes).any():
        lost.append("head boxes")
    if any(image.ignore_regions for image in sequence.images):
        lost.append("ignore regions")
    if not all(image.labelled for image in sequence.images):
        lost.append("which frames are unlabelled")
    if lost:
        logger.warning("%s: a bag cannot hold %s of %s", path, ", ".join(lost), sequence.source)
    with BagWriter(path, overwrite=overwrite) as bag:
        for k, image in enumerate(sequence.images):
            stamp_ns = image.stamp_ns if image.stamp_ns is not None else round(k * NANOSECONDS / DEFAULT_FPS)
            bag.write_poses(sequence.poses(k), stamp_ns, image.size or (0, 0))
