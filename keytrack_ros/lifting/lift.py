"""Keypoints to metres, where the depth image has holes, noise and edges."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keytrack_ros.lifting.camera import Intrinsics, depth_scale, rotated_and_moved
from keytrack_ros.poses import BoolArray, FloatArray, Poses
from keytrack_ros.skeleton import COUNT, INDEX

REACH_M = 1.0
"""Depths further than this from the person's own are not the person's."""
MINIMUM_SCORE = 0.1
"""Keypoints with a lower score are not lifted."""

_BAND_M = 0.15
"""Depths that differ by less may be of one surface."""
_WINDOW = 0.04
"""Half the side of the window round a keypoint, as a part of √(area of the box): 4 cm on a standing adult."""
_LEAST_WINDOW = 2.0
"""The same in pixels of the depth image, at least."""
_GRID = 7
"""Depths are read at 7 x 7 places of a window, however large it is."""
_LEAST_SAMPLES = 5
_SHARE_OF_TRUNK, _SHARE_OF_KEYPOINT = 0.8, 0.25
"""How much of the largest surface in view the nearest one must cover to be taken: limbs are thin, trunks are not."""

_SHOULDERS = [INDEX["left_shoulder"], INDEX["right_shoulder"]]
_HIPS = [INDEX["left_hip"], INDEX["right_hip"]]
_MIDDLE = COUNT
"""Index of the trunk's middle behind the keypoints."""


@dataclass(frozen=True)
class PosesInSpace:
    """P people, in the order of their `Poses`.

    Attributes:
        points: [P, 15, 3] float32, metres; NaN where not valid. They lie on the body's surface, some centimetres
            before the joint.
        valid: [P, 15] bool: the keypoint is in the image and has a usable depth.
        positions: [P, 3] float32, metres: the trunk; NaN where no depth is usable.
    """

    points: FloatArray
    valid: BoolArray
    positions: FloatArray

    def moved(
        self, quaternion: tuple[float, float, float, float], translation: tuple[float, float, float]
    ) -> PosesInSpace:
        """The same people in another frame; see `rotated_and_moved`."""
        return replace(
            self,
            points=rotated_and_moved(self.points, quaternion, translation),
            positions=rotated_and_moved(self.positions, quaternion, translation),
        )


def lift(poses: Poses, depth_m: FloatArray, intrinsics: Intrinsics, image_size: tuple[int, int]) -> PosesInSpace:
    """People of a colour image in the camera's optical frame: x right, y down, z ahead.

    The depth of a person is that of the surface which covers most of the trunk; of two that cover about as much, the
    nearer one, since the farther is what stands behind. The depth of a keypoint is the median of the nearest surface in
    a window round it among all within `REACH_M` of the person. A person's position is the middle of shoulders and hips,
    or of what is seen of them, at the person's depth; without any of them the middle of all keypoints.

    Args:
        poses: P people, in pixels of the colour image.
        depth_m: [h, w] metres along the optical axis, registered to the colour image, of its size or another of the
            same aspect. 0, negative and non-finite values are holes.
        intrinsics: of the colour image, which is taken as rectified.
        image_size: width and height of the colour image.

    Raises:
        InputError: the sizes do not fit.
    """
    scale = depth_scale((depth_m.shape[1], depth_m.shape[0]), image_size)
    seen = np.greater_equal(poses.scores, MINIMUM_SCORE)  # [P, 15]
    middle = _trunk_middle(poses.keypoints, seen)  # [P, 2]
    places = np.concatenate([poses.keypoints, middle[:, None]], 1)  # [P, 16, 2]
    size = np.clip(poses.boxes[:, 2:] - poses.boxes[:, :2], 0, None)
    radius = np.maximum(_WINDOW * np.sqrt(size.prod(1)) * scale, _LEAST_WINDOW)  # [P] depth pixels
    used = np.concatenate([seen, seen.any(1, keepdims=True)], 1)
    samples = _windows(depth_m, (places + 0.5) * scale - 0.5, radius)  # [P, 16, 49]
    samples[~used] = np.nan

    own = _person_depth(samples, seen)  # [P]
    samples[~(np.abs(samples - own[:, None, None]) <= REACH_M)] = np.nan
    depths = nearest_surface(samples[:, :COUNT], _SHARE_OF_KEYPOINT)  # [P, 15]
    points = intrinsics.to_space(poses.keypoints, depths)
    return PosesInSpace(points, np.isfinite(depths), intrinsics.to_space(middle, own))


def nearest_surface(samples: FloatArray, share: float) -> FloatArray:
    """The depth of the nearest surface of some size among depths [..., S]; NaN are holes.

    A surface is what lies within a band of depth; noise and the mixed pixels of edges have too little of it round them.
    It must cover `share` of what the largest one covers. Returns [...], the median of the surface, NaN without one.
    """
    near = np.abs(samples[..., :, None] - samples[..., None, :]) <= _BAND_M  # [..., S, S]
    support = near.sum(-1)
    largest = support.max(-1, keepdims=True, initial=0)
    enough = support >= np.maximum(share * largest, _LEAST_SAMPLES)
    first = np.where(enough, samples, np.inf).min(-1, keepdims=True)
    # From the surface's rim to where it is densest.
    around = enough & (samples <= first + 2 * _BAND_M)
    densest = np.where(around, support, -1).argmax(-1)[..., None]
    centre = np.take_along_axis(samples, densest, -1)
    members = np.isfinite(first) & (np.abs(samples - centre) <= _BAND_M)
    return np.where(members.any(-1), _median(samples, members), np.nan)


def _median(values: FloatArray, members: BoolArray) -> FloatArray:
    """[...] of [..., S]; inf where nobody is a member."""
    ordered = np.sort(np.where(members, values, np.inf), -1)
    count = members.sum(-1)[..., None]
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, -1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[-1] - 1), -1)
    return np.asarray((low + high)[..., 0] / 2)


def _person_depth(samples: FloatArray, seen: BoolArray) -> FloatArray:
    """[P] from the windows [P, 16, S] of keypoints and the trunk's middle."""
    trunk = [*_SHOULDERS, *_HIPS, _MIDDLE]
    samples = samples[..., ::2]  # together these windows have enough
    depth = nearest_surface(samples[:, trunk].reshape(len(samples), len(trunk) * samples.shape[-1]), _SHARE_OF_TRUNK)
    trunkless = ~seen[:, trunk[:-1]].any(1)
    if trunkless.any():
        rest = samples[trunkless]
        depth[trunkless] = nearest_surface(rest.reshape(len(rest), -1), _SHARE_OF_TRUNK)
    return depth


def _trunk_middle(keypoints: FloatArray, seen: BoolArray) -> FloatArray:
    """[P, 2]: between the middle of the shoulders and that of the hips, or what of them is seen."""
    middles = np.stack([_mean(keypoints[:, rows], seen[:, rows]) for rows in (_SHOULDERS, _HIPS)], 1)  # [P, 2, 2]
    known = np.isfinite(middles[..., 0])
    return np.where(known.any(1, keepdims=True), _mean(middles, known), _mean(keypoints, seen))


def _mean(points: FloatArray, members: BoolArray) -> FloatArray:
    """[P, 2] of points [P, K, 2]; NaN where nobody is a member."""
    count = members.sum(1)[:, None]
    total = np.where(members[..., None], points, 0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _windows(depth_m: FloatArray, places: FloatArray, radius: FloatArray) -> FloatArray:
    """Depths at a grid round places [P, N, 2] of half the side `radius` [P], both in depth pixels.

    Returns [P, N, S]; NaN for holes.
    """
    height, width = depth_m.shape
    steps = np.linspace(-1, 1, _GRID)
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)  # [S, 2]
    at = places[:, :, None] + radius[:, None, None, None] * grid  # [P, N, S, 2]
    at = np.where(np.isfinite(at), at, -1)
    column, row = np.clip(np.rint(at), -1, [width, height]).astype(np.int64).transpose(3, 0, 1, 2)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    found = depth_m[np.where(inside, row, 0), np.where(inside, column, 0)].astype(np.float32)
    return np.where(inside & np.isfinite(found) & (found > 0), found, np.float32(np.nan))
