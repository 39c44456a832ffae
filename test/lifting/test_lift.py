"""Keypoints in metres: against pinhole geometry by hand, and against a rendered depth camera with all its errors."""

from __future__ import annotations

import numpy as np
import pytest

from keytrack_ros.errors import InputError
from keytrack_ros.lifting import Intrinsics, depth_scale, lift, rotated_and_moved
from keytrack_ros.lifting.lift import nearest_surface
from keytrack_ros.poses import Poses
from keytrack_ros.skeleton import COUNT, INDEX
from test.lifting.scene import CAMERA, SIZE, joints_at, look_at

PLAIN = Intrinsics(500.0, 400.0, 320.0, 240.0)
SHOULDER, HIP, WRIST = INDEX["left_shoulder"], INDEX["left_hip"], INDEX["left_wrist"]
K = [500.0, 0, 320, 0, 400, 240, 0, 0, 1]
P = [250.0, 0, 160, 0, 0, 200, 120, 0, 0, 0, 1, 0]


def person(*, wrist: tuple[float, float] = (420.0, 200.0), score: float = 0.9, count: int = 1) -> Poses:
    """Somebody of whom left shoulder, hip and wrist are seen."""
    keypoints = np.zeros((count, COUNT, 2))
    scores = np.zeros((count, COUNT))
    keypoints[:, [SHOULDER, HIP, WRIST]] = [(370.0, 160.0), (370.0, 240.0), wrist]
    scores[:, [SHOULDER, HIP]], scores[:, WRIST] = 0.9, score
    return Poses(keypoints, scores, boxes=np.tile([300.0, 100.0, 440.0, 380.0], (count, 1)))


def flat(depth_m: float) -> np.ndarray:
    return np.full(SIZE[::-1], depth_m, np.float32)


def test_a_flat_scene_gives_what_the_pinhole_equations_say() -> None:
    # x = (370 − 320) / 500 · 2 = 0.2, y = (160 − 240) / 400 · 2 = −0.4; the position lies between shoulder and hip.
    found = lift(person(), flat(2.0), PLAIN, SIZE)
    np.testing.assert_allclose(found.points[0, SHOULDER], (0.2, -0.4, 2.0), atol=1e-6)
    np.testing.assert_allclose(found.points[0, HIP], (0.2, 0.0, 2.0), atol=1e-6)
    np.testing.assert_allclose(found.points[0, WRIST], (0.4, -0.2, 2.0), atol=1e-6)
    np.testing.assert_allclose(found.positions, [(0.2, -0.2, 2.0)], atol=1e-6)
    assert np.flatnonzero(found.valid[0]).tolist() == [SHOULDER, WRIST, HIP]
    assert np.isnan(found.points[~found.valid]).all()
    assert found.points.dtype == found.positions.dtype == np.float32


@pytest.mark.parametrize("hole", [0.0, np.nan, np.inf, -1.0])
def test_without_any_depth_everything_is_invalid(hole: float) -> None:
    found = lift(person(), flat(hole), PLAIN, SIZE)
    assert not found.valid.any()
    assert np.isnan(found.points).all()
    assert np.isnan(found.positions).all()


def test_holes_round_a_keypoint_are_passed_over() -> None:
    depth = flat(2.0)
    depth[155:166, 365:376] = 0  # the shoulder's pixel and most of its window
    assert lift(person(), depth, PLAIN, SIZE).points[0, SHOULDER, 2] == 2.0


def test_the_background_beside_a_thin_limb_is_not_taken() -> None:
    # A third of the wrist's window is arm, the rest a wall 0.6 m behind, within reach of the person.
    depth = flat(2.6)
    depth[:, :412] = 2.0
    depth[:, 412:418] = 1.9
    assert lift(person(wrist=(419.0, 200.0)), depth, PLAIN, SIZE).points[0, WRIST, 2] == pytest.approx(1.9)


def test_a_keypoint_beyond_reach_of_the_person_is_invalid() -> None:
    depth = flat(2.0)
    depth[:, 400:] = 3.5  # the wrist's keypoint lies on the wall
    found = lift(person(), depth, PLAIN, SIZE)
    assert found.valid[0, [SHOULDER, HIP]].all()
    assert not found.valid[0, WRIST]


def test_unseen_and_weak_keypoints_are_invalid() -> None:
    assert not lift(person(score=0.05), flat(2.0), PLAIN, SIZE).valid[0, WRIST]


def test_a_keypoint_beyond_the_image_is_invalid() -> None:
    assert not lift(person(wrist=(700.0, 200.0)), flat(2.0), PLAIN, SIZE).valid[0, WRIST]


def test_without_a_trunk_the_rest_of_the_body_tells_where_a_person_is() -> None:
    poses = person()
    scores = np.where(np.arange(COUNT) == WRIST, 0.9, 0.0)[None]
    found = lift(poses.with_fields(scores=scores), flat(2.0), PLAIN, SIZE)
    np.testing.assert_allclose(found.positions, [(0.4, -0.2, 2.0)], atol=1e-6)


def test_nobody_and_somebody_without_keypoints_are_no_error() -> None:
    assert lift(Poses.empty(), flat(2.0), PLAIN, SIZE).points.shape == (0, COUNT, 3)
    found = lift(Poses(np.zeros((1, COUNT, 2)), np.zeros((1, COUNT))), flat(2.0), PLAIN, SIZE)
    assert np.isnan(found.positions).all()


@pytest.mark.parametrize("factor", [2, 4])
def test_a_smaller_depth_image_gives_the_same_place(factor: int) -> None:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    depth = (1.5 + columns / 1000 + rows / 2000).astype(np.float32)  # slanted, so that a shift would show
    small = depth.reshape(SIZE[1] // factor, factor, SIZE[0] // factor, factor).mean((1, 3))
    expected, found = lift(person(), depth, PLAIN, SIZE), lift(person(), small, PLAIN, SIZE)
    np.testing.assert_allclose(found.points[expected.valid], expected.points[expected.valid], atol=2e-3)


def test_a_depth_image_of_another_aspect_is_refused() -> None:
    assert depth_scale((320, 240), (640, 480)) == 0.5
    assert depth_scale((1280, 960), (640, 480)) == 2.0
    with pytest.raises(InputError, match="848x480 pixels and the colour image 640x480: another aspect"):
        lift(person(), np.ones((480, 848), np.float32), PLAIN, SIZE)


def test_intrinsics_are_those_of_the_rectified_image_if_set() -> None:
    assert Intrinsics.from_matrices(K, P) == (250, 200, 160, 120)
    assert Intrinsics.from_matrices(K, [0.0] * 12) == (500, 400, 320, 240)


@pytest.mark.parametrize("missing", [0.0, np.nan])
def test_a_camera_without_calibration_is_refused(missing: float) -> None:
    with pytest.raises(InputError, match="no focal length"):
        Intrinsics.from_matrices([missing] * 9, [missing] * 12)


def test_another_frame_is_a_rotation_and_then_a_translation() -> None:
    # An optical frame (z ahead) to one whose x is ahead and z up, half a metre up: (x, y, z) → (z, −x, −y).
    quaternion = (-0.5, 0.5, -0.5, 0.5)
    points = np.array([[0.2, -0.4, 2.0], [np.nan] * 3])
    moved = rotated_and_moved(points, quaternion, (0.0, 0.0, 0.5))
    np.testing.assert_allclose(moved[0], (2.0, -0.2, 0.9), atol=1e-6)
    assert np.isnan(moved[1]).all()


def test_the_nearest_surface_of_some_size_is_taken() -> None:
    def depth(*groups: tuple[int, float]) -> float:
        samples = np.concatenate([np.full(count, value) for count, value in groups])
        return float(nearest_surface(samples[None], 0.25)[0])

    assert depth((10, 2.0), (30, 3.0)) == 2.0
    assert depth((6, 2.0), (43, 3.0)) == 3.0  # too little of it
    assert depth((30, 3.0), (19, np.nan)) == 3.0
    assert np.isnan(depth((4, 3.0), (45, np.nan)))  # a few pixels of noise are no surface
    # Mixed pixels between arm and wall belong to neither.
    assert depth((16, 2.0), (3, 2.3), (3, 2.5), (27, 2.8)) == 2.0


def errors_cm(
    distances: tuple[float, ...], keypoint_noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Errors against the surface: of keypoints, of the depth image's value at each, of positions; and what is valid.

    People at these distances, turned five ways, 0.4, 0.8 and 3 m before a wall; the keypoints are off by
    `keypoint_noise` of the person's size in pixels.
    """
    rng = np.random.default_rng(0)
    lifted, single, positions = [], [], []
    for z in distances:
        for gap in (0.4, 0.8, 3.0):
            for turn in np.linspace(-1.5, 1.5, 5):
                view = look_at([joints_at(rng.uniform(-0.15, 0.15) * z, z, turn)], z + gap, rng)
                boxes = view.poses.boxes
                size = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
                noise = rng.normal(size=(1, COUNT, 2)) * keypoint_noise * size
                poses = view.poses.with_fields(keypoints=view.poses.keypoints + noise)
                found = lift(poses, view.measured_m, CAMERA, SIZE)
                known = np.isfinite(view.surface[..., 2])
                column, row = np.rint(poses.keypoints).astype(int).transpose(2, 0, 1)
                pixel = view.measured_m[row.clip(0, SIZE[1] - 1), column.clip(0, SIZE[0] - 1)]
                at_pixel = CAMERA.to_space(poses.keypoints, pixel)
                lifted.append(np.linalg.norm(found.points - view.surface, axis=-1)[known])
                single.append(np.linalg.norm(at_pixel - view.surface, axis=-1)[known])
                trunk = [INDEX[name] for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")]
                positions.append(np.linalg.norm(found.positions - np.nanmean(view.surface[:, trunk], 1), axis=-1))
    errors = np.concatenate(lifted)
    return errors * 100, np.concatenate(single) * 100, np.concatenate(positions) * 100, np.isfinite(errors)


@pytest.mark.parametrize(
    ("distances", "median", "high"), [((1.5, 2.0), 1.5, 3.0), ((3.0, 4.0), 2.0, 4.0), ((5.0,), 2.5, 4.5)]
)
def test_centimetres_in_a_scene_with_noise_holes_edges_and_a_wall(
    distances: tuple[float, ...], median: float, high: float
) -> None:
    errors, single, positions, valid = errors_cm(distances, keypoint_noise=0.01)
    figures = {
        "keypoints": np.percentile(errors[valid], (50, 95)),
        "one pixel": np.percentile(single, (50, 95)),
        "positions": np.percentile(positions, (50, 95)),
    }
    shown = "; ".join(f"{name} {low:.1f} / {top:.1f} cm" for name, (low, top) in figures.items())
    print(f"{distances} m, {len(errors)} keypoints, {valid.mean():.1%} valid; median / 95 %: {shown}")
    print(f"off by more than 20 cm: keypoints {(errors > 20).mean():.1%}, one pixel {(single > 20).mean():.1%}")
    assert valid.mean() > 0.99
    assert figures["keypoints"][0] < median
    assert figures["keypoints"][1] < high
    assert (errors[valid] > 20).mean() < 0.02  # another surface
    assert (single > 20).mean() > 0.05  # what all this is for: single pixels hit holes and the wall
    assert figures["positions"][1] < 10


def test_people_before_each_other_keep_their_own_depth() -> None:
    view = look_at([joints_at(-0.2, 2.0), joints_at(0.25, 3.2), joints_at(1.2, 4.0)], 5.0, np.random.default_rng(1))
    found = lift(view.poses, view.measured_m, CAMERA, SIZE)
    np.testing.assert_allclose(found.positions[:, 2], (1.9, 3.1, 3.9), atol=0.06)  # a trunk is 0.1 m before its axis
    np.testing.assert_allclose(found.positions[:, 0], (-0.2, 0.25, 1.2), atol=0.06)
