"""What a person looks at: skeletons in one colour per identity, id labels, trails."""

from __future__ import annotations

import colorsys
import math
from collections import deque
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.poses import FloatArray, ImageArray, Poses

Color = tuple[int, int, int]
"""Blue, green, red, 0..255."""

_GOLDEN = 0.618033988749895
"""Multiples of the golden ratio modulo 1 keep apart however many there are."""
_DARK: Color = (24, 24, 24)
_LIGHT: Color = (255, 255, 255)
_HEAD = (skeleton.INDEX["head_top"], skeleton.INDEX["head_bottom"])
"""Joined directly where no nose joins them."""
_SHIFT = 4
"""Coordinates are drawn to 1/16 pixel, so that small motions do not jump."""
_RIGHT_SIDE = 0.62
"""Brightness of the limbs of the person's own right side."""


def identity_color(track_id: int) -> Color:
    """Colour of an identity: the same in every frame and every program, neighbouring ids far apart in hue."""
    hue = (track_id * _GOLDEN) % 1.0
    # Three tones, chosen so that any twelve ids in a row differ well in CIE Lab, also where hues come close again.
    saturation, value = ((0.5, 1.0), (0.9, 0.7), (1.0, 1.0))[track_id % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(blue * 255), round(green * 255), round(red * 255)


class Trails:
    """Where each identity has been lately.

    Args:
        length: frames of history that are kept.
        patience: an identity that was not seen for more frames than this is dropped.
    """

    def __init__(self, length: int = 40, patience: int = 8) -> None:
        self._length = length
        self._patience = patience
        self._paths: dict[int, deque[tuple[float, float]]] = {}
        self._unseen: dict[int, int] = {}

    def update(self, poses: Poses) -> None:
        """Adds the centroids of one frame's people; poses without id or keypoints are left out."""
        for track_id in [i for i, unseen in self._unseen.items() if unseen >= self._patience]:
            del self._paths[track_id], self._unseen[track_id]
        for track_id in self._unseen:
            self._unseen[track_id] += 1
        weights = poses.visible[..., None]
        for row in np.flatnonzero((poses.track_ids >= 0) & (poses.visible.sum(1) > 0)):
            x, y = (poses.keypoints[row] * weights[row]).sum(0) / weights[row].sum()
            track_id = int(poses.track_ids[row])
            self._paths.setdefault(track_id, deque(maxlen=self._length)).append((float(x), float(y)))
            self._unseen[track_id] = 0

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[tuple[int, FloatArray]]:
        """Every identity with its path [N, 2] in pixels, oldest first."""
        for track_id, path in self._paths.items():
            yield track_id, np.array(path, np.float32)


def draw_poses(
    image: ImageArray, poses: Poses, *, trails: Trails | None = None, minimum_score: float = 0.15
) -> ImageArray:
    """A copy of the image with everyone's skeleton, box and id drawn into it.

    Limbs have the identity's colour, those of the person's right side a darker tone of it. A carried-over pose has
    dashed limbs and hollow keypoints.

    Args:
        image: [H, W, 3] uint8 BGR.
        poses: with `track_ids`; a pose without one (−1) is grey and has no label.
        trails: drawn as they are; `Trails.update` is the caller's.
        minimum_score: keypoints with a lower score are not drawn.
    """
    canvas = image.copy()
    if trails is not None:
        _draw_trails(canvas, trails)
    order = np.argsort(poses.boxes[:, 3], kind="stable")  # people in front (lower in the image) come last
    for row in order:
        _draw_person(canvas, poses, int(row), minimum_score)
    for row in order:
        _draw_label(canvas, poses, int(row), minimum_score)
    return canvas


def _line_width(image: ImageArray, box: FloatArray) -> int:
    """Pixels; from the person's height, within what suits the image."""
    finest = _finest(image)
    return int(np.clip(round(float(box[3] - box[1]) / 60), finest, 4 * finest))


def _finest(image: ImageArray) -> int:
    """The thinnest line in pixels that is well seen in an image of that size."""
    return max(1, round(len(image) / 700))


def _color(track_id: int) -> Color:
    return identity_color(track_id) if track_id >= 0 else (170, 170, 170)


def _scaled(color: Color, factor: float) -> Color:
    return round(color[0] * factor), round(color[1] * factor), round(color[2] * factor)


def _point(point: Sequence[float] | FloatArray) -> tuple[int, int]:
    # Far outside the image the fixed-point coordinates of OpenCV would overflow.
    x, y = np.clip(np.asarray(point, np.float64), -20000, 20000) * (1 << _SHIFT)
    return round(float(x)), round(float(y))


def _draw_person(canvas: ImageArray, poses: Poses, row: int, minimum_score: float) -> None:
    color = _color(int(poses.track_ids[row]))
    width = _line_width(canvas, poses.boxes[row])
    points, shown = poses.keypoints[row], poses.scores[row] >= max(minimum_score, 1e-6)
    carried = bool(poses.carried[row])

    x_min, y_min, x_max, y_max = poses.boxes[row]
    finest = _finest(canvas)
    seam = finest if width > finest and not carried else 0
    corners = [np.array(corner) for corner in ((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max))]
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        _limb(canvas, start, end, _scaled(color, 0.8), finest, dashed=carried)

    limbs = [(a, b) for a, b in skeleton.EDGES if shown[a] and shown[b]]
    if not shown[skeleton.INDEX["nose"]] and shown[_HEAD[0]] and shown[_HEAD[1]]:
        limbs.append(_HEAD)
    # A dark seam keeps the lines readable on a background of any colour; it would hide the far, and the gaps of dashes.
    for a, b in limbs if seam else ():
        _limb(canvas, points[a], points[b], _DARK, width + 2 * seam)
    for a, b in limbs:
        right = skeleton.NAMES[a].startswith("right_") or skeleton.NAMES[b].startswith("right_")
        _limb(canvas, points[a], points[b], _scaled(color, _RIGHT_SIDE if right else 1.0), width, dashed=carried)
    for k in map(int, np.flatnonzero(shown)):
        # Larger for a higher score: from 0.7 to 1.2 line widths.
        radius = width * (0.7 + 0.5 * min(1.0, float(poses.scores[row, k]))) + 0.4
        fixed = round(radius * (1 << _SHIFT))
        center = _point(points[k])
        outer = fixed + (max(seam, 0.5 * finest) * (1 << _SHIFT))
        if carried:
            cv2.circle(canvas, center, round(1.3 * fixed), color, finest, cv2.LINE_AA, _SHIFT)
        else:
            right = skeleton.NAMES[k].startswith("right_")
            cv2.circle(canvas, center, round(outer), _DARK, cv2.FILLED, cv2.LINE_AA, _SHIFT)
            cv2.circle(canvas, center, fixed, _scaled(color, _RIGHT_SIDE) if right else color, -1, cv2.LINE_AA, _SHIFT)


def _limb(canvas: ImageArray, a: FloatArray, b: FloatArray, color: Color, width: int, dashed: bool = False) -> None:
    if not dashed:
        cv2.line(canvas, _point(a), _point(b), color, width, cv2.LINE_AA, _SHIFT)
        return
    length = math.dist(a, b)
    # An odd number of equal pieces, every other one drawn: a dash at both ends.
    pieces = 2 * min(100, max(1, round(length / (4 + 3 * width)))) + 1
    ends = np.linspace(a, b, pieces + 1)
    for first in range(0, pieces, 2):
        cv2.line(canvas, _point(ends[first]), _point(ends[first + 1]), color, width, cv2.LINE_AA, _SHIFT)


def _draw_label(canvas: ImageArray, poses: Poses, row: int, minimum_score: float) -> None:
    track_id = int(poses.track_ids[row])
    if track_id < 0:
        return
    height, width = canvas.shape[:2]
    text = str(track_id)
    scale = max(0.38, height / 1300)
    stroke = _finest(canvas)
    (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, stroke)
    pad = max(3, text_height // 3)
    shown = poses.scores[row] >= max(minimum_score, 1e-6)
    x_min, y_min, x_max, _ = poses.boxes[row]
    top = min(float(y_min), float(poses.keypoints[row, shown, 1].min(initial=np.inf)))
    # Centred above the person, moved inside the image where it would leave it.
    left = round(float(np.clip((x_min + x_max - text_width) / 2 - pad, 0, max(0, width - text_width - 2 * pad))))
    bottom = round(float(np.clip(top - pad, text_height + 2 * pad, max(height - 1, text_height + 2 * pad))))
    color = _color(track_id)
    corner, opposite = (left, bottom - text_height - 2 * pad), (left + text_width + 2 * pad, bottom)
    cv2.rectangle(canvas, corner, opposite, color, cv2.FILLED)
    cv2.rectangle(canvas, corner, opposite, _DARK, 1)
    luminance = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]
    ink = _DARK if luminance > 110 else _LIGHT
    cv2.putText(canvas, text, (left + pad, bottom - pad), cv2.FONT_HERSHEY_DUPLEX, scale, ink, stroke, cv2.LINE_AA)


def _draw_trails(canvas: ImageArray, trails: Trails) -> None:
    """Paths that get thinner and fainter with age."""
    widest = max(2, round(canvas.shape[0] / 350))
    for opacity, young in ((0.35, False), (0.75, True)):  # two layers: the older and the newer half
        layer = canvas.copy()
        for track_id, path in trails:
            middle = len(path) // 2
            part = path[middle:] if young else path[: middle + 1]
            if len(part) > 1:
                line = np.array([_point(point) for point in part], np.int32)
                thickness = widest if young else max(1, widest // 2)
                cv2.polylines(layer, [line], False, _color(track_id), thickness, cv2.LINE_AA, _SHIFT)
        cv2.addWeighted(layer, opacity, canvas, 1 - opacity, 0, canvas)
