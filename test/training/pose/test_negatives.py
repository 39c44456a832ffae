import numpy as np
import pytest

from keytrack_ros.training.pose.data import load_people
from keytrack_ros.training.pose.negatives import TOUCHED, draw_background, touched
from test.training.pose.toy_poses import BOX, write_data


def test_how_much_of_a_box_is_taken():
    box = np.array([0, 0, 10, 10], np.float32)
    assert touched(box, np.zeros((0, 4), np.float32)) == 0
    taken = np.array([[5, 0, 20, 10], [8, 8, 30, 30]], np.float32)
    assert touched(box, taken) == pytest.approx(0.5)  # the larger of a half and 4 of 100


def test_background_is_drawn_beside_people_and_from_images_without_any(tmp_path):
    people = load_people(write_data(tmp_path))
    rng = np.random.default_rng(0)
    aspect, empty = BOX[2] / BOX[3], 0
    found = [draw_background(people, False, rng) for _ in range(60)]
    for background in filter(None, found):
        box = background.box
        assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(aspect, rel=1e-3)
        assert (box >= 0).all()
        assert (box[2:] <= background.image.shape[1::-1]).all()
        (index,) = (k for k, picture in enumerate(people.pictures) if picture is background.image)
        assert touched(box, people.taken[index]) <= TOUCHED
        assert not people.held_back_pictures[index]
        empty += not len(people.taken[index])
    assert 15 < empty <= 60
    held_back = draw_background(people, True, rng)
    assert held_back is not None
    assert any(held_back.image is p for p, h in zip(people.pictures, people.held_back_pictures, strict=True) if h)
