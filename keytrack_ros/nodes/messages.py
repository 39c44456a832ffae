"""`Poses` → TrackedPoseArray, the skeleton as a message, stamps as numbers.

The way back, which needs no ROS, is `keytrack_ros.media.messages.message_to_poses`.
"""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from keytrack_ros import skeleton
from keytrack_ros.media.sources import NANOSECONDS
from keytrack_ros.msg import Keypoint, SkeletonInfo, TrackedPose, TrackedPoseArray
from keytrack_ros.poses import Poses


def to_message(poses: Poses, header: Header, frame_size: tuple[int, int]) -> TrackedPoseArray:
    """Tracked people as a message.

    Args:
        poses: P people, all with an id.
        header: of the image; it is taken as it is.
        frame_size: width and height of the image in pixels.

    Raises:
        ValueError: a pose has no id yet.
    """
    if len(poses) and poses.track_ids.min() < 1:
        raise ValueError("a pose without a track id cannot be published")
    scores = poses.mean_scores.tolist()
    points = np.concatenate([poses.keypoints, poses.scores[..., None]], 2).tolist()  # [P, 15, 3]
    boxes, box_scores = poses.boxes.tolist(), poses.box_scores.tolist()
    message = TrackedPoseArray(header=header, image_width=frame_size[0], image_height=frame_size[1])
    message.poses = [
        TrackedPose(
            track_id=int(poses.track_ids[row]),
            score=scores[row],
            match_score=float(poses.match_scores[row]),
            age=int(poses.ages[row]),
            carried=bool(poses.carried[row]),
            x_min=boxes[row][0],
            y_min=boxes[row][1],
            x_max=boxes[row][2],
            y_max=boxes[row][3],
            box_score=box_scores[row],
            keypoints=[Keypoint(x=x, y=y, score=score) for x, y, score in points[row]],
        )
        for row in range(len(poses))
    ]
    return message


def skeleton_info() -> SkeletonInfo:
    """What the keypoints mean, as it is published once."""
    return SkeletonInfo(
        names=list(skeleton.NAMES),
        edges=[index for edge in skeleton.EDGES for index in edge],
        mirrored=list(skeleton.MIRRORED),
        oks_sigmas=skeleton.SIGMAS.tolist(),
    )


def stamp_to_ns(stamp: Time) -> int:
    """A stamp as whole nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def ns_to_stamp(nanoseconds: int) -> Time:
    """Whole nanoseconds as a stamp."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return Time(sec=seconds, nanosec=rest)
