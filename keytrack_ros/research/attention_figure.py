"""The paper's Figure 8, drawn by Matplotlib: attention of each head, as a map of keypoints and on the people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import OutputError
from keytrack_ros.poses import FloatArray, ImageArray, Poses, keypoint_boxes
from keytrack_ros.research.attention_pairs import PosePair

_LABELS = [name.replace("left_", "l. ").replace("right_", "r. ").replace("_", " ") for name in skeleton.NAMES]
_PICTURE = (300, 360)
"""Width and height of the picture of one pose, pixels."""
_AROUND = 0.2
"""What is shown around the poses, in sides of their box."""
_GREY = (236, 236, 236)
_ABSENT = "#b9bec6"
_BLANK = "#e9ebee"
_COLORS = "viridis"
_BELOW = {"ha": "center", "va": "top", "fontsize": 8}


@dataclass(frozen=True)
class ShownPair:
    """A pair and what the network made of it.

    Attributes:
        pair: the two poses.
        caption: who they are and what the network says.
        weights: [layers, heads, 30, 30] float32, see `keytrack_ros.research.attention`.
        mask: [30] bool, which keypoints the network was told.
        images: BGR, of the current and of the past frame; None without.
    """

    pair: PosePair
    caption: str
    weights: FloatArray
    mask: FloatArray
    images: tuple[ImageArray, ImageArray] | None = None


def attended(weights: FloatArray, mask: FloatArray, *, last: bool) -> FloatArray:
    """[..., 30] how much attention each keypoint gets, summing to 1, from [..., 30, 30].

    Of the rows that count: in the last layer that of token 0, from which the verdict is read; before it those of all
    keypoints that are there, on average.
    """
    if last or not mask.any():
        return weights[..., 0, :]
    return np.asarray(weights[..., np.flatnonzero(mask), :].mean(-2))


def draw_attention(path: Path, shown: Sequence[ShownPair], layers: Sequence[int]) -> None:
    """Writes a PNG: for each pair and layer a row of maps, one a head, and below them the two poses.

    In a map, whose colours mean the same in all maps of a layer, the row attends to the column; what concerns a missing
    keypoint is left blank (but for the row of token 0, which is always read). The keypoints of the poses are the larger
    and brighter the more attention they get (see `attended`).

    Args:
        path: replaced if it is there.
        shown: the pairs.
        layers: which are drawn, from 0.

    Raises OutputError if it cannot be written.
    """
    from matplotlib.figure import Figure

    heads, depth = shown[0].weights.shape[1], shown[0].weights.shape[0]
    blocks = [(pair, layer) for pair in shown for layer in layers]
    figure = Figure(figsize=(1.6 + 3.4 * heads, 6.2 * len(blocks)))
    parts = figure.subfigures(len(blocks), 1, squeeze=False)[:, 0]
    # Places are fixed: a layout engine would measure hundreds of names, which takes longer than all of the drawing.
    margins = {"left": 0.07, "right": 0.94, "top": 0.91, "bottom": 0.04, "wspace": 0.08, "hspace": 0.38}
    for part, (pair, layer) in zip(parts, blocks, strict=True):
        part.suptitle(f"{pair.caption}    layer {layer + 1} of {depth}", fontsize=11, x=0.01, y=0.985, ha="left")
        maps, pictures = part.subplots(2, heads, squeeze=False, height_ratios=(3, 1.75), gridspec_kw=margins)
        canvas, points = _picture(pair)
        weights = pair.weights[layer]
        highest = max(float(np.nanmax(_known(one.weights[layer], one.mask))) for one in shown)
        received = attended(weights, pair.mask, last=layer == depth - 1)
        for head in range(heads):
            drawn = _draw_map(maps[head], _known(weights[head], pair.mask), pair.mask, highest, names=head == 0)
            maps[head].set_title(f"head {head + 1}", fontsize=9)
            if layer == depth - 1:  # the one row of the last layer that has a part in the verdict
                maps[head].add_patch(_frame_of_first_row())
            _draw_poses(pictures[head], canvas, points, pair.mask, received[head], highest)
            for place, when in ((0.25, "t"), (0.75, f"t−{pair.pair.image - pair.pair.past_image}")):
                pictures[head].text(place, -0.02, when, transform=pictures[head].transAxes, **_BELOW)
        bar = part.colorbar(drawn, cax=part.add_axes((0.95, 0.5, 0.008, 0.35)))
        bar.set_label("attention", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None


def _known(weights: FloatArray, mask: FloatArray) -> FloatArray:
    """[..., 30, 30] NaN where a keypoint is missing, as who attends or as who is attended to."""
    asking = np.concatenate([[True], mask[1:]])
    return np.where(asking[:, None] & mask, weights, np.nan)


def _draw_map(axes: Any, weights: FloatArray, mask: FloatArray, highest: float, *, names: bool) -> Any:
    """30 x 30; names of missing keypoints are grey."""
    axes.set_facecolor(_BLANK)  # shows where the map is blank
    drawn = axes.imshow(weights, vmin=0, vmax=highest, cmap=_COLORS, interpolation="nearest")
    labels = [f"{name}{when}" for when in ("", " (past)") for name in _LABELS]
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=5.5)
    axes.set_yticks(range(len(labels)), labels if names else [], fontsize=5.5)
    axes.tick_params(length=1.5, pad=1)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels() if names else ()):
        for label, there in zip(ticks, mask, strict=False):
            label.set_color("black" if there else _ABSENT)
    for line in (axes.axhline, axes.axvline):
        line(skeleton.COUNT - 0.5, color="white", linewidth=0.8)
    return drawn


def _frame_of_first_row() -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((-0.5, -0.5), 2 * skeleton.COUNT, 1, fill=False, edgecolor="red", linewidth=1.2, clip_on=False)


def _draw_poses(
    axes: Any, canvas: ImageArray, points: FloatArray, mask: FloatArray, received: FloatArray, highest: float
) -> None:
    from matplotlib.collections import LineCollection

    axes.imshow(canvas)
    axes.set_axis_off()
    for start in (0, skeleton.COUNT):
        place = points[start : start + skeleton.COUNT]
        there = mask[start : start + skeleton.COUNT]
        limbs = [place[[a, b]] for a, b in skeleton.EDGES if there[a] and there[b]]
        for color, width in (("white", 2.6), ("#404652", 1.2)):
            axes.add_collection(LineCollection(limbs, colors=color, linewidths=width, capstyle="round"))
    order = np.argsort(received)  # the most attended last, on top
    order = order[mask[order]]
    axes.scatter(
        *points[order].T,
        s=8 + 170 * received[order] / highest,
        c=received[order],
        vmin=0,
        vmax=highest,
        cmap=_COLORS,
        edgecolors="white",
        linewidths=0.6,
        zorder=3,
    )


def _picture(shown: ShownPair) -> tuple[ImageArray, FloatArray]:
    """The current and the past frame side by side, RGB, the same part of both; and the 30 keypoints in it, [30, 2]."""
    width, height = _PICTURE
    poses = Poses.concatenate([shown.pair.current, shown.pair.past])
    boxes = keypoint_boxes(poses.keypoints, poses.scores)[poses.visible.any(1)]
    low, high = (boxes[:, :2].min(0), boxes[:, 2:].max(0)) if len(boxes) else (np.zeros(2), np.array(_PICTURE))
    extent = np.maximum(high - low, 1) * (1 + 2 * _AROUND)
    scale = float(min(width / extent[0], height / extent[1]))
    shift = np.array([width, height]) / 2 - scale * (low + high) / 2
    moved = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    canvas = np.full((height, 2 * width, 3), _GREY, np.uint8)
    for start, image in zip((0, width), shown.images or (), strict=False):
        part = cv2.warpAffine(image, moved, _PICTURE, flags=cv2.INTER_AREA, borderValue=_GREY)
        canvas[:, start : start + width] = cv2.cvtColor(part, cv2.COLOR_BGR2RGB)
    points = poses.keypoints * scale + shift + np.array([[[0, 0]], [[width, 0]]])
    return canvas, points.reshape(-1, 2)
