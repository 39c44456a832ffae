"""`Poses`: everyone in one frame, as arrays: the one type that flows through all stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ImageArray = npt.NDArray[np.uint8]


class TrackState(IntEnum):
    """Life of a track; the numbers are those of `msg/TrackedPose`.

    A track begins TENTATIVE, is CONFIRMED once seen often enough, and LOST while it is not seen; then it is continued
    or ends. A pose is UNTRACKED if it neither continues a track nor may begin one.
    """

    UNTRACKED = 0
    TENTATIVE = 1
    CONFIRMED = 2
    LOST = 3


_ROUNDING = 1e-3
"""By how much a confidence may lie outside 0..1."""


@dataclass(frozen=True)
class Poses:
    """P people of one frame.

    Arrays are copied to the dtypes below and made read-only; those of other `Poses` are shared. A keypoint whose
    coordinate or score is not finite becomes a missing one (0, 0, score 0). All fields but the first two may be left
    out.

    Attributes:
        keypoints: [P, 15, 2] float32, x to the right and y down, pixels of the source image.
        scores: [P, 15] float32, confidence 0..1; 0 = missing.
        boxes: [P, 4] float32, x_min, y_min, x_max, y_max in pixels; by default the extent of the keypoints present.
        box_scores: [P] float32, confidence of the detector; NaN for a carried-over box; by default 1.
        carried: [P] bool, True for a pose found in a box carried over from the frame before (TOKS).
        track_ids: [P] int64, −1 until assigned; afterwards ≥ 1.
        states: [P] uint8, of the pose's track, see `TrackState`.
        match_scores: [P] float32, how surely the pose continues its track, 0..1; 0 for a track's first pose.
        ages: [P] int64, frames since the track began.

    Raises:
        ValueError: a shape does not fit the number of people, or a score of a keypoint or box lies outside 0..1; the
            field is named.
    """

    keypoints: FloatArray
    scores: FloatArray
    boxes: FloatArray = None  # type: ignore[assignment]
    box_scores: FloatArray = None  # type: ignore[assignment]
    carried: BoolArray = None  # type: ignore[assignment]
    track_ids: IntArray = None  # type: ignore[assignment]
    match_scores: FloatArray = None  # type: ignore[assignment]
    ages: IntArray = None  # type: ignore[assignment]
    states: npt.NDArray[np.uint8] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        count = len(self.scores)
        nobody = np.zeros((0, skeleton.COUNT, 2)), np.zeros((0, skeleton.COUNT))
        keypoints, scores = (self.keypoints, self.scores) if count else nobody
        self._set("keypoints", keypoints, (count, skeleton.COUNT, 2), np.float32)
        self._set("scores", scores, (count, skeleton.COUNT), np.float32)
        if not (np.isfinite(self.keypoints).all() and np.isfinite(self.scores).all()):
            finite = np.isfinite(self.keypoints).all(-1) & np.isfinite(self.scores)
            self._set("keypoints", np.where(finite[..., None], self.keypoints, 0), None, np.float32)
            self._set("scores", np.where(finite, self.scores, 0), None, np.float32)
        _require_confidences("Poses.scores", self.scores)
        defaults: dict[str, tuple[Any, tuple[int, ...], Any]] = {
            "boxes": (None, (count, 4), np.float32),
            "box_scores": (1.0, (count,), np.float32),
            "carried": (False, (count,), np.bool_),
            "track_ids": (-1, (count,), np.int64),
            "match_scores": (0.0, (count,), np.float32),
            "ages": (0, (count,), np.int64),
            "states": (TrackState.UNTRACKED, (count,), np.uint8),
        }
        for name, (default, shape, dtype) in defaults.items():
            value = getattr(self, name)
            if value is None:
                value = keypoint_boxes(self.keypoints, self.scores) if name == "boxes" else np.full(shape, default)
            elif count == 0:
                value = np.zeros(shape)
            self._set(name, value, shape, dtype)
        _require_confidences("Poses.box_scores", self.box_scores)

    def _set(self, name: str, value: Any, shape: tuple[int, ...] | None, dtype: Any) -> None:
        own = isinstance(value, np.ndarray) and value.base is None and not value.flags.writeable
        array = value if own and value.dtype == dtype else np.array(value, dtype)  # of other `Poses`: shared
        if shape is not None and array.shape != shape:
            raise ValueError(f"Poses.{name} has shape {array.shape}; {shape} was expected")
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: Any) -> Poses:
        """The people named by a slice, a mask or an index array; always a `Poses`, never a single row."""
        if isinstance(rows, (int, np.integer)):
            rows = [int(rows)]
        return Poses(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @property
    def visible(self) -> BoolArray:
        """[P, 15] bool: keypoints that are present."""
        return np.greater(self.scores, 0)

    @property
    def mean_scores(self) -> FloatArray:
        """[P] float32: mean score of the keypoints that are present; 0 for a pose without any."""
        present = self.visible.sum(1)
        total = self.scores.sum(1)
        return np.where(present > 0, total / np.maximum(present, 1), 0).astype(np.float32)

    def with_fields(self, **changes: Any) -> Poses:
        """The same people with other values in some fields."""
        return replace(self, **changes)

    @staticmethod
    def from_layout(
        keypoints: npt.ArrayLike, scores: npt.ArrayLike | None = None, layout: str | Sequence[str] = "coco17"
    ) -> Poses:
        """People with the keypoints of another tool.

        Keypoints that do not exist here (eyes, ears, pelvis, thorax) are left out; those that the layout lacks are
        missing. Head points are derived from nose and shoulders where there are none, as for networks of that layout.

        Args:
            keypoints: [P, K, 2] x, y in pixels of the image, or [P, K, 3] with the score as the third column.
            scores: [P, K] confidences 0..1; 0 = missing. By default the third column, or 1 for every keypoint.
            layout: `coco17`, `mpii16`, `posetrack17`, `posetrack15`, or the names of the K keypoints in order.

        Raises:
            ValueError: shapes do not fit the layout, a name is not known, or a score lies outside 0..1.
        """
        names = skeleton.JOINT_SETS.get(layout) if isinstance(layout, str) else tuple(layout)
        if names is None:
            raise ValueError(f"layout '{layout}' is none of {', '.join(skeleton.JOINT_SETS)}, nor a list of names")
        points = _numbers("keypoints", keypoints)
        if points.size == 0:
            return Poses.empty()
        if points.ndim != 3 or points.shape[1] != len(names) or points.shape[2] not in (2, 3):
            raise ValueError(f"keypoints has shape {points.shape}; (people, {len(names)}, 2 or 3) is needed")
        if scores is None:
            given = points[..., 2] if points.shape[2] == 3 else np.ones(points.shape[:2], np.float32)
        else:
            given = _numbers("scores", scores)
        if given.shape != points.shape[:2]:
            raise ValueError(f"scores has shape {given.shape}; {points.shape[:2]} is needed")
        _require_confidences("scores", given)
        try:
            channels = np.array(skeleton.channels_of(names))
        except ModelError as error:
            raise ValueError(str(error)) from None
        known = channels >= 0
        ours = np.zeros((len(points), skeleton.COUNT, 2), np.float32)
        confidences = np.zeros((len(points), skeleton.COUNT), np.float32)
        ours[:, known], confidences[:, known] = points[:, channels[known], :2], given[:, channels[known]]
        if "nose" in names and not known[skeleton.INDEX["head_top"]]:
            skeleton.derive_head_points(ours, confidences)
        return Poses(ours, confidences)

    @staticmethod
    def from_coco17(keypoints: npt.ArrayLike, scores: npt.ArrayLike | None = None) -> Poses:
        """People with COCO's 17 keypoints, as YOLO-pose, MMPose and Detectron2 give them; see `from_layout`."""
        return Poses.from_layout(keypoints, scores, "coco17")

    @staticmethod
    def empty() -> Poses:
        """A frame with nobody in it."""
        return Poses(np.zeros((0, skeleton.COUNT, 2)), np.zeros((0, skeleton.COUNT)))

    @staticmethod
    def concatenate(parts: list[Poses]) -> Poses:
        """All people of several `Poses`, in order."""
        if not parts:
            return Poses.empty()
        return Poses(**{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Poses)})


def _require_confidences(name: str, values: FloatArray) -> None:
    """Raises ValueError for numbers outside 0..1, other than NaN and infinite ones, which mean that there is none."""
    finite = values[np.isfinite(values)]
    if finite.size and not (finite.min() >= -_ROUNDING and finite.max() <= 1 + _ROUNDING):
        raise ValueError(
            f"{name} has values from {finite.min():g} to {finite.max():g}; confidences within 0..1 are needed "
            "(percentages, logits and raw heatmap values must be converted first)"
        )


def _numbers(name: str, values: npt.ArrayLike) -> FloatArray:
    """An array of float32. Raises ValueError."""
    try:
        return np.array(values, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: an array of numbers is needed: {error}") from None


def keypoint_boxes(keypoints: FloatArray, scores: FloatArray | BoolArray) -> FloatArray:
    """Extent of the keypoints present (score > 0).

    Takes keypoints [P, 15, 2] and scores [P, 15]; returns [P, 4] float32 x_min, y_min, x_max, y_max; zeros for a pose
    without keypoints.
    """
    present: BoolArray = np.asarray(scores > 0, np.bool_)
    by_axis = np.array([keypoints[..., 0], keypoints[..., 1]])  # NumPy is three times as fast along the last axis
    low = np.where(present, by_axis, np.inf).min(-1, initial=np.inf)
    high = np.where(present, by_axis, -np.inf).max(-1, initial=-np.inf)
    return np.where(present.any(1), np.concatenate([low, high]), 0).T.astype(np.float32)
