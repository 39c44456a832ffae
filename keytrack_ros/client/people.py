"""People of one image as typed objects. Knows messages by their fields only, nothing of rclpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from keytrack_ros.client.velocity import BoxVelocities
from keytrack_ros.poses import FloatArray, TrackState
from keytrack_ros.skeleton import COUNT
from keytrack_ros.timing import NANOSECONDS


@dataclass(frozen=True, eq=False)
class Person:
    """One person in one image.

    Attributes:
        track_id: a name: the same person has the same one, and nobody else while the tracker lives.
        state: of the track; published are CONFIRMED ones, with the tracker's `publish_tentative` TENTATIVE ones too.
        keypoints: [15, 3] float32, read-only: x and y in pixels of the image, score 0..1; a missing one has score 0.
            Rows are named by `keytrack_ros.skeleton.NAMES`.
        box: [4] float32, read-only: x_min, y_min, x_max, y_max in pixels.
        score: mean score of the keypoints that are present, 0..1.
        age: frames since the track began, as the tracker counts them.
        velocity: of the box's centre, x and y in pixels a second; None until it is known.
        stamp: of the image, seconds.
    """

    track_id: int
    state: TrackState
    keypoints: FloatArray
    box: FloatArray
    score: float
    age: int
    velocity: tuple[float, float] | None
    stamp: float


@dataclass(frozen=True, eq=False)
class People(Sequence[Person]):
    """Everyone in one image; empty if nobody is in it.

    Attributes:
        persons: in the order of the message.
        stamp: of the image, seconds.
        frame_id: of the image.
        image_size: width and height of the image in pixels.
    """

    persons: tuple[Person, ...]
    stamp: float
    frame_id: str
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.persons)

    @overload
    def __getitem__(self, index: int) -> Person: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Person]: ...
    def __getitem__(self, index: int | slice) -> Person | Sequence[Person]:
        return self.persons[index]


def people_of(message: Any, velocities: BoxVelocities) -> People:
    """The people of a TrackedPoseArray, whose boxes `velocities` takes.

    A keypoint whose coordinate or score is not finite is missing.
    """
    stamp = message.header.stamp.sec + message.header.stamp.nanosec / NANOSECONDS
    boxes = {pose.track_id: (pose.x_min, pose.y_min, pose.x_max, pose.y_max) for pose in message.poses}
    centres = {key: ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for key, box in boxes.items()}
    moving = velocities.update(stamp, centres, {pose.track_id: pose.age for pose in message.poses})
    persons = tuple(
        Person(
            track_id=pose.track_id,
            state=TrackState(pose.state),
            keypoints=_keypoints(pose),
            box=_read_only(np.array(boxes[pose.track_id], np.float32)),
            score=pose.score,
            age=pose.age,
            velocity=moving[pose.track_id],
            stamp=stamp,
        )
        for pose in message.poses
    )
    return People(persons, stamp, message.header.frame_id, (message.image_width, message.image_height))


def _keypoints(pose: Any) -> FloatArray:
    points = np.array([(point.x, point.y, point.score) for point in pose.keypoints], np.float32).reshape(COUNT, 3)
    points[~np.isfinite(points).all(1)] = 0
    return _read_only(points)


def _read_only(array: FloatArray) -> FloatArray:
    array.setflags(write=False)
    return array
