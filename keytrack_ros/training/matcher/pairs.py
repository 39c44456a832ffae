"""Pairs of poses to learn from: one person in two frames, or two people.

Past poses lie `gap` frames of a camera back, gap 1 … δ, and other rates of a camera are imitated by taking every 2nd,
4th or 8th frame of the video. Half of the pairs are one person. The others are what a tracker confuses: the people
nearest to the person in the past frame; and, since single-person videos have none and detectors invent some, foreign
poses of about the same size put near the place where the person was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from keytrack_ros.errors import DataError
from keytrack_ros.matching.tokens import GRID, PairTokens, pair_tokens, pose_tokens
from keytrack_ros.poses import BoolArray, FloatArray, IntArray
from keytrack_ros.training.common.shares import source_shares
from keytrack_ros.training.matcher.augment import PairArrays, augmented, heights
from keytrack_ros.training.matcher.tracks import Tracks

LARGEST_STRIDE = 8
NEAREST = 5
"""Negatives are among so many nearest people, as in the tracker."""

FOREIGN_SHARE = 0.2
"""Part of the negatives of videos with several people that are foreign poses."""

MIN_KEYPOINTS = 2
"""A pair in which a pose has fewer keypoints left is not used."""


Draw = Callable[[IntArray, IntArray, np.random.Generator], tuple[PairArrays, IntArray]]
"""From [N] rows and how many frames before them to look: pairs, and which of the N rows they begin with."""


@dataclass(frozen=True)
class Batch:
    """N labelled pairs: tokens and [N] int64, 1 for one person."""

    tokens: PairTokens
    labels: IntArray


class PairSampler:
    """Draws pairs from tracks.

    Args:
        tracks: rows to draw from.
        memory_frames: δ.
        segments: variant of the segment tokens.
        grid: of the position tokens.
        largest_stride: every 1st, 2nd, 4th … frame is taken, up to this.
        native_share: part of the pairs for which every frame is taken; the rest have any of these strides.
        augmentation: what is done to pairs to learn from, a key of `augment.AUGMENTATIONS`.
        shares: how often a pair begins with a row of a source; those that are not named share the rest equally.

    Raises:
        DataError: no video has a track over two frames, or nobody who could be confused with another.
    """

    def __init__(
        self,
        tracks: Tracks,
        memory_frames: int,
        segments: str,
        grid: tuple[int, int] = GRID,
        largest_stride: int = LARGEST_STRIDE,
        native_share: float = 0.0,
        augmentation: str = "detector",
        shares: Mapping[str, float] | None = None,
    ) -> None:
        if len(tracks) == 0:
            raise DataError("no tracks to draw pairs from: all videos are held back or the sources are empty")
        self.tracks = tracks
        self.memory_frames, self.segments, self.grid = memory_frames, segments, grid
        self._strides = [2**k for k in range(largest_stride.bit_length())]
        self._native_share = native_share
        self._augmentation = augmentation
        self._heights = heights(tracks.keypoints, tracks.present)
        self._centers = _centers(tracks.keypoints, tracks.present)
        # Rows of one frame are neighbours, since tracks are sorted by video and frame.
        self._span = int(tracks.frame.max()) + 1
        self._keys, self._first, self._people = np.unique(
            tracks.video * self._span + tracks.frame, return_index=True, return_counts=True
        )
        self._sources = np.array([name.partition("/")[0] for name in tracks.names])[tracks.video]
        self._pools = {source: np.flatnonzero(self._sources == source) for source in np.unique(self._sources).tolist()}
        named = {source: share for source, share in (shares or {}).items() if source in self._pools}
        self._shares = source_shares(list(self._pools), [1] * len(self._pools), named)
        self._several = tracks.several
        starts = np.searchsorted(tracks.video, np.arange(len(tracks.names) + 1))
        self._video_start, self._video_rows = starts[:-1], np.diff(starts)

    def batch(self, count: int, rng: np.random.Generator) -> Batch:
        """`count` augmented pairs, half of them one person."""
        positives = self._collect(count // 2, rng, self._positives)
        negatives = self._collect(count - count // 2, rng, self._negatives)
        return self._shuffled(positives, negatives, rng)

    def nearest_batch(self, count: int, rng: np.random.Generator, among: int = 1) -> Batch:
        """`count` pairs as annotated, half of them one person.

        The others are the nearest other person of the past frame, or any of the `among` nearest of them.
        """
        positives = self._collect(count // 2, rng, self._positives, plain=True)
        negatives = self._collect(count - count // 2, rng, partial(self._nearest, among=among), plain=True)
        return self._shuffled(positives, negatives, rng)

    def _shuffled(
        self, positives: tuple[PairArrays, IntArray], negatives: tuple[PairArrays, IntArray], rng: np.random.Generator
    ) -> Batch:
        labels = np.repeat([1, 0], [len(positives[1]), len(negatives[1])]).astype(np.int64)
        order = rng.permutation(len(labels))
        pairs = _joined([positives[0], negatives[0]], order)
        gaps = np.concatenate([positives[1], negatives[1]])[order]
        return Batch(self._tokens(pairs, gaps), labels[order])

    def _collect(
        self, count: int, rng: np.random.Generator, draw: Draw, plain: bool = False
    ) -> tuple[PairArrays, IntArray]:
        """Draws until `count` pairs are usable."""
        found: list[PairArrays] = []
        gaps: list[IntArray] = []
        have = 0
        for _ in range(100):
            rows = self._rows(2 * count + 16, rng)
            gap = rng.integers(1, self.memory_frames + 1, len(rows))
            stride = rng.choice(self._strides, len(rows))
            if self._native_share:
                stride = np.where(rng.random(len(rows)) < self._native_share, 1, stride)
            steps = gap * stride
            pairs, chosen = draw(rows, steps, rng)
            gap = gap[chosen]
            if not plain:
                pairs = augmented(pairs, rng, self._augmentation)
            usable = self._usable(pairs)
            found.append(_taken(pairs, usable))
            gaps.append(gap[usable])
            have += int(usable.sum())
            if have >= count:
                return _joined(found, np.arange(count)), np.concatenate(gaps)[:count]
        raise DataError(
            "hardly any pair of poses can be drawn from the tracks: they are too short, too lonely, or have too few "
            "keypoints in the frame"
        )

    def _rows(self, count: int, rng: np.random.Generator) -> IntArray:
        pools = list(self._pools.values())
        of = rng.choice(len(pools), count, p=self._shares)
        drawn = rng.random(count)
        lengths = np.array([len(pool) for pool in pools])[of]
        return np.array([pools[p][i] for p, i in zip(of, (drawn * lengths).astype(np.int64), strict=True)], np.int64)

    def _past_people(self, rows: IntArray, steps: IntArray) -> IntArray:
        """[N, M] rows of everyone in the frame that lies `steps` frames before that of `rows`; −1 fills up."""
        frame = self.tracks.frame[rows] - steps
        key = self.tracks.video[rows] * self._span + frame
        at = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        exists = (frame >= 0) & (self._keys[at] == key)
        column = np.arange(int(self._people.max()))
        return np.where(exists[:, None] & (column < self._people[at][:, None]), self._first[at][:, None] + column, -1)

    def _same(self, rows: IntArray, people: IntArray) -> BoolArray:
        return np.asarray((people >= 0) & (self.tracks.person[people] == self.tracks.person[rows][:, None]))

    def _positives(self, rows: IntArray, steps: IntArray, _: np.random.Generator) -> tuple[PairArrays, IntArray]:
        people = self._past_people(rows, steps)
        same = self._same(rows, people)
        chosen = np.flatnonzero(same.any(1))
        past = people[chosen, same[chosen].argmax(1)]
        return self._pairs(rows[chosen], past), chosen

    def _ranked_others(self, rows: IntArray, people: IntArray) -> tuple[IntArray, IntArray]:
        """[N, M] the other people, nearest first, and [N] how many there are."""
        others = (people >= 0) & ~self._same(rows, people)
        tracks = self.tracks
        shared = tracks.present[rows][:, None] & tracks.present[people]  # [N, M, 15]
        apart = np.linalg.norm(tracks.keypoints[rows][:, None] - tracks.keypoints[people], axis=-1)
        centers = np.linalg.norm(self._centers[rows][:, None] - self._centers[people], axis=-1)
        number = shared.sum(-1)
        distance = np.where(number > 0, (apart * shared).sum(-1) / np.maximum(number, 1), centers)
        order = np.where(others, distance, np.inf).argsort(1)
        return np.take_along_axis(people, order, 1), others.sum(1)

    def _nearest(
        self, rows: IntArray, steps: IntArray, rng: np.random.Generator, among: int
    ) -> tuple[PairArrays, IntArray]:
        ranked, number = self._ranked_others(rows, self._past_people(rows, steps))
        chosen = np.flatnonzero(number > 0)
        rank = rng.integers(0, np.minimum(number[chosen], among))
        return self._pairs(rows[chosen], ranked[chosen, rank]), chosen

    def _negatives(self, rows: IntArray, steps: IntArray, rng: np.random.Generator) -> tuple[PairArrays, IntArray]:
        people = self._past_people(rows, steps)
        ranked, number = self._ranked_others(rows, people)
        # Each rank half as likely as the one before it.
        rank = np.minimum(rng.geometric(0.5, len(rows)) - 1, np.minimum(number, NEAREST) - 1)
        neighbour = np.take_along_axis(ranked, np.maximum(rank, 0)[:, None], 1)[:, 0]
        same = self._same(rows, people)
        present = np.flatnonzero(same.any(1))
        old_self = np.full(len(rows), -1, np.int64)
        old_self[present] = people[present, same[present].argmax(1)]

        single = ~self._several[self.tracks.video[rows]]
        foreign = (old_self >= 0) & (single | (rng.random(len(rows)) < FOREIGN_SHARE))
        chosen = np.flatnonzero(foreign | (number > 0))
        past = np.where(foreign, self._strangers(rows, rng), neighbour)[chosen]
        pairs = self._pairs(rows[chosen], past)
        return self._placed(pairs, foreign[chosen], old_self[chosen], past, rng), chosen

    def _strangers(self, rows: IntArray, rng: np.random.Generator) -> IntArray:
        """For each row another of its source; in half of the cases another person of the same video, if any."""
        anyone = np.array([rng.choice(self._pools[source]) for source in self._sources[rows]], np.int64)
        video = self.tracks.video[rows]
        mate = self._video_start[video] + (rng.random(len(rows)) * self._video_rows[video]).astype(np.int64)
        takes = (rng.random(len(rows)) < 0.5) & (self.tracks.person[mate] != self.tracks.person[rows])
        return np.where(takes, mate, anyone)

    def _placed(
        self, pairs: PairArrays, foreign: BoolArray, old_self: IntArray, past: IntArray, rng: np.random.Generator
    ) -> PairArrays:
        """Moves the foreign poses near the place where the person was, at about that person's size."""
        count = len(foreign)
        size = self._heights[old_self]
        scale = size / self._heights[past] * np.exp(rng.normal(0, 0.15, count))
        angle, distance = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.1, 1.2, count) * size
        place = self._centers[old_self] + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        moved = (pairs.keypoints[:, 1] - self._centers[past][:, None]) * scale[:, None, None] + place[:, None]
        points = pairs.keypoints.copy()
        points[:, 1] = np.where(foreign[:, None, None], moved, points[:, 1])
        return PairArrays(points, pairs.present, pairs.hidden, pairs.frame)

    def _pairs(self, current: IntArray, past: IntArray) -> PairArrays:
        both = np.stack([current, past], 1)
        tracks = self.tracks
        size = tracks.sizes[tracks.video[current]]
        frame = np.stack([np.zeros_like(size), size], 1)
        return PairArrays(tracks.keypoints[both], tracks.present[both], tracks.hidden[both], frame)

    def _usable(self, pairs: PairArrays) -> BoolArray:
        """Pairs in which both poses keep enough keypoints inside the frame."""
        relative = (pairs.keypoints - pairs.frame[:, None, None, 0]) / pairs.frame[:, None, None, 1]
        inside = pairs.present & (relative >= 0).all(-1) & (relative <= 1).all(-1)
        return np.asarray((inside.sum(-1) >= MIN_KEYPOINTS).all(1))

    def _tokens(self, pairs: PairArrays, gaps: IntArray) -> PairTokens:
        corner, size = pairs.frame[:, 0, None], pairs.frame[:, 1]
        current, past = (
            pose_tokens(pairs.keypoints[:, i] - corner, pairs.present[:, i], size, self.grid) for i in (0, 1)
        )
        return pair_tokens(current, past, gaps, self.segments)


def _centers(keypoints: FloatArray, present: BoolArray) -> FloatArray:
    weight = present[..., None].astype(np.float32)
    return np.asarray((keypoints * weight).sum(-2) / np.maximum(weight.sum(-2), 1), np.float32)


def _taken(pairs: PairArrays, rows: BoolArray | IntArray) -> PairArrays:
    return PairArrays(pairs.keypoints[rows], pairs.present[rows], pairs.hidden[rows], pairs.frame[rows])


def _joined(parts: list[PairArrays], rows: IntArray) -> PairArrays:
    joined = PairArrays(
        np.concatenate([part.keypoints for part in parts]),
        np.concatenate([part.present for part in parts]),
        np.concatenate([part.hidden for part in parts]),
        np.concatenate([part.frame for part in parts]),
    )
    return _taken(joined, rows)
