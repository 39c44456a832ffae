import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keytrack_ros.geometry import oks
from keytrack_ros.poses import Poses
from keytrack_ros.toks import ToksOptions, carried_boxes, keep_best, not_detected
from test.people import people

SIZE = (768, 576)


def test_box_of_the_past_grows_by_alpha_about_its_centre():
    # keypoints span 48 x 128 px about (100, 200); times 1.25: 60 x 160
    np.testing.assert_allclose(carried_boxes(people((100, 200)), SIZE, ToksOptions()), [[70, 120, 130, 280]], atol=1e-4)


def test_boxes_end_at_the_image_and_people_outside_propose_none():
    boxes = carried_boxes(people((10, 200), (-100, 200), (760, 570), (2000, 2000)), SIZE, ToksOptions())
    np.testing.assert_allclose(boxes, [[0, 120, 40, 280], [730, 490, 768, 576]], atol=1e-4)


def test_keypoints_that_are_not_sure_do_not_widen_the_box():
    keypoints, scores = people((100, 200)).keypoints.copy(), np.full((1, 15), 0.9)
    keypoints[0, 7], scores[0, 7] = (700, 500), 0.05
    np.testing.assert_allclose(
        carried_boxes(Poses(keypoints, scores), SIZE, ToksOptions()), [[70, 120, 130, 280]], atol=4
    )


def test_people_with_fewer_than_two_sure_keypoints_propose_none():
    scores = np.zeros((2, 15))
    scores[0, 2] = 0.9
    assert carried_boxes(people((100, 200), (300, 300)).with_fields(scores=scores), SIZE, ToksOptions()).shape == (0, 4)
    assert carried_boxes(Poses.empty(), SIZE, ToksOptions()).shape == (0, 4)


def test_boxes_that_a_detected_one_covers_are_not_estimated_again():
    # 60 x 160 px boxes, 12 px apart: IoU = 48 / 72 = 2/3; 20 px apart: 40 / 80 = 1/2
    carried = np.array([[0, 0, 60, 160], [200, 0, 260, 160], [400, 0, 460, 160]], np.float32)
    detected = np.array([[12, 0, 72, 160], [220, 0, 280, 160]], np.float32)
    assert not_detected(carried, detected, ToksOptions(skip_iou=0.6)).tolist() == carried[1:].tolist()
    assert not_detected(carried, detected, ToksOptions(skip_iou=0.4)).tolist() == carried[2:].tolist()
    assert not_detected(carried, carried, ToksOptions(skip_iou=1.0)).tolist() == carried.tolist()
    assert not_detected(carried, np.zeros((0, 4)), ToksOptions()).tolist() == carried.tolist()
    assert not_detected(carried[:0], detected, ToksOptions()).shape == (0, 4)


def test_of_two_duplicates_the_detected_one_stays_or_as_in_the_paper_the_one_with_the_higher_score():
    weak_but_detected = people((100, 200), score=0.5)
    sure_and_carried = people((102, 200), score=0.8, carried=[True], box_scores=[np.nan])
    both, paper = Poses.concatenate([weak_but_detected, sure_and_carried]), ToksOptions(detected_first=False)
    assert keep_best(both, ToksOptions()).tolist() == [0]
    assert keep_best(both[[1, 0]], ToksOptions()).tolist() == [1]
    assert keep_best(both, paper).tolist() == [1]
    assert keep_best(both[[1, 0]], paper).tolist() == [0]


def test_of_two_detected_duplicates_the_one_with_the_higher_score_stays():
    poses = Poses.concatenate([people((100, 200), score=0.5), people((102, 200), score=0.8)])
    assert keep_best(poses, ToksOptions()).tolist() == [1]


def test_two_people_with_the_pose_of_the_one_in_front_are_not_merged():
    # The pose network gave both boxes the same keypoints; half of each box is the other's: they are two people.
    boxes = np.array([[70, 120, 130, 280], [100, 120, 160, 280]], np.float32)
    poses = people((100, 200), (100, 200)).with_fields(boxes=boxes)
    assert keep_best(poses, ToksOptions()).tolist() == [0, 1]
    assert keep_best(poses, ToksOptions(duplicate_overlap=0.0)).tolist() == [0]


def test_one_person_boxed_twice_is_merged():
    # The whole body and its upper half: IoU is only 0.5, but the smaller box lies in the larger.
    boxes = np.array([[70, 120, 130, 280], [70, 120, 130, 200]], np.float32)
    poses = people((100, 200), (101, 200)).with_fields(boxes=boxes, scores=np.repeat([[0.9], [0.8]], 15, 1))
    assert keep_best(poses, ToksOptions()).tolist() == [0]


def test_a_carried_pose_of_a_person_whom_the_detector_missed_stays():
    poses = Poses.concatenate([people((100, 200)), people((300, 200), carried=[True])])
    assert keep_best(poses, ToksOptions()).tolist() == [0, 1]


def test_ghosts_die_and_weak_detections_do_not():
    poses = Poses.concatenate([people((300, 200), score=0.2, carried=[True]), people((500, 200), score=0.2)])
    assert keep_best(poses, ToksOptions(minimum_score=0.25)).tolist() == [1]


def test_equal_scores_keep_the_detected_pose():
    poses = Poses.concatenate([people((100, 200)), people((100, 200), carried=[True])])
    assert keep_best(poses, ToksOptions()).tolist() == [0]
    assert keep_best(Poses.empty(), ToksOptions()).tolist() == []


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.floats(0, 1))
def test_kept_poses_differ_and_each_removed_one_resembles_one_with_a_higher_score(seed, count, threshold):
    rng = np.random.default_rng(seed)
    places = [tuple(rng.uniform((100, 100), (200, 200))) for _ in range(count)]
    poses = people(*places).with_fields(scores=rng.uniform(0.3, 1, (count, 15)))
    kept = keep_best(poses, ToksOptions(oks_threshold=threshold, duplicate_overlap=0.0))
    likeness = oks(poses, poses)
    for a in kept:
        assert all(likeness[a, b] <= threshold for b in kept if b != a)
    for gone in set(range(count)) - set(kept.tolist()):
        higher = [k for k in kept if poses.mean_scores[k] >= poses.mean_scores[gone]]
        assert likeness[gone, higher].max() > threshold
