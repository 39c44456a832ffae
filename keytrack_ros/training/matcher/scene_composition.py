"""Scenes to learn from: several people over a few frames of a camera, taken from tracks and composed of them.

A scene is one current frame and the `HISTORY` frames before it, at the rate of a camera that takes every k-th frame of
the video. Scenes show a video's own people, with people of other videos pasted beside them in some and only pasted
people in others: crossings and similar motion then occur that the few videos with several people do not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.matching.motion import centroids
from keytrack_ros.poses import BoolArray, FloatArray, IntArray
from keytrack_ros.training.matcher.augment import heights
from keytrack_ros.training.matcher.tracks import Tracks

MAX_PEOPLE = 8
"""Number of people that a scene has room for."""

HISTORY = 8
"""Frames before the current one."""

STRIDES = (1, 2, 3, 4, 6, 8, 10)
STRIDE_SHARES = (0.23, 0.17, 0.1, 0.17, 0.1, 0.17, 0.06)
"""How often each k is taken: rates of 25 to 2.5 frames a second if the videos have 25."""

VARIABLE_RATE_SHARE = 0.25
"""Scenes whose frames lie 0.6 to 1.4 k apart, as on a machine that drops frames."""

COMPOSED_SHARE = 0.28
"""Scenes made of pasted people only, if there are videos with one person."""

PASTED_SHARE = 0.3
"""Other scenes that get one or two people pasted."""

STAGE = (1280.0, 720.0)
"""Pixels of the frame of a composed scene."""


@dataclass(frozen=True)
class Scenes:
    """S scenes of F frames (the current one first, then backwards) with room for P people.

    Attributes:
        keypoints: [S, F, P, 15, 2] float32, pixels.
        present, hidden: [S, F, P, 15] bool; a person who is not in a frame has no keypoint there.
        back: [S, F] int64, frames of the video since.
        size: [S, 2] float32, width and height of the frame.
    """

    keypoints: FloatArray
    present: BoolArray
    hidden: BoolArray
    back: IntArray
    size: FloatArray


class SceneComposer:
    """Draws scenes from tracks.

    Args:
        tracks: of several sources; those with several people give whole scenes, all give people to paste.
        compose: whether people are pasted.

    Raises:
        DataError: there is no video with several people.
    """

    def __init__(self, tracks: Tracks, compose: bool = True) -> None:
        self.tracks, self._compose = tracks, compose
        key = tracks.video * (int(tracks.person.max(initial=0)) + 1) + tracks.person
        _, first_row, track = np.unique(key, return_index=True, return_inverse=True)
        self._video = tracks.video[first_row]
        self._begin = np.full(len(first_row), np.iinfo(np.int64).max)
        self._end = np.full(len(first_row), -1)
        np.minimum.at(self._begin, track, tracks.frame)
        np.maximum.at(self._end, track, tracks.frame)
        lengths = self._end - self._begin + 1
        self._offset = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        self._table = np.full(int(lengths.sum()), -1, np.int64)
        self._table[self._offset[track] + tracks.frame - self._begin[track]] = np.arange(len(tracks))
        several = tracks.several
        self._rows = np.flatnonzero(several[tracks.video])
        if len(self._rows) == 0:
            raise DataError("no video with several people, of whom scenes are made")
        # Long videos count more than short ones, but less than their length says: their frames are much alike.
        weight = np.bincount(tracks.video)[tracks.video[self._rows]] ** -0.5
        self._cumulated = np.cumsum(weight / weight.sum())
        self._tracks_of = [np.flatnonzero(self._video == v) for v in range(len(tracks.names))]
        self._among_several = np.flatnonzero(several[self._video])
        self._alone = np.flatnonzero(~several[self._video])
        self.heights = heights(tracks.keypoints, tracks.present)
        self.centers = centroids(tracks.keypoints, tracks.present)

    def draw(self, count: int, rng: np.random.Generator) -> Scenes:
        """`count` scenes, as annotated apart from what is pasted."""
        stride = rng.choice(STRIDES, count, p=STRIDE_SHARES)
        steps = np.repeat(stride[:, None], HISTORY, 1)
        varies = (rng.random(count) < VARIABLE_RATE_SHARE) & (stride > 1)
        varied = np.maximum(1, np.round(steps * rng.uniform(0.6, 1.4, steps.shape))).astype(np.int64)
        steps = np.where(varies[:, None], varied, steps)
        back = np.concatenate([np.zeros((count, 1), np.int64), np.cumsum(steps, 1)], 1)
        composition = _Composition(count)
        size = np.empty((count, 2), np.float32)
        for scene in range(count):
            if self._compose and len(self._alone) and rng.random() < COMPOSED_SHARE:
                size[scene] = STAGE
                guests = int(rng.integers(2, 5))
            else:
                size[scene] = self._whole(composition, scene, back[scene], rng)
                room = min(2, MAX_PEOPLE - composition.number[scene])
                guests = int(rng.integers(1, room + 1)) if room > 0 and rng.random() < PASTED_SHARE else 0
            for _ in range(guests if self._compose else 0):
                self._paste(composition, scene, int(stride[scene]), rng)
        return self._played(composition, back, size)

    def row(self, track: IntArray, frame: IntArray) -> IntArray:
        """Rows of tracks in frames; −1 where a track is not seen."""
        inside = (track >= 0) & (frame >= self._begin[track]) & (frame <= self._end[track])
        at = np.where(inside, self._offset[track] + frame - self._begin[track], 0)
        return np.where(inside, self._table[at], -1)

    def _whole(self, composition: _Composition, scene: int, back: IntArray, rng: np.random.Generator) -> FloatArray:
        """The people of a video around one of its poses; returns the frame's size."""
        at = min(int(np.searchsorted(self._cumulated, rng.random())), len(self._rows) - 1)
        row = int(self._rows[at])
        video, frame = int(self.tracks.video[row]), int(self.tracks.frame[row])
        everyone = self._tracks_of[video]
        begin, end = int(self._begin[everyone].min()), int(self._end[everyone].max())
        if frame - back[1] < begin:  # a scene without a past teaches nothing
            frame = min(begin + int(back[1]) * int(rng.integers(1, 3)), end)
        here = everyone[(self._begin[everyone] <= frame) & (self._end[everyone] >= frame - back[-1])]
        if len(here) > MAX_PEOPLE:
            seen = self.row(here, np.clip(frame, self._begin[here], self._end[here]))
            distance = np.linalg.norm(self.centers[seen] - self.centers[row], axis=1)
            here = here[np.argsort(np.where(seen >= 0, distance, np.inf))[:MAX_PEOPLE]]
        for track in rng.permutation(here):
            composition.add(scene, int(track), frame)
        size: FloatArray = self.tracks.sizes[video]
        return size

    def _paste(self, composition: _Composition, scene: int, stride: int, rng: np.random.Generator) -> None:
        """A person of another video, at the size of one who is there and near that one."""
        number = int(composition.number[scene])
        alone = len(self._alone) > 0 and rng.random() < (0.5 if number else 0.75)
        track = int(rng.choice(self._alone if alone else self._among_several))
        begin, end = int(self._begin[track]), int(self._end[track])
        frame = int(rng.integers(min(begin + stride, end), end + 1))
        row = int(self.row(np.array(track), np.array(frame)))
        if row < 0:
            return
        if number == 0:
            height = rng.uniform(60, 250)
            place: FloatArray = np.array(STAGE) / 2 + rng.normal(0, 60, 2)
        else:
            host = int(rng.integers(number))
            at = int(composition.track[scene, host])
            seen = int(self.row(np.array(at), np.clip(composition.frame[scene, host], self._begin[at], self._end[at])))
            if seen < 0:
                return
            height = float(self.heights[seen] * composition.scale[scene, host])
            angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 1.6) * height
            place = composition.placed(scene, host, self.centers[seen])
            place = place + distance * np.array([np.cos(angle), 0.5 * np.sin(angle)])
        scale = height / float(self.heights[row]) * float(np.exp(rng.normal(0, 0.15)))
        mirror = bool(rng.random() < 0.5)
        centre = self.centers[row] * ((-1, 1) if mirror else (1, 1))
        composition.add(scene, track, frame, scale, mirror, place - scale * centre)

    def _played(self, composition: _Composition, back: IntArray, size: FloatArray) -> Scenes:
        frame = composition.frame[:, None] - back[:, :, None]  # [S, F, P]
        rows = self.row(np.broadcast_to(composition.track[:, None], frame.shape), frame)
        seen = np.maximum(rows, 0)
        points, hidden = self.tracks.keypoints[seen], self.tracks.hidden[seen]
        present = self.tracks.present[seen] & (rows >= 0)[..., None]
        order = np.array(skeleton.MIRRORED)
        mirror = np.broadcast_to(composition.mirror[:, None], frame.shape)[..., None]
        flipped = (points * np.array([-1, 1], np.float32))[..., order, :]
        points = np.where(mirror[..., None], flipped, points)
        present, hidden = np.where(mirror, present[..., order], present), np.where(mirror, hidden[..., order], hidden)
        points = points * composition.scale[:, None, :, None, None] + composition.shift[:, None, :, None]
        return Scenes(points.astype(np.float32), present, hidden, back, size)


class _Composition:
    """The tracks of each scene: which, their frame that is the current one, and how they are placed in the image."""

    def __init__(self, scenes: int) -> None:
        self.track = np.full((scenes, MAX_PEOPLE), -1, np.int64)
        self.frame = np.zeros((scenes, MAX_PEOPLE), np.int64)
        self.scale = np.ones((scenes, MAX_PEOPLE), np.float32)
        self.mirror = np.zeros((scenes, MAX_PEOPLE), bool)
        self.shift = np.zeros((scenes, MAX_PEOPLE, 2), np.float32)
        self.number = np.zeros(scenes, np.int64)

    def add(
        self,
        scene: int,
        track: int,
        frame: int,
        scale: float = 1.0,
        mirror: bool = False,
        shift: FloatArray | tuple[float, float] = (0.0, 0.0),
    ) -> None:
        slot = scene, int(self.number[scene])
        self.track[slot], self.frame[slot], self.scale[slot], self.mirror[slot] = track, frame, scale, mirror
        self.shift[slot] = shift
        self.number[scene] += 1

    def placed(self, scene: int, slot: int, point: FloatArray) -> FloatArray:
        """Where a point of a track's video lies in the scene."""
        flip = (-1, 1) if self.mirror[scene, slot] else (1, 1)
        return np.asarray(point * flip * self.scale[scene, slot] + self.shift[scene, slot])
