"""`Poses` as a TrackedPoseArray and back, for the message classes of rclpy and of rosbags alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.poses import Poses, TrackState


class PoseMessageTypes(NamedTuple):
    """The classes of the three messages, which take their fields as keywords."""

    array: type[Any]
    pose: type[Any]
    keypoint: type[Any]


def to_pose_array(poses: Poses, header: Any, size: tuple[int, int], types: PoseMessageTypes) -> Any:
    """Tracked people as a TrackedPoseArray.

    Args:
        poses: P people; one without an id gets id 0.
        header: of the image; it is taken as it is.
        size: width and height of the image in pixels.
        types: the message classes.
    """
    points = np.concatenate([poses.keypoints, poses.scores[..., None]], 2).tolist()  # [P, 15, 3]
    boxes, box_scores, scores = poses.boxes.tolist(), poses.box_scores.tolist(), poses.mean_scores.tolist()
    match_scores, ages, carried = poses.match_scores.tolist(), poses.ages.tolist(), poses.carried.tolist()
    states = poses.states.tolist()
    people = [
        types.pose(
            track_id=max(0, track_id),
            score=scores[row],
            match_score=match_scores[row],
            age=ages[row],
            state=states[row],
            carried=carried[row],
            x_min=boxes[row][0],
            y_min=boxes[row][1],
            x_max=boxes[row][2],
            y_max=boxes[row][3],
            box_score=box_scores[row],
            keypoints=[types.keypoint(x=x, y=y, score=score) for x, y, score in points[row]],
        )
        for row, track_id in enumerate(poses.track_ids.tolist())
    ]
    return types.array(header=header, image_width=size[0], image_height=size[1], poses=people)


def from_pose_array(message: Any) -> Poses:
    """The poses of a TrackedPoseArray."""
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
