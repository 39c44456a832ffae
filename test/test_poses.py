import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError
from keytrack_ros.poses import Poses, keypoint_boxes
from test.people import people


def test_fields_have_the_documented_dtypes_and_defaults():
    poses = people((100, 100), (300, 200))
    assert {name: getattr(poses, name).dtype.name for name in Poses.__dataclass_fields__} == {
        "keypoints": "float32",
        "scores": "float32",
        "boxes": "float32",
        "box_scores": "float32",
        "carried": "bool",
        "track_ids": "int64",
        "match_scores": "float32",
        "ages": "int64",
        "states": "uint8",
    }
    assert poses.track_ids.tolist() == [-1, -1]
    # The toy person's keypoints span 0.8 of 60 x 160 px.
    np.testing.assert_allclose(poses.boxes[0], [76, 36, 124, 164], atol=1e-4)


def test_arrays_are_copies_and_read_only():
    keypoints, scores = np.ones((1, 15, 2)), np.ones((1, 15))
    poses = Poses(keypoints, scores)
    keypoints[:] = 7
    assert poses.keypoints.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        poses.scores[0, 0] = 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_keypoint_that_is_not_finite_becomes_missing(bad):
    keypoints, scores = np.ones((2, 15, 2)), np.ones((2, 15))
    keypoints[0, 3, 1] = bad
    scores[1, 5] = bad
    poses = Poses(keypoints, scores)
    assert poses.scores[0, 3] == 0
    assert poses.keypoints[0, 3].tolist() == [0, 0]
    assert poses.scores[1, 5] == 0
    assert poses.visible.sum() == 28
    assert np.isfinite(poses.boxes).all()


def test_wrong_shapes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"Poses\.keypoints has shape \(2, 17, 2\); \(2, 15, 2\) was expected"):
        Poses(np.zeros((2, 17, 2)), np.zeros((2, 15)))
    with pytest.raises(ValueError, match=r"Poses\.boxes has shape \(3, 4\)"):
        Poses(np.zeros((2, 15, 2)), np.zeros((2, 15)), boxes=np.zeros((3, 4)))


def test_empty_concatenate_and_select():
    assert len(Poses.empty()) == 0
    assert Poses.empty().keypoints.shape == (0, 15, 2)
    assert len(Poses([], [])) == 0
    both = Poses.concatenate([people((1, 1), track_ids=[4]), Poses.empty(), people((9, 9), track_ids=[6])])
    assert both.track_ids.tolist() == [4, 6]
    assert both[both.track_ids == 6].keypoints.tolist() == people((9, 9)).keypoints.tolist()
    assert both[1].keypoints.shape == (1, 15, 2)
    assert len(both[[]]) == 0
    assert len(Poses.concatenate([])) == 0


def test_mean_score_counts_only_keypoints_that_are_present():
    scores = np.zeros((2, 15))
    scores[0, :3] = [0.2, 0.4, 0.9]
    poses = Poses(np.ones((2, 15, 2)), scores)
    np.testing.assert_allclose(poses.mean_scores, [0.5, 0.0], rtol=1e-6)


def test_box_of_a_pose_without_keypoints_is_zero():
    assert keypoint_boxes(np.ones((1, 15, 2), np.float32), np.zeros((1, 15), np.float32)).tolist() == [[0, 0, 0, 0]]


def test_skeleton_is_posetracks():
    assert skeleton.NAMES[:3] == ("nose", "head_bottom", "head_top")
    assert skeleton.COUNT == 15
    assert skeleton.MIRRORED == (0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13)
    np.testing.assert_allclose(
        skeleton.SIGMAS,
        [0.026, 0.079, 0.079, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089],
    )
    assert len(skeleton.POSETRACK17) == 17
    assert skeleton.POSETRACK17.index("left_shoulder") == 5


def test_channels_of_known_joint_sets():
    # COCO has no head points; MPII has no nose, and its upper_neck is head_bottom.
    assert skeleton.channels_of(skeleton.COCO17) == (0, -1, -1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
    assert skeleton.channels_of(skeleton.MPII16) == (-1, 8, 9, 13, 12, 14, 11, 15, 10, 3, 2, 4, 1, 5, 0)
    with pytest.raises(ModelError, match="unknown joint 'left_antenna'; known are nose, "):
        skeleton.channels_of(["nose", "left_antenna"])
    with pytest.raises(ModelError, match="joint 'nose' is named twice"):
        skeleton.channels_of(["nose", "nose"])


class TestForeignKeypoints:
    def test_scores_of_other_scales_are_refused(self) -> None:
        for scores in (np.full((1, 15), 87.0), np.full((1, 15), -2.4)):
            with pytest.raises(
                ValueError, match=r"Poses\.scores has values from .* confidences within 0\.\.1 are needed"
            ):
                Poses(np.zeros((1, 15, 2)), scores)
        assert len(Poses(np.zeros((1, 15, 2)), np.full((1, 15), 1.0005))) == 1  # rounding
        with pytest.raises(ValueError, match=r"Poses\.box_scores has values from 87 to 87"):
            Poses(np.zeros((2, 15, 2)), np.ones((2, 15)), box_scores=[87, np.nan])
        eyes = np.where(np.arange(17) == 1, 5.0, 0.5)[None]  # of keypoints that are not used here, too
        with pytest.raises(ValueError, match=r"scores has values from 0\.5 to 5"):
            Poses.from_coco17(np.zeros((1, 17, 2)), eyes)

    def test_coco_keypoints_with_head_points_derived(self) -> None:
        points = np.zeros((2, 17, 3))
        points[..., :2] = np.arange(17)[:, None] * 10
        points[..., 2] = 0.8
        points[0, 0] = (100, 20, 0.9)  # nose
        points[0, 5], points[0, 6] = (120, 60, 0.7), (80, 60, 0.6)  # shoulders: the middle is 100, 60
        poses = Poses.from_coco17(points)
        head_bottom, head_top = skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"]
        np.testing.assert_allclose(poses.keypoints[0, head_top], (100, 60 - 1.47 * 40), atol=1e-4)
        np.testing.assert_allclose(poses.keypoints[0, head_bottom], (100, 60 - 0.28 * 40), atol=1e-4)
        np.testing.assert_allclose(poses.scores[0, [head_bottom, head_top]], 0.6)  # the weakest of the three
        np.testing.assert_allclose(poses.keypoints[1, skeleton.INDEX["right_ankle"]], (160, 160))
        same = Poses.from_coco17(points[..., :2], points[..., 2])
        np.testing.assert_array_equal(same.keypoints, poses.keypoints)

    def test_other_layouts(self) -> None:
        mpii = Poses.from_layout(np.tile(np.arange(16.0)[:, None], 2)[None], layout="mpii16")
        assert mpii.keypoints[0, skeleton.INDEX["head_top"], 0] == 9
        assert mpii.keypoints[0, skeleton.INDEX["head_bottom"], 0] == 8  # MPII's upper neck
        assert mpii.scores[0, skeleton.INDEX["nose"]] == 0
        posetrack = Poses.from_layout(np.tile(np.arange(17.0)[:, None], 2)[None], layout="posetrack17")
        assert posetrack.keypoints[0, skeleton.INDEX["left_shoulder"], 0] == 5
        named = Poses.from_layout([[[1, 2], [3, 4]]], [[0.5, 0]], ["left_knee", "nose"])
        assert named.keypoints[0, skeleton.INDEX["left_knee"]].tolist() == [1, 2]
        assert named.visible.sum() == 1
        assert len(Poses.from_coco17(np.zeros((0, 17, 3)))) == 0

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((np.zeros((1, 15, 2)),), r"keypoints has shape \(1, 15, 2\); \(people, 17, 2 or 3\) is needed"),
            ((np.zeros((1, 17, 2)), np.zeros((2, 17))), r"scores has shape \(2, 17\)"),
            ((np.zeros((1, 17, 2)), None, "body25"), "layout 'body25' is none of"),
            ((np.zeros((1, 1, 2)), None, ["tail"]), "unknown joint 'tail'"),
            (([[[1, 2]], [[1, 2], [3, 4]]],), "keypoints: an array of numbers is needed"),
            (([{"nose": (1, 2)}],), "keypoints: an array of numbers is needed"),
        ],
    )
    def test_what_does_not_fit_is_named(self, arguments: tuple, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            Poses.from_layout(*arguments)
