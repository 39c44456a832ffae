"""People as typed objects, from messages made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from keytrack_ros.client import TrackState
from keytrack_ros.client.people import people_of
from keytrack_ros.client.velocity import BoxVelocities
from keytrack_ros.skeleton import INDEX
from test.nodes.tracker_messages import poses_message


def test_every_field_is_that_of_the_message():
    message = poses_message(12.25, {7: (100, 200), 9: (400, 300)}, age=3, state=TrackState.TENTATIVE)
    people = people_of(message, BoxVelocities())
    assert (len(people), people.stamp, people.frame_id, people.image_size) == (2, 12.25, "camera", (800, 600))
    first, second = people
    assert (first.track_id, second.track_id) == (7, 9)
    assert (first.state, first.age, first.stamp, first.velocity) == (TrackState.TENTATIVE, 3, 12.25, None)
    assert first.score == pytest.approx(0.9)
    assert first.box.tolist() == [70, 120, 130, 280]
    assert first.keypoints.shape == (15, 3)
    nose = message.poses[0].keypoints[INDEX["nose"]]
    assert first.keypoints[INDEX["nose"]].tolist() == pytest.approx([nose.x, nose.y, 0.9])


def test_arrays_cannot_be_changed_by_one_of_several_callbacks():
    person = people_of(poses_message(1.0, {1: (100, 200)}), BoxVelocities())[0]
    for array in (person.keypoints, person.box):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


def test_nobody_is_an_empty_sequence():
    people = people_of(poses_message(1.0, {}), BoxVelocities())
    assert list(people) == []
    assert people.image_size == (800, 600)


def test_a_keypoint_that_is_not_finite_is_missing():
    message = poses_message(1.0, {1: (100, 200)})
    message.poses[0].keypoints[4].x = float("nan")
    keypoints = people_of(message, BoxVelocities())[0].keypoints
    assert keypoints[4].tolist() == [0, 0, 0]
    assert np.count_nonzero(keypoints[:, 2]) == 14


def test_velocity_is_of_the_boxs_centre():
    velocities = BoxVelocities()
    for number in range(4):  # grows downwards by 8 pixels an image: its centre moves 4
        message = poses_message(5 + number / 10, {1: (100 + 10 * number, 200)}, age=number)
        message.poses[0].y_max += 8 * number
        people = people_of(message, velocities)
    assert people[0].velocity == pytest.approx((100, 40), abs=1e-3)
