"""The interfaces of everything that scores who is who: pair by pair of poses, or pose by track."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import numpy as np

from keytrack_ros.poses import BoolArray, FloatArray, IntArray, Poses


@dataclass(frozen=True)
class MatchQuery:
    """What a tracker asks of a matcher in one frame: Q remembered poses, P current ones, M pairs to score.

    Keypoints that are too uncertain for matching already have score 0 here.

    Attributes:
        current: the P poses of this frame.
        past: the Q poses of the remembered frames, one after another, newest frame first; `track_ids` are set.
        gaps: [Q] int64, how many frames ago each past pose was seen: 1 … δ.
        seconds: [Q] float32, the same in seconds, by the images' stamps.
        pairs: [M, 2] int64, row in `current` and row in `past` of each pair to score.
        frame_size: width and height of the image in pixels.
    """

    current: Poses
    past: Poses
    gaps: IntArray
    seconds: FloatArray
    pairs: IntArray
    frame_size: tuple[int, int]


class Matcher(Protocol):
    """Scores pairs of poses; has no memory of its own."""

    def score(self, query: MatchQuery) -> FloatArray:
        """[M] float32 in 0..1: how surely each pair of `query.pairs` is one person."""
        ...


@dataclass(frozen=True)
class ExpectedBoxes:
    """Boxes that T tracks should have in this frame if the camera has rested since the newest remembered one.

    Attributes:
        centers: [T, 2] float32, pixels.
        sizes: [T, 2] float32, width and height in pixels.
        center_std: [T] float32, standard deviation of a detected center along each axis, pixels.
        size_std: [T, 2] float32, standard deviation of the logarithms of a detected width and height.
    """

    centers: FloatArray
    sizes: FloatArray
    center_std: FloatArray
    size_std: FloatArray

    @property
    def boxes(self) -> FloatArray:
        """[T, 4] float32: x_min, y_min, x_max, y_max."""
        return np.concatenate([self.centers - self.sizes / 2, self.centers + self.sizes / 2], 1)

    def __getitem__(self, rows: IntArray | BoolArray) -> ExpectedBoxes:
        return ExpectedBoxes(*(getattr(self, item.name)[rows] for item in fields(self)))


@dataclass(frozen=True)
class TrackQuery:
    """What a tracker asks of a track matcher in one frame: P current poses, T tracks that left Q poses.

    Attributes:
        current, past, gaps, seconds: as in `MatchQuery`.
        camera: [Q, 2] float32, pixels by which the picture had moved, since each past pose, when the newest remembered
            frame was taken.
        track_ids: [T] int64, ascending, the ids in `past`.
        candidates: how many nearest tracks a pose is compared with at most.
        gating: whether clear cases are settled by geometry alone, see `keytrack_ros.matching.gating`.
        expected: T boxes; None where boxes are no evidence.
        weak: [P] bool, current poses that are assigned after the others; None for none of them.
        contested, overlapped: [Q, 15] and [Q] float32, how the past poses of a frame overlapped, see `boxes.Overlap`;
            None where this is not known yet.
        frame_size: width and height of the image in pixels; None where it has no border.
    """

    current: Poses
    past: Poses
    gaps: IntArray
    seconds: FloatArray
    camera: FloatArray
    track_ids: IntArray
    candidates: int
    gating: bool = False
    expected: ExpectedBoxes | None = None
    weak: BoolArray | None = None
    contested: FloatArray | None = None
    overlapped: FloatArray | None = None
    frame_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class TrackScores:
    """The answer.

    Attributes:
        scores: [P, T] float32 in 0..1, how surely each pose continues each track; −inf where they were not compared.
        shift: [2] float32, pixels by which the picture has moved since the newest remembered frame.
        logits: [P, T] float32, log-odds that the network gave each pair on its own, from which the scores were made;
            −inf where it was not asked. None of a matcher that has no such thing. Only explanations read it.
        settled: [P, T] bool, clear cases, of which no network was asked; None where there was no gating. Only
            explanations read it.
        merged: [P, T] bool, pairs whose box more likely holds this person and another one than this one alone; None of
            a matcher that does not look at boxes.
    """

    scores: FloatArray
    shift: FloatArray
    logits: FloatArray | None = None
    settled: BoolArray | None = None
    merged: BoolArray | None = None

    @staticmethod
    def none(poses: int, tracks: int) -> TrackScores:
        """Nothing was compared."""
        return TrackScores(np.full((poses, tracks), -np.inf, np.float32), np.zeros(2, np.float32))


@runtime_checkable
class TrackMatcher(Protocol):
    """Scores poses against whole tracks; has no memory of its own."""

    def score_tracks(self, query: TrackQuery) -> TrackScores: ...
