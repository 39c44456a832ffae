"""A depth camera's view of people before a wall, with the errors of a real one; and where everybody truly is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keytrack_ros.lifting import Intrinsics
from keytrack_ros.poses import Poses
from keytrack_ros.skeleton import COUNT, EDGES, INDEX

SIZE = (640, 480)
CAMERA = Intrinsics(600.0, 600.0, 319.5, 239.5)

Floats = npt.NDArray[np.floating]

# Metres from the middle of the hips: x to the image's right, y up, z towards the camera.
_STANDING = {
    "head_top": (0.0, 0.80, 0.0),
    "nose": (0.0, 0.66, 0.06),
    "head_bottom": (0.0, 0.55, 0.0),
    "left_shoulder": (0.19, 0.48, 0.0),
    "right_shoulder": (-0.19, 0.48, 0.0),
    "left_elbow": (0.27, 0.22, -0.02),
    "right_elbow": (-0.27, 0.22, 0.10),
    "left_wrist": (0.30, -0.02, 0.06),
    "right_wrist": (-0.22, 0.20, 0.36),
    "left_hip": (0.11, 0.0, 0.0),
    "right_hip": (-0.11, 0.0, 0.0),
    "left_knee": (0.13, -0.44, 0.04),
    "right_knee": (-0.12, -0.44, 0.12),
    "left_ankle": (0.13, -0.86, 0.0),
    "right_ankle": (-0.12, -0.84, 0.02),
}
_RADII = {"head": 0.09, "arm": 0.04, "leg": 0.06, "trunk": 0.10}


@dataclass(frozen=True)
class View:
    """What the camera sees.

    Attributes:
        poses: the people, as a perfect pose network would find them.
        exact_m: [h, w] the surface, without error.
        measured_m: [h, w] with noise, mixed pixels at edges and holes (0), in whole millimetres.
        surface: [P, 15, 3] the surface at the keypoints' pixels; NaN where another person is in front.
    """

    poses: Poses
    exact_m: Floats
    measured_m: Floats
    surface: Floats


def joints_at(x_m: float, z_m: float, turn: float = 0.0) -> Floats:
    """[15, 3] joints in the camera's optical frame of somebody who stands at x, z, turned about the vertical."""
    points = np.zeros((COUNT, 3))
    for name, (x, y, towards) in _STANDING.items():
        across, ahead = np.cos(turn) * x + np.sin(turn) * towards, -np.sin(turn) * x + np.cos(turn) * towards
        points[INDEX[name]] = (x_m + across, 0.1 - y, z_m - ahead)
    return points


def look_at(people: list[Floats], wall_m: float, rng: np.random.Generator) -> View:
    """People as [15, 3] joints, before a wall."""
    depths = [_body(joints) for joints in people]
    exact = np.minimum(np.min(depths, 0), wall_m)
    pixels = np.array([_pixels(joints) for joints in people])
    surface = np.full((len(people), COUNT, 3), np.nan)
    for person, body in enumerate(depths):
        for keypoint, (u, v) in enumerate(pixels[person]):
            column, row = round(u), round(v)
            inside = 0 <= column < SIZE[0] and 0 <= row < SIZE[1]
            if inside and np.isfinite(body[row, column]) and body[row, column] == exact[row, column]:
                surface[person, keypoint] = CAMERA.to_space(np.array([u, v]), body[row, column])
    in_image = ((pixels >= 0) & (pixels < np.array(SIZE))).all(-1)
    poses = Poses(pixels, np.where(in_image, 0.9, 0.0))
    return View(poses, exact, _as_measured(exact, rng), surface)


def _pixels(points: Floats) -> Floats:
    focal, centre = np.array([CAMERA.fx, CAMERA.fy]), np.array([CAMERA.cx, CAMERA.cy])
    return np.asarray(points[:, :2] / points[:, 2:] * focal + centre)


def _body(joints: Floats) -> Floats:
    """[h, w] depth of a body made of balls along its limbs; inf beside it."""
    depth = np.full(SIZE[::-1], np.inf)
    trunk = ["left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    limbs = [*EDGES, *((INDEX[a], INDEX[b]) for a in trunk for b in trunk if a < b)]
    names = list(INDEX)
    for a, b in limbs:
        pair = {names[a], names[b]}
        if pair <= set(trunk) | {"head_bottom"}:
            kind = "trunk"
        elif pair & {"nose", "head_top"}:
            kind = "head"
        else:
            kind = "arm" if any("elbow" in name or "wrist" in name for name in pair) else "leg"
        for part in np.linspace(0, 1, 12):
            _draw_ball(depth, joints[a] + part * (joints[b] - joints[a]), _RADII[kind])
    return depth


def _draw_ball(depth: Floats, centre: Floats, radius: float) -> None:
    """Where the rays of pixels first meet the ball, in place."""
    (u, v), reach = _pixels(centre[None])[0], CAMERA.fx * radius / (centre[2] - radius)
    left, right = max(0, int(u - reach)), min(SIZE[0], int(u + reach) + 2)
    top, bottom = max(0, int(v - reach)), min(SIZE[1], int(v + reach) + 2)
    if left >= right or top >= bottom:
        return
    rows, columns = np.mgrid[top:bottom, left:right]
    rays = np.stack([(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy, np.ones(rows.shape)], -1)
    a, b = (rays * rays).sum(-1), rays @ centre
    inside = b * b - a * (centre @ centre - radius * radius)
    hit = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    depth[top:bottom, left:right] = np.minimum(depth[top:bottom, left:right], hit)


def _as_measured(exact: Floats, rng: np.random.Generator) -> Floats:
    """As a stereo camera measures: noise that grows with the square of depth, mixed pixels and holes at edges."""
    measured = exact + rng.normal(size=exact.shape) * (0.002 + 0.0015 * exact**2)
    edge = np.zeros(exact.shape, bool)
    for shift in range(1, 4):
        jump = np.abs(exact[:, shift:] - exact[:, :-shift]) > 0.1
        edge[:, shift:] |= jump
        edge[:, :-shift] |= jump
    beside = np.roll(exact, 3, 1)
    part = rng.random(exact.shape)
    mixed = edge & (rng.random(exact.shape) < 0.3)
    measured = np.where(mixed, part * exact + (1 - part) * beside, measured)
    holes = (rng.random(exact.shape) < 0.1) | (edge & (rng.random(exact.shape) < 0.5))
    return np.asarray(np.where(holes, 0, np.round(measured, 3)), np.float32)
