import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.training.pose.data import backgrounds, load_people
from test.training.pose.toy_poses import BOX, FIGURE, SIZE, person, write_data, write_source

KNEE, WRIST = skeleton.INDEX["left_knee"], skeleton.INDEX["right_wrist"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def test_people_have_their_keypoints_source_and_part(folder):
    people = load_people(folder)
    assert people.sources.tolist() == ["walk"] * 11
    assert people.held_back.tolist() == [False] * 9 + [True] * 2
    assert np.allclose(people.keypoints, FIGURE)
    assert people.present.all()
    assert (people.weights == 1).all()
    assert people.image(10).shape == (SIZE[1], SIZE[0], 3)
    assert people.boxes[0].tolist() == [BOX[0], BOX[1], BOX[0] + BOX[2], BOX[1] + BOX[3]]


def test_backgrounds_are_training_images_without_people(folder):
    assert len(backgrounds(load_people(folder))) == 1


def test_coco_keypoints_are_found_by_name_and_head_points_are_unknown(tmp_path):
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[skeleton.COCO17.index("left_knee")] = 5, 6, 2
    keypoints[skeleton.COCO17.index("left_ear")] = 1, 1, 2  # not one of the 15
    annotation = person(0, keypoints=keypoints.ravel().tolist(), num_keypoints=2)
    write_source(tmp_path, "coco_train", [annotation], 1, skeleton.COCO17)
    people = load_people(tmp_path)
    assert np.flatnonzero(people.present[0]).tolist() == [KNEE]
    assert people.keypoints[0, KNEE].tolist() == [5, 6]
    assert people.weights[0].sum() == 1


def test_weights_say_what_is_known_of_absent_keypoints(tmp_path):
    keypoints = np.concatenate([FIGURE, np.full((15, 1), 2)], 1)
    keypoints[[KNEE, WRIST]] = 0
    weights = [1.0] * 15
    weights[KNEE], weights[WRIST], weights[0] = 0.5, 0.0, 0.25
    write_source(tmp_path, "a_train", [person(0, keypoints=keypoints.ravel().tolist(), keypoint_weights=weights)], 1)
    people = load_people(tmp_path)
    assert (people.weights[0, KNEE], people.present[0, KNEE]) == (0.5, False)  # known not to be there
    assert (people.weights[0, WRIST], people.present[0, WRIST]) == (0, False)  # unknown
    assert (people.weights[0, 0], people.present[0, 0]) == (0.25, True)


def test_crowds_and_people_without_keypoints_keep_the_background_away(tmp_path):
    annotations = [person(0), person(0, iscrowd=1), person(0, num_keypoints=0), person(0, category_id=7)]
    write_source(tmp_path, "a_train", annotations, 1)
    people = load_people(tmp_path)
    assert len(people) == 1
    assert len(people.taken[0]) == 3
