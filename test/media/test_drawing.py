"""Drawing: what must be seen where, and which colours are told apart."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from keytrack_ros.media.drawing import Trails, draw_poses, identity_color
from keytrack_ros.poses import Poses
from keytrack_ros.skeleton import INDEX
from test.toy import keypoints_of


def person(x: float, y: float, track_id: int = 1, **fields: object) -> Poses:
    return Poses(keypoints_of(x, y)[None], np.full((1, 15), 0.9), track_ids=np.array([track_id]), **fields)  # type: ignore[arg-type]


def background(level: int = 90) -> np.ndarray:
    return np.full((576, 768, 3), level, np.uint8)


def lab(color: tuple[int, int, int]) -> np.ndarray:
    return cv2.cvtColor(np.array([[color]], np.float32) / 255, cv2.COLOR_BGR2LAB)[0, 0]


def test_colours_are_stable() -> None:
    assert identity_color(5) == identity_color(5)
    assert identity_color(0) != identity_color(1)
    assert all(0 <= c <= 255 for i in (0, 1, 10**9, 2**32 - 1) for c in identity_color(i))


def test_twelve_neighbouring_ids_are_told_apart() -> None:
    # CIE Lab: 2 is just noticeable; 20 is a different colour to anyone.
    for first in (0, 7, 1000):
        colors = [lab(identity_color(first + i)) for i in range(12)]
        apart = [np.linalg.norm(a - b) for i, a in enumerate(colors) for b in colors[:i]]
        assert min(apart) > 20


def test_changes_are_at_the_person_and_nowhere_else() -> None:
    image = background()
    before = image.copy()
    poses = person(400, 300)
    drawn = draw_poses(image, poses)
    np.testing.assert_array_equal(image, before)  # drawn into a copy
    changed = (drawn != before).any(-1)
    for x, y in poses.keypoints[0].round().astype(int):
        assert changed[y, x]
    rows, columns = np.nonzero(changed)
    assert columns.min() > 400 - 60
    assert columns.max() < 400 + 60
    assert rows.min() > 300 - 80 - 40  # the label stands above the head
    assert rows.max() < 300 + 90


def test_the_keypoint_has_the_identitys_colour() -> None:
    drawn = draw_poses(background(), person(400, 300, track_id=4))
    x, y = keypoints_of(400, 300)[INDEX["left_wrist"]].round().astype(int)
    assert tuple(drawn[y, x].tolist()) == identity_color(4)


def test_right_limbs_are_darker() -> None:
    drawn = draw_poses(background(), person(400, 300))
    points = keypoints_of(400, 300).round().astype(int)
    left, right = (drawn[points[INDEX[name]][1], points[INDEX[name]][0]].sum() for name in ("left_knee", "right_knee"))
    assert right < 0.8 * left


def test_missing_keypoints_and_their_limbs_are_not_drawn() -> None:
    scores = np.zeros((1, 15))
    scores[0, INDEX["left_wrist"]] = 0.9
    poses = Poses(keypoints_of(400, 300)[None], scores, boxes=np.array([[360, 210, 440, 390]]))
    changed = (draw_poses(background(), poses) != background()).any(-1)
    x, y = keypoints_of(400, 300)[INDEX["left_knee"]].round().astype(int)
    assert not changed[y - 5 : y + 6, x - 5 : x + 6].any()


def test_a_carried_pose_is_dashed_and_hollow() -> None:
    solid = draw_poses(background(), person(400, 300))
    dashed = draw_poses(background(), person(400, 300, carried=np.array([True])))
    x, y = keypoints_of(400, 300)[INDEX["left_ankle"]].round().astype(int)

    def count(image: np.ndarray) -> int:
        return int((image != background()).any(-1).sum())

    assert count(dashed) < 0.9 * count(solid)
    shin = slice(y - 30, y - 4), slice(x - 1, x + 2)
    assert (solid[shin] != 90).any(-1).all()
    assert not (dashed[shin] != 90).any(-1).all()


@pytest.mark.parametrize("level", [0, 90, 255])
def test_the_label_can_be_read_on_any_background(level: int) -> None:
    for track_id in range(1, 8):
        drawn = draw_poses(background(level), person(400, 300, track_id))
        label = drawn[208:232, 385:415].reshape(-1, 3).astype(int)
        ground = np.array(identity_color(track_id))
        grey = label @ (0.114, 0.587, 0.299)
        inked = np.abs(grey - ground @ (0.114, 0.587, 0.299)) > 60
        assert inked.sum() > 10


@pytest.mark.parametrize(("x", "y"), [(0, 0), (767, 575), (-500, 100), (1e7, -1e7)])
def test_people_at_and_beyond_the_border(x: float, y: float) -> None:
    assert draw_poses(background(), person(x, y)).shape == (576, 768, 3)


def test_nobody_and_no_id() -> None:
    np.testing.assert_array_equal(draw_poses(background(), Poses.empty()), background())
    grey = draw_poses(background(), person(400, 300, track_id=-1))
    assert (np.ptp(grey.reshape(-1, 3).astype(int), axis=1) <= 1).all()  # no colour anywhere


def test_trails_are_bounded_and_end_with_their_person() -> None:
    trails = Trails(length=10, patience=2)
    for frame in range(500):
        trails.update(person(100 + frame, 300, track_id=frame // 100))
    ((track_id, path),) = trails
    assert track_id == 4
    assert len(path) == 10
    np.testing.assert_allclose(np.diff(path[:, 0]), 1, atol=1e-3)
    for _ in range(2):
        trails.update(Poses.empty())
    assert len(trails) == 1
    trails.update(Poses.empty())
    assert len(trails) == 0


def test_a_trail_is_drawn_where_the_person_was() -> None:
    trails = Trails()
    for x in range(100, 400, 10):
        trails.update(person(x, 300))
    changed = (draw_poses(background(), Poses.empty(), trails=trails) != background()).any(-1)
    rows, columns = np.nonzero(changed)
    assert columns.min() < 110
    assert columns.max() > 380
    assert np.ptp(rows) < 10
