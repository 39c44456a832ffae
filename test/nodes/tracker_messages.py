"""Messages of a tracker, made by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from keytrack_ros.msg import TrackedPoseArray
from std_msgs.msg import Header

from keytrack_ros.nodes.messages import ns_to_stamp, to_message
from keytrack_ros.poses import Poses, TrackState
from test.people import people

SIZE = (800, 600)


def poses_message(
    stamp_s: float,
    places: Mapping[int, tuple[float, float]],
    age: int = 0,
    *,
    height: float = 160.0,
    state: TrackState = TrackState.CONFIRMED,
) -> TrackedPoseArray:
    """People in an image of 800 x 600: by id the centre of a box 60 pixels wide and `height` high."""
    count = len(places)
    poses = people(*places.values()) if count else Poses.empty()
    boxes = np.array([(x - 30, y - height / 2, x + 30, y + height / 2) for x, y in places.values()])
    poses = poses.with_fields(
        boxes=boxes.reshape(count, 4),
        track_ids=np.array(list(places), np.int64),
        ages=np.full(count, age),
        states=np.full(count, state, np.uint8),
    )
    return to_message(poses, Header(stamp=ns_to_stamp(round(stamp_s * 1e9)), frame_id="camera"), SIZE)
