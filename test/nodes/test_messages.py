"""Poses to messages and back, the skeleton's message, markers."""

from __future__ import annotations

import numpy as np
import pytest
from keytrack_ros.msg import TrackedPose, TrackedPoseArray
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from keytrack_ros import skeleton
from keytrack_ros.media.drawing import identity_color
from keytrack_ros.media.pose_messages import from_pose_array
from keytrack_ros.nodes.markers import METRES_PER_PIXEL, to_markers
from keytrack_ros.nodes.messages import ns_to_stamp, skeleton_info, stamp_to_ns, to_message
from keytrack_ros.poses import Poses

FIELDS = ("keypoints", "scores", "boxes", "box_scores", "carried", "track_ids", "match_scores", "ages")
HEADER = Header(stamp=ns_to_stamp(12_000_000_345), frame_id="front_camera")


def people(count: int) -> Poses:
    """Random people with ids; every other one is carried over, some keypoints are missing."""
    random = np.random.default_rng(count)
    scores = random.random((count, 15)).astype(np.float32)
    scores[scores < 0.2] = 0
    carried = np.arange(count) % 2 == 1
    return Poses(
        keypoints=random.uniform(0, 500, (count, 15, 2)),
        scores=scores,
        box_scores=np.where(carried, np.nan, random.random(count)),
        carried=carried,
        track_ids=np.arange(count) + 7,
        match_scores=random.random(count),
        ages=np.arange(count) * 3,
    )


@pytest.mark.parametrize("count", [0, 1, 3, 200])
def test_round_trip_through_dds_bytes_keeps_every_field(count: int) -> None:
    poses = people(count)
    sent = serialize_message(to_message(poses, HEADER, (640, 480)))
    message = deserialize_message(sent, TrackedPoseArray)
    assert message.header == HEADER
    assert (message.image_width, message.image_height) == (640, 480)
    back = from_pose_array(message)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(back, field), getattr(poses, field), err_msg=field)


def test_score_is_the_mean_of_the_keypoints_that_are_there() -> None:
    scores = np.zeros((1, 15), np.float32)
    scores[0, :2] = 0.5, 1.0
    message = to_message(Poses(np.zeros((1, 15, 2)), scores, track_ids=np.array([1])), HEADER, (4, 4))
    assert message.poses[0].score == pytest.approx(0.75)


def test_poses_without_ids_are_not_published() -> None:
    with pytest.raises(ValueError, match="without a track id"):
        to_message(Poses(np.zeros((1, 15, 2)), np.ones((1, 15))), HEADER, (4, 4))


def test_index_constants_of_the_message_are_those_of_the_skeleton() -> None:
    assert TrackedPose.NUM_KEYPOINTS == skeleton.COUNT
    for index, name in enumerate(skeleton.NAMES):
        assert getattr(TrackedPose, name.upper()) == index


def test_skeleton_info_holds_names_edges_pairs_and_sigmas() -> None:
    info = skeleton_info()
    assert tuple(info.names) == skeleton.NAMES
    assert list(zip(info.edges[::2], info.edges[1::2], strict=True)) == list(skeleton.EDGES)
    assert info.names[info.mirrored[info.names.index("left_knee")]] == "right_knee"
    np.testing.assert_allclose(info.oks_sigmas, skeleton.SIGMAS)


@pytest.mark.parametrize("nanoseconds", [0, 1, 999_999_999, 1_700_000_000_123_456_789, -500_000_000])
def test_stamps_keep_every_nanosecond(nanoseconds: int) -> None:
    assert stamp_to_ns(ns_to_stamp(nanoseconds)) == nanoseconds


def test_markers_lie_in_the_image_plane_in_the_identitys_colour() -> None:
    keypoints, scores = np.zeros((1, 15, 2), np.float32), np.zeros((1, 15), np.float32)
    hip, knee, ankle = (skeleton.INDEX[f"left_{name}"] for name in ("hip", "knee", "ankle"))
    for index, place in ((hip, (420, 300)), (knee, (420, 340)), (ankle, (430, 380))):
        keypoints[0, index], scores[0, index] = place, 0.9
    poses = Poses(keypoints, scores, track_ids=np.array([12]))
    clear, limbs, dots, label = to_markers(poses, HEADER, (640, 480)).markers

    assert clear.action == Marker.DELETEALL
    assert [m.header for m in (clear, limbs, dots, label)] == [HEADER] * 4
    assert {(m.ns, m.id) for m in (limbs, dots, label)} == {("limbs", 12), ("keypoints", 12), ("ids", 12)}
    assert len(dots.points) == 3
    assert len(limbs.points) == 4  # hip to knee and knee to ankle; limbs with a missing end are not drawn
    first = limbs.points[0]
    assert (first.x, first.y, first.z) == pytest.approx((100 * METRES_PER_PIXEL, 60 * METRES_PER_PIXEL, 0))
    assert label.text == "12"
    blue, green, red = identity_color(12)
    assert [limbs.color.r, limbs.color.g, limbs.color.b] == pytest.approx([red / 255, green / 255, blue / 255])


def test_an_empty_scene_clears_the_markers_of_the_last() -> None:
    assert [m.action for m in to_markers(Poses.empty(), HEADER, (640, 480)).markers] == [Marker.DELETEALL]
