"""One frame with the reasons why everybody got their ids: where tracks were and should be, scores, and words beside."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.explanation import FrameExplanation, PoseExplanation
from keytrack_ros.matching.motion import centroids
from keytrack_ros.media.drawing import Color, draw_poses, identity_color
from keytrack_ros.poses import FloatArray, ImageArray, Poses

_HEIGHT = 1000
"""The picture is scaled up to about so many pixels, so that small people and their labels have room."""
_MOST_SCALE = 3
_COLUMN = 560
"""Width of a column of words, pixels."""
_LINE = 17
_LETTERS = 84
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WORTH = 0.01
"""Candidates with a lower score have no line in the picture."""
_PAPER: Color = (250, 250, 250)
_INK: Color = (40, 40, 40)
_DARK: Color = (24, 24, 24)
_RED: Color = (40, 40, 210)
_LEGEND = (
    "thick: now    pale: where a track should be    dots: where it was seen last    lines: scores of other candidates"
)


def draw_explanation(image: ImageArray, poses: Poses, explanation: FrameExplanation) -> ImageArray:
    """The frame, enlarged where it is small, with a panel of words to its right.

    Args:
        image: [H, W, 3] uint8 BGR.
        poses: the tracker's answer.
        explanation: of that frame.
    """
    scale = float(np.clip(_HEIGHT / image.shape[0], 1, _MOST_SCALE))
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    canvas = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    now, last, expected = (_scaled(some, scale) for some in (poses, explanation.last, explanation.expected))
    canvas = draw_poses(canvas, now)
    middles = centroids(expected.keypoints, expected.visible)
    for row in range(len(last)):
        color = identity_color(int(last.track_ids[row]))
        _skeleton(canvas, expected.keypoints[row], expected.visible[row], _pale(color))
        for point in last.keypoints[row][last.visible[row]]:
            cv2.circle(canvas, _point(point), 2, _DARK, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(canvas, _point(point), 1, color, cv2.FILLED, cv2.LINE_AA)
    labels = [
        (middle, f"{track_id} not seen")
        for track_id, middle in zip(last.track_ids.tolist(), middles, strict=True)
        if track_id in explanation.unseen
    ]
    places = dict(zip(expected.track_ids.tolist(), middles, strict=True))
    for start, pose in zip(centroids(now.keypoints, now.visible), explanation.poses, strict=True):
        for candidate in pose.candidates:
            if candidate.track_id != pose.track_id and candidate.score >= _WORTH:
                end = places[candidate.track_id]
                _line(canvas, start, end, identity_color(candidate.track_id), 2)
                labels.append(((2 * start + end) / 3, f"{candidate.track_id}: {candidate.score:.2f}"))
    for place, text in labels:
        _label(canvas, place, text)
    return _with_words(canvas, explanation)


def _scaled(poses: Poses, scale: float) -> Poses:
    return poses.with_fields(keypoints=poses.keypoints * scale, boxes=poses.boxes * scale)


def _skeleton(canvas: ImageArray, points: FloatArray, visible: FloatArray, color: Color) -> None:
    for a, b in skeleton.EDGES:
        if visible[a] and visible[b]:
            cv2.line(canvas, _point(points[a]), _point(points[b]), color, 2, cv2.LINE_AA)


def _pale(color: Color) -> Color:
    """Half of it white."""
    return (color[0] + 255) // 2, (color[1] + 255) // 2, (color[2] + 255) // 2


def _line(canvas: ImageArray, a: FloatArray, b: FloatArray, color: Color, width: int) -> None:
    """With a dark seam, so that it is seen on any background."""
    cv2.line(canvas, _point(a), _point(b), _DARK, width + 2, cv2.LINE_AA)
    cv2.line(canvas, _point(a), _point(b), color, width, cv2.LINE_AA)


def _point(point: FloatArray) -> tuple[int, int]:
    x, y = np.clip(point, -9999, 9999).round().astype(int).tolist()
    return x, y


def _label(canvas: ImageArray, place: FloatArray, text: str) -> None:
    (width, height), _ = cv2.getTextSize(text, _FONT, 0.45, 1)
    x, y = _point(place)
    cv2.rectangle(canvas, (x - 3, y - height - 3), (x + width + 3, y + 4), _PAPER, cv2.FILLED)
    cv2.putText(canvas, text, (x, y), _FONT, 0.45, _INK, 1, cv2.LINE_AA)


def _with_words(canvas: ImageArray, explanation: FrameExplanation) -> ImageArray:
    """The picture with as many columns of words beside it as they need."""
    x, y = explanation.shift
    head = f"continued from {explanation.threshold:.2f} on; the picture has moved by {x:+.1f}, {y:+.1f} px"
    unseen = ", ".join(map(str, explanation.unseen)) or "none"
    blocks = [_block(pose) for pose in sorted(explanation.poses, key=lambda pose: pose.track_id)]
    words = [[*_lines(head), *_lines(f"remembered, but not seen: {unseen}"), *_lines(_LEGEND)], *blocks]
    room = (len(canvas) - _LINE) // _LINE
    columns: list[list[tuple[str, Color]]] = [[]]
    for block in words:
        if columns[-1] and len(columns[-1]) + len(block) > room:
            columns.append([])
        columns[-1] += [*block, ("", _INK)]
    panel = np.full((len(canvas), _COLUMN * len(columns), 3), _PAPER, np.uint8)
    for k, column in enumerate(columns):
        for row, (text, color) in enumerate(column):
            place = k * _COLUMN + 10, (row + 1) * _LINE
            cv2.putText(panel, text, place, _FONT, 0.42, color, 1, cv2.LINE_AA)
    return np.concatenate([canvas, panel], 1)


def _block(pose: PoseExplanation) -> list[tuple[str, Color]]:
    """A pose's reason, red if it is doubtful, and a line for each candidate."""
    lines = _lines(f"{pose.track_id}: {pose.reason}", _RED if pose.doubtful else _INK)
    for candidate in pose.candidates:
        network = "settled by geometry" if candidate.network is None else f"network {candidate.network:.3f}"
        lines += _lines(
            f"      {candidate.track_id}: score {candidate.score:.3f}, {network}, predicted OKS "
            f"{candidate.predicted_oks:.2f}, last OKS {candidate.last_oks:.2f}, {candidate.gap_frames} ago"
        )
    return lines


def _lines(text: str, color: Color = _INK) -> list[tuple[str, Color]]:
    indent = len(text) - len(text.lstrip())
    lines: Sequence[str] = wrap(text, _LETTERS, initial_indent="", subsequent_indent=" " * (indent + 3))
    return [(line, color) for line in lines]
