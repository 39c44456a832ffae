"""TrackedPoseArray without ROS: the package's own message types for `rosbags`, and poses to and from them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from keytrack_ros import skeleton
from keytrack_ros.errors import InputError
from keytrack_ros.media.sources import NANOSECONDS
from keytrack_ros.poses import Poses, TrackState

PACKAGE = "keytrack_ros"
TRACKED_POSES = "keytrack_ros/msg/TrackedPoseArray"


@cache
def typestore() -> Typestore:
    """The message types of ROS 2 and of this package.

    Raises InputError if the package's .msg files are nowhere to be found.
    """
    store = get_typestore(Stores.ROS2_KILTED)
    for file in sorted(_message_folder().glob("*.msg")):
        store.register(get_types_from_msg(file.read_text(encoding="utf-8"), f"{PACKAGE}/msg/{file.stem}"))
    return store


def _message_folder() -> Path:
    """The folder of our .msg files: in the source tree, or in share/ of the prefix that we are installed in."""
    package = Path(__file__).parent.parent
    prefixes = [*package.parents, *map(Path, filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(":")))]
    folders = [package.parent / "msg", *(prefix / "share" / PACKAGE / "msg" for prefix in prefixes)]
    for folder in folders:
        if (folder / "TrackedPoseArray.msg").is_file():
            return folder
    raise InputError(
        f"{package}: the message definitions (share/{PACKAGE}/msg) are not installed; build the package again"
    )


def poses_to_message(poses: Poses, stamp_ns: int, frame_id: str, size: tuple[int, int]) -> Any:
    """A TrackedPoseArray of `rosbags`; `size` is width and height of the image in pixels."""
    types = typestore().types
    people = [_person(types, poses, row) for row in range(len(poses))]
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
    return types[TRACKED_POSES](header=header, image_width=size[0], image_height=size[1], poses=people)


def _person(types: dict[str, Any], poses: Poses, row: int) -> Any:
    keypoint = types[f"{PACKAGE}/msg/Keypoint"]
    x_min, y_min, x_max, y_max = map(float, poses.boxes[row])
    return types[f"{PACKAGE}/msg/TrackedPose"](
        track_id=max(0, int(poses.track_ids[row])),
        score=float(poses.mean_scores[row]),
        match_score=float(poses.match_scores[row]),
        age=int(poses.ages[row]),
        state=int(poses.states[row]),
        carried=bool(poses.carried[row]),
        x_min=x_min,
        y_min=y_min,
        x_max=x_max,
        y_max=y_max,
        box_score=float(poses.box_scores[row]),
        keypoints=[
            keypoint(x=float(x), y=float(y), score=float(score))
            for (x, y), score in zip(poses.keypoints[row], poses.scores[row], strict=True)
        ],
    )


def message_to_poses(message: Any) -> Poses:
    """The poses of a TrackedPoseArray, be it from `rosbags` or from rclpy."""
    people = message.poses
    points = np.array([[(k.x, k.y, k.score) for k in person.keypoints] for person in people], np.float32)
    points = points.reshape(len(people), skeleton.COUNT, 3)
    return Poses(
        keypoints=points[..., :2],
        scores=points[..., 2],
        boxes=np.array([(p.x_min, p.y_min, p.x_max, p.y_max) for p in people]),
        box_scores=np.array([p.box_score for p in people]),
        carried=np.array([p.carried for p in people]),
        track_ids=np.array([p.track_id for p in people]),
        match_scores=np.array([p.match_score for p in people]),
        ages=np.array([p.age for p in people]),
        # Bags of before the field existed hold published poses, which were all that tracks had.
        states=np.array([getattr(p, "state", TrackState.CONFIRMED) for p in people]),
    )
