"""Why poses got their ids: what the tracker compared, what geometry and the network said of it, and what was chosen.

All of it is read from the `Comparison` that a tracker keeps of its last frame, so that tracking is the same, and as
fast, whether somebody asks or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keytrack_ros.geometry import box_iou, oks
from keytrack_ros.matching.boxes import exists
from keytrack_ros.matching.histories import collect_histories, expected_poses
from keytrack_ros.matching.matcher import TrackQuery
from keytrack_ros.poses import FloatArray, Poses, TrackState
from keytrack_ros.tracker.tracker import Comparison

DOUBT = 3.0
"""A choice is doubtful if its odds are less than so many times those of the nearest alternative."""

_TELLING_OKS = 0.1
"""What geometry would rather have is worth words from here on."""

CAUSES = {
    "best": "continues the track that fits it best",
    "next": "continues another track, since a pose that fits better got its best one",
    "first": "new: no track is remembered",
    "blank": "new: none of its keypoints is certain enough to be compared",
    "far": "new: no track is near enough to be compared",
    "taken": "new: poses that fit better got the tracks that it could have continued",
    "weak": "new: no track reaches the threshold",
    "untracked": "not tracked: continues no track, and its box score is too low to begin one",
}


@dataclass(frozen=True)
class Candidate:
    """A track that a pose was compared with.

    Attributes:
        track_id: its id.
        gap_frames, gap_s: how long ago it was seen last.
        score: by which poses and tracks are assigned, 0..1.
        network: probability of this pose and this track alone, before other poses and tracks are considered; of a
            network of pairs that of the most alike past pose, which is the score; None where geometry settled the case.
        pairs: of a network of pairs: how many frames ago each past pose was, and its score, newest first.
        predicted_oks: OKS with where the track should be at constant velocity, the camera's motion included.
        last_oks: OKS with the track's last pose where that was.
        distance_px: mean distance of shared keypoints from where the track should be; None if none is shared.
        box_iou: IoU of the detected box with the expected one; None where boxes are no evidence.
        taken_by: row of the pose that continues the track in this frame, if any.
    """

    track_id: int
    gap_frames: int
    gap_s: float
    score: float
    network: float | None
    pairs: tuple[tuple[int, float], ...]
    predicted_oks: float
    last_oks: float
    distance_px: float | None
    box_iou: float | None
    taken_by: int | None


@dataclass(frozen=True)
class PoseExplanation:
    """Why one pose got its id.

    Attributes:
        track_id: the id that it got.
        cause: one of `CAUSES`; the first two continue a track, with the others one begins.
        score: by which it continues its track; 0 for a new one.
        margin: how many times larger the odds of the choice are than those of the nearest alternative (another track,
            another pose for this track, or a new track, whose score is the threshold); None without any.
        reason: all that in words.
        candidates: best first.
        geometry: the remembered track with the highest predicted OKS, and that OKS; None where all are 0.
    """

    track_id: int
    cause: str
    score: float
    margin: float | None
    reason: str
    candidates: tuple[Candidate, ...]
    geometry: tuple[int, float] | None

    @property
    def continued(self) -> bool:
        return self.cause in ("best", "next")

    @property
    def doubtful(self) -> bool:
        return self.margin is not None and self.margin < DOUBT


@dataclass(frozen=True)
class FrameExplanation:
    """Why the P poses of a frame got their ids, and what of the T remembered tracks geometry expected.

    Attributes:
        threshold: the least score by which a track is continued; a lost one needs `TrackerOptions.rebirth_threshold`.
        shift: x and y in pixels by which the picture was found to have moved since the frame before.
        poses: P, in the order of the tracker's answer.
        last: T poses, where each track was last seen, with ids.
        expected: the same, where each should be now.
    """

    threshold: float
    shift: tuple[float, float]
    poses: tuple[PoseExplanation, ...]
    last: Poses
    expected: Poses

    @property
    def unseen(self) -> list[int]:
        """Remembered tracks that nobody continues."""
        seen = {pose.track_id for pose in self.poses}
        return [i for i in self.last.track_ids.tolist() if i not in seen]


def explain(comparison: Comparison, tracked: Poses, threshold: float) -> FrameExplanation:
    """Explains the last frame of a tracker.

    Args:
        comparison: what the tracker compared.
        tracked: what it answered.
        threshold: `TrackerOptions.match_threshold`.
    """
    query, found = comparison.query, comparison.found
    last, expected = _geometry(query)
    shown = expected.with_fields(keypoints=expected.keypoints + found.shift)
    predicted = oks(query.current, shown)
    resting = oks(query.current, last)
    scores = np.where(np.isnan(found.scores), -np.inf, found.scores)
    row_of = {int(track_id): row for row, track_id in enumerate(tracked.track_ids)}
    taken = [row_of.get(track_id) for track_id in query.track_ids.tolist()]
    asked = _pairs(comparison)
    overlap = _box_overlap(query, found.shift)
    required = dict(zip(query.track_ids.tolist(), comparison.thresholds.tolist(), strict=True))
    newest = {int(track_id): k for k, track_id in reversed(list(enumerate(query.past.track_ids)))}

    def network(row: int, track: int) -> float | None:
        if found.settled is not None and found.settled[row, track]:
            return None
        if found.logits is None:
            return float(scores[row, track])
        return float(np.exp(-np.logaddexp(0, -found.logits[row, track])))

    def candidate(row: int, track: int) -> Candidate:
        track_id = int(query.track_ids[track])
        shared = query.current.visible[row] & shown.visible[track]
        apart = np.linalg.norm(query.current.keypoints[row] - shown.keypoints[track], axis=-1)
        score = float(scores[row, track])
        return Candidate(
            track_id=track_id,
            gap_frames=int(query.gaps[newest[track_id]]),
            gap_s=float(query.seconds[newest[track_id]]),
            score=score,
            network=network(row, track),
            pairs=tuple(asked.get((row, track_id), ())),
            predicted_oks=float(predicted[row, track]),
            last_oks=float(resting[row, track]),
            distance_px=float(apart[shared].mean()) if shared.any() else None,
            box_iou=None if overlap is None or not exists(query.current.boxes[row]) else float(overlap[row, track]),
            taken_by=taken[track],
        )

    poses = []
    for row in range(len(tracked)):
        order = np.argsort(-scores[row], kind="stable")
        candidates = tuple(candidate(row, int(track)) for track in order if np.isfinite(scores[row, track]))
        likeliest = int(predicted[row].argmax()) if predicted[row].any() else None
        geometry = None
        if likeliest is not None:
            geometry = int(query.track_ids[likeliest]), float(predicted[row, likeliest])
        track_id = int(tracked.track_ids[row])
        blank = not query.current.visible[row].any()
        cause = _cause(track_id, candidates, required, blank=blank, first=len(query.track_ids) == 0)
        if tracked.states[row] == TrackState.UNTRACKED:
            cause = "untracked"
        nearest = min(_alternatives(row, track_id, candidates, scores, query, tracked, threshold), default=None)
        poses.append(
            PoseExplanation(
                track_id,
                cause,
                float(tracked.match_scores[row]),
                None if nearest is None else nearest[0],
                _reason(track_id, cause, candidates, threshold, geometry, nearest),
                candidates,
                geometry,
            )
        )
    return FrameExplanation(threshold, (float(found.shift[0]), float(found.shift[1])), tuple(poses), last, shown)


def _pairs(comparison: Comparison) -> dict[tuple[int, int], list[tuple[int, float]]]:
    """By row of a current pose and track id: how many frames ago each pose was, and its score."""
    found: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for (row, past), score in zip(comparison.pairs.tolist(), comparison.pair_scores.tolist(), strict=True):
        pair = int(comparison.query.gaps[past]), float(score)
        found.setdefault((row, int(comparison.query.past.track_ids[past])), []).append(pair)
    return found


def _geometry(query: TrackQuery) -> tuple[Poses, Poses]:
    """The last pose of each track where it was, and where it should be now if the camera has rested meanwhile."""
    moved = query.past.with_fields(keypoints=query.past.keypoints + query.camera[:, None])
    histories = collect_histories(moved, query.gaps, query.seconds, query.track_ids)
    rows = [int(np.flatnonzero(query.past.track_ids == track_id)[0]) for track_id in query.track_ids]
    expected = expected_poses(histories, histories.velocities)
    scores = histories.scores[:, 0]
    return query.past[rows], Poses(expected, scores, track_ids=query.track_ids)


def _cause(
    track_id: int, candidates: tuple[Candidate, ...], required: dict[int, float], *, blank: bool, first: bool
) -> str:
    if track_id in [candidate.track_id for candidate in candidates]:
        return "best" if candidates[0].track_id == track_id else "next"
    if first or blank or not candidates:
        return "first" if first else "blank" if blank else "far"
    return "taken" if any(c.score >= required[c.track_id] for c in candidates) else "weak"


def _box_overlap(query: TrackQuery, shift: FloatArray) -> FloatArray | None:
    """[P, T] IoU of the detected boxes with those expected; None where boxes are no evidence."""
    if query.expected is None:
        return None
    centers, half = query.expected.centers + shift, query.expected.sizes / 2
    expected = np.concatenate([centers - half, centers + half], 1)
    return box_iou(query.current.boxes[:, None], expected[None])


def _alternatives(
    row: int,
    track_id: int,
    candidates: tuple[Candidate, ...],
    scores: FloatArray,
    query: TrackQuery,
    tracked: Poses,
    threshold: float,
) -> Iterator[tuple[float, str]]:
    """What else might have become of a pose: by how many times the odds stood against it, and what it is.

    Pairs are assigned by descending score; what counts is what was still open when the pose got its id, and the tracks
    that it would rather have had.
    """
    column = {int(known): k for k, known in enumerate(query.track_ids)}
    own = next((c.score for c in candidates if c.track_id == track_id), None)
    chosen = threshold if own is None else own
    for other in candidates:
        if other.track_id == track_id:
            continue
        rival = -np.inf if other.taken_by is None else float(scores[other.taken_by, column[other.track_id]])
        if rival < other.score:
            yield _odds(chosen) / _odds(other.score), f"track {other.track_id} has {other.score:.2f}"
        elif other.score > chosen:
            yield _odds(rival) / _odds(other.score), f"track {other.track_id} went to a pose with {rival:.2f}"
    if own is not None:
        yield _odds(own) / _odds(threshold), f"the threshold is {threshold:.2f}"
        for pose, score in enumerate(scores[:, column[track_id]]):
            if pose != row and np.isfinite(score) and tracked.match_scores[pose] <= own:
                text = f"the pose that became {tracked.track_ids[pose]} has {score:.2f} with this track"
                yield _odds(own) / _odds(float(score)), text


def _odds(score: float) -> float:
    # Scores are 0..1; beyond one in ten thousand there is nothing to tell apart.
    clipped = min(max(score, 1e-4), 1 - 1e-4)
    return clipped / (1 - clipped)


def _reason(
    track_id: int,
    cause: str,
    candidates: tuple[Candidate, ...],
    threshold: float,
    geometry: tuple[int, float] | None,
    nearest: tuple[float, str] | None,
) -> str:
    told = track_id
    if cause in ("best", "next"):
        own = next(c for c in candidates if c.track_id == track_id)
        text = f"continues {track_id}, seen {_ago(own.gap_frames)}: {_said(own)}"
        if cause == "next":
            text += f"; its best, {candidates[0].track_id} ({candidates[0].score:.2f}), went to a pose that fits better"
    elif cause == "weak":
        told = candidates[0].track_id
        text = f"new: no track reaches {threshold:.2f}; the best, {told}: {_said(candidates[0])}"
    elif cause == "taken":
        wanted = ", ".join(f"{c.track_id} ({c.score:.2f})" for c in candidates if c.score >= threshold)
        text = f"new: poses that fit better got what it could have continued, {wanted}"
    else:
        text = CAUSES[cause]
    if geometry is not None and geometry[0] != told and geometry[1] >= _TELLING_OKS:
        text += f"; geometry alone says track {geometry[0]} (predicted OKS {geometry[1]:.2f})"
    if nearest is not None and nearest[0] < DOUBT:
        text += f"; doubtful, since {nearest[1]}"
    return text


def _said(candidate: Candidate) -> str:
    oks_said = f"predicted OKS {candidate.predicted_oks:.2f}"
    if candidate.network is None:
        return f"nobody else is around, {oks_said}"
    box_said = "" if candidate.box_iou is None else f", box IoU {candidate.box_iou:.2f}"
    return f"score {candidate.score:.2f}, network {candidate.network:.2f}, {oks_said}{box_said}"


def _ago(frames: int) -> str:
    return "in the last frame" if frames == 1 else f"{frames} frames ago"
