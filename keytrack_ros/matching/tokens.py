"""Poses as tokens of Pose Entailment (paper §3.2): where a keypoint is, which it is, and how long ago.

A pair is 30 tokens: the 15 keypoints of the current pose, then those of the past one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.poses import BoolArray, FloatArray, IntArray

GRID = (24, 18)
"""Columns and rows of the paper's grid."""

MEMORY_FRAMES = 4
"""The paper's δ."""

SEGMENT_VARIANTS = ("distinct", "paper")

EMBEDDINGS = ("position", "type", "segment", "relative")
"""What a token may be the sum of; the paper's network has the first three."""

INPUTS = ("positions", "types", "segments", "mask")
"""Of the paper's network, as fields of `PairTokens`; one without an embedding has not its input either."""

RELATIVE = "relative"
"""Input of networks that have this embedding."""


@dataclass(frozen=True)
class PoseTokens:
    """What two poses bring to their pair, each on its own; P poses.

    Attributes:
        positions: [P, 15] int64, cell = row · columns + column; 0 where masked.
        relative: [P, 15] int64, the same of the grid stretched over the pose itself; 0 where masked.
        mask: [P, 15] bool, True where the keypoint is present.
    """

    positions: IntArray
    relative: IntArray
    mask: BoolArray

    def take(self, rows: IntArray) -> PoseTokens:
        """The poses of `rows`, in that order."""
        return PoseTokens(self.positions[rows], self.relative[rows], self.mask[rows])


@dataclass(frozen=True)
class PairTokens:
    """The network's input for N pairs, each [N, 30]; see `EntailmentNetwork.forward`."""

    positions: IntArray
    types: IntArray
    segments: IntArray
    mask: BoolArray
    relative: IntArray

    def take(self, rows: slice) -> PairTokens:
        """Some of the pairs."""
        return PairTokens(*(getattr(self, item.name)[rows] for item in fields(self)))


def pose_tokens(
    keypoints: FloatArray,
    visible: BoolArray,
    frame_size: tuple[float, float] | FloatArray,
    grid: tuple[int, int] = GRID,
) -> PoseTokens:
    """Cells of the grid that is stretched over the frame, and of the same grid stretched over each pose.

    cell = floor(y · rows / height) · columns + floor(x · columns / width). Points outside the frame are clipped to it;
    those more than one cell outside are masked. A masked token is always cell 0, so that nothing leaks from it.

    Relative cells are those within the box around the pose's own unmasked keypoints: they show its shape, and neither
    where it is nor how large. The paper does not say how its relative positions are counted.

    Args:
        keypoints: [P, 15, 2], x and y in pixels.
        visible: [P, 15] bool.
        frame_size: width and height in pixels, of all poses or [P, 2].
        grid: columns and rows.
    """
    cells = np.asarray(keypoints, np.float64) * grid / np.asarray(frame_size, np.float64).reshape(-1, 1, 2)
    inside = ((cells >= -1) & (cells <= np.add(grid, 1))).all(-1)
    mask: BoolArray = np.asarray(visible & inside, np.bool_)
    low = np.where(mask[..., None], cells, np.inf).min(1, keepdims=True)
    high = np.where(mask[..., None], cells, -np.inf).max(1, keepdims=True)
    within = (cells - low) * grid / np.where(high > low, high - low, 1)  # a single keypoint is in the first cell
    return PoseTokens(_cells(cells, mask, grid), _cells(within, mask, grid), mask)


def _cells(points: FloatArray, mask: BoolArray, grid: tuple[int, int]) -> IntArray:
    """[P, 15] cells of points in units of cells, clipped to the grid; 0 where masked."""
    column, row = np.moveaxis(np.clip(np.floor(np.where(mask[..., None], points, 0)), 0, np.subtract(grid, 1)), -1, 0)
    return np.asarray(row * grid[0] + column, np.int64)


def segment_rows(memory_frames: int = MEMORY_FRAMES, variant: str = "distinct") -> int:
    """Rows of the segment table: δ + 1 for `distinct`, δ for `paper`."""
    return memory_frames + 1 if variant == "distinct" else memory_frames


def pair_tokens(current: PoseTokens, past: PoseTokens, gaps: IntArray, variant: str = "distinct") -> PairTokens:
    """N pairs of tokens, the current pose first.

    Args:
        current, past: N poses each.
        gaps: [N] int64, how many frames lie between them, 1 … δ.
        variant: `distinct`: the current pose has segment 0, a past one its gap k. `paper`: the segments 1 … δ of the
            paper, numbered from 0: the current pose and t−1 share row 0, t−k has row k − 1.
    """
    count = len(gaps)
    first = np.zeros_like(gaps)
    second = gaps if variant == "distinct" else gaps - 1
    return PairTokens(
        positions=np.concatenate([current.positions, past.positions], 1),
        types=np.broadcast_to(np.tile(np.arange(skeleton.COUNT), 2), (count, 2 * skeleton.COUNT)),
        segments=np.repeat(np.stack([first, second], 1), skeleton.COUNT, 1),
        mask=np.concatenate([current.mask, past.mask], 1),
        relative=np.concatenate([current.relative, past.relative], 1),
    )
