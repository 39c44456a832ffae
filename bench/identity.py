"""Identity: entailment against geometry in the same tracker, on videos that no training has seen.

    python bench/identity.py score  --data FOLDER    the tables of docs/results.md
    python bench/identity.py choose --data FOLDER    thresholds of the rivals, chosen on the training videos
    python bench/identity.py time                    how long matching takes

Every k-th frame of a video is a sequence (k sequences, one for each phase, so that each pose counts once), given to a
fresh tracker in random order of people. Keypoints are the annotated ones; or perturbed (jitter, misses, false poses);
or captured: where people overlap, a person gets keypoints of the one in front at the rates measured by
`bench/capture.py`, detections are missed in runs, and there are boxes with a detector's errors, or none. Which pose
belongs to which person is known, so that only association is measured:

ID switches: poses of a person whose track id is not the last one that this person had (as in MOTA).
%IDSW: the same weighted by keypoints: visible keypoints of those poses, per cent of all visible keypoints (KeyTrack).
IDF1: 2 IDTP / (2 IDTP + IDFP + IDFN) under the best one-to-one map of people to ids, per sequence (Ristani et al.).
AssA: mean over poses of |both| / |either|, of the poses of its person and the poses of its id (HOTA, Luiten et al.).
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track

from keytrack_ros import skeleton
from keytrack_ros.evaluation.tracks import TrackAccumulator, TrackParts
from keytrack_ros.geometry import box_iou, oks
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.boxes import exists
from keytrack_ros.matching.histories import collect_histories, expected_boxes, expected_poses
from keytrack_ros.matching.matcher import Matcher, MatchQuery, TrackMatcher, TrackQuery, TrackScores
from keytrack_ros.matching.motion import camera_shift
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import FloatArray, IntArray, Poses, keypoint_boxes
from keytrack_ros.research.overlap import IouMatcher, OksMatcher
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from keytrack_ros.training.matcher.occlusion import captured, depth_order, detected_boxes, full_boxes, runs_of_misses
from keytrack_ros.training.matcher.tracks import Tracks, held_back_videos, load_tracks, training_videos

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)
Data = Annotated[Path, typer.Option(help="folder with pose tracks, .npz files")]

FPS = 25.0
"""No source states a rate; it only makes time stamps."""

SETTINGS = {
    "1": (1, "annotated"),
    "2": (2, "annotated"),
    "4": (4, "annotated"),
    "8": (8, "annotated"),
    "1 perturbed": (1, "perturbed"),
    "4 perturbed": (4, "perturbed"),
    "2 captured": (2, "captured"),
    "2 captured, boxes": (2, "captured, boxes"),
}
"""Column of the table → (stride, what the tracker gets)."""


class WideOksMatcher:
    """OKS with sigmas four times as large: with the usual ones it is almost 0 after a quick step."""

    def score(self, query: MatchQuery) -> FloatArray:
        return oks(query.current, query.past, 4 * skeleton.SIGMAS)[query.pairs[:, 0], query.pairs[:, 1]]


class GrownIouMatcher:
    """IoU of keypoint boxes that are 1.75 times as large: small boxes that a step parts still overlap."""

    def score(self, query: MatchQuery) -> FloatArray:
        a, b = (_grown(poses) for poses in (query.current, query.past))
        return box_iou(a[query.pairs[:, 0]], b[query.pairs[:, 1]])


def _grown(poses: Poses) -> FloatArray:
    boxes = keypoint_boxes(poses.keypoints, poses.scores)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum((boxes[:, 2:] - boxes[:, :2]) / 2 * 1.75, 2)
    return np.concatenate([centre - half, centre + half], 1)


class PredictedOksMatcher:
    """OKS, sigmas three times as large, with where each track should be: constant velocity, no network.

    With `camera`, after the camera's shift has been found and taken out, as the default configuration does.
    """

    def __init__(self, camera: bool) -> None:
        self._camera = camera

    def score_tracks(self, query: TrackQuery) -> TrackScores:
        moved = query.past.with_fields(keypoints=query.past.keypoints + query.camera[:, None])
        histories = collect_histories(moved, query.gaps, query.seconds, query.track_ids)
        expected, seen = expected_poses(histories, histories.velocities), histories.visible[:, 0]
        shift = np.zeros(2, np.float32)
        if self._camera:
            current = query.current
            shift = camera_shift(current.keypoints[None], current.visible[None], expected[None], seen[None])[0]
        tracks = Poses(expected + shift, histories.scores[:, 0])
        return TrackScores(oks(query.current, tracks, 3 * skeleton.SIGMAS), shift)


class PredictedBoxMatcher:
    """IoU of boxes with where each track's box should be, as SORT does; mixed with OKS as of `PredictedOksMatcher`.

    Where no box is known, the extent of the keypoints takes its place.

    Args:
        share: of OKS in the mixture, 0..1.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def score_tracks(self, query: TrackQuery) -> TrackScores:
        current, past = (
            poses.with_fields(boxes=np.where(exists(poses.boxes)[:, None], poses.boxes, extents(poses)))
            for poses in (query.current, query.past)
        )
        histories = collect_histories(past, query.gaps, query.seconds, query.track_ids)
        boxes = expected_boxes(histories)[:, 0]
        scores = (1 - self._share) * box_iou(current.boxes[:, None], boxes[None])
        if self._share:
            tracks = Poses(expected_poses(histories, histories.velocities), histories.scores[:, 0])
            scores = scores + self._share * oks(current, tracks, 3 * skeleton.SIGMAS)
        return TrackScores(scores.astype(np.float32), np.zeros(2, np.float32))


def extents(poses: Poses) -> FloatArray:
    """[P, 4] of the keypoints."""
    return keypoint_boxes(poses.keypoints, poses.scores)


PLAIN = TrackerOptions(gating=False, use_boxes=False, birth_score=0.0, birth_pose_score=0.0, confirm_frames=1)
"""The tracker of the paper, without a life of tracks: no track waits to be confirmed, and all compete alike."""

PAPER = replace(PLAIN, model="pose_entailment_paper", delta=4, match_threshold=0.5)
"""As config/paper.yaml."""

OURS = {
    "default: track entailment": TrackerOptions(),
    "default without gating": TrackerOptions(gating=False),
    "paper: Pose Entailment": PAPER,
    "paper with gating": replace(PAPER, gating=True),
}
"""The two configurations of the package, each with and without clear cases settled by geometry."""

RIVALS: dict[str, tuple[Callable[[], Matcher | TrackMatcher], TrackerOptions]] = {
    "IoU": (IouMatcher, replace(PLAIN, match_threshold=0.001, delta=4)),
    "IoU with t−1, boxes x 1.75": (
        GrownIouMatcher,
        replace(PLAIN, match_threshold=0.001, delta=1),
    ),
    "OKS": (OksMatcher, replace(PLAIN, match_threshold=0.001, delta=4)),
    "OKS, sigmas x 4": (WideOksMatcher, replace(PLAIN, match_threshold=0.005, delta=4)),
    "IoU of boxes with prediction": (
        lambda: PredictedBoxMatcher(0.0),
        replace(PLAIN, use_boxes=True, match_threshold=0.05),
    ),
    "IoU of boxes and OKS, both with prediction": (
        lambda: PredictedBoxMatcher(0.5),
        replace(PLAIN, use_boxes=True, match_threshold=0.05),
    ),
    "OKS with prediction": (lambda: PredictedOksMatcher(False), replace(PLAIN, match_threshold=0.1)),
    "OKS with prediction and camera": (
        lambda: PredictedOksMatcher(True),
        replace(PLAIN, match_threshold=0.05),
    ),
}
"""Matcher and the tracker's options; the thresholds of the first four are those that `choose` finds.

The last one is not a rival but the default configuration without its network.
"""

THRESHOLDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Step:
    """One frame: what the tracker sees, and the ground truth that only the score sees.

    Attributes:
        poses: P people.
        owner: [P] person that each pose is of, −1 for a false pose.
        people: [G] everyone annotated in the frame.
        weight: [G] number of visible annotated keypoints.
    """

    stamp: float
    poses: Poses
    owner: IntArray
    people: IntArray
    weight: IntArray


def sequences(tracks: Tracks, video: int, stride: int, kind: str) -> Iterator[list[Step]]:
    """The `stride` sequences of a video, of at least two frames each; the same at every call."""
    perturbed = kind == "perturbed"
    seed = perturbed if kind in ("annotated", "perturbed") else "captured"  # boxes or none: the same keypoints
    rng = np.random.default_rng(zlib.crc32(f"{tracks.names[video]}|{stride}|{seed}".encode()))
    rows = np.flatnonzero(tracks.video == video)
    frames = range(int(tracks.frame[rows].min()), int(tracks.frame[rows].max()) + 1)
    for phase in range(stride):
        steps = []
        found: dict[int, tuple[Poses, IntArray]] = {}
        if kind.startswith("captured"):
            found = _captured(tracks, rows, np.array(frames[phase::stride]), kind.endswith("boxes"), rng)
        for number in frames[phase::stride]:
            here = rows[tracks.frame[rows] == number]
            poses = Poses(tracks.keypoints[here], tracks.present[here].astype(np.float32))
            owner = tracks.person[here]
            if found:
                poses, owner = found[number]
            elif perturbed:
                keypoints, scores, owner = _perturbed(tracks, rows, here, rng)
                poses = Poses(keypoints, scores)
            order = rng.permutation(len(owner))
            weight = (tracks.present[here] & ~tracks.hidden[here]).sum(1)
            steps.append(Step(number / FPS, poses[order], owner[order], tracks.person[here], weight))
        if len(steps) > 1:
            yield steps


def _perturbed(
    tracks: Tracks, video_rows: IntArray, here: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, IntArray]:
    """A poor detector: 15 % of the poses are missed and 5 % are replaced by another pose of the video, put a
    quarter to one height away; 15 % of the keypoints are missed, the others jitter by a tenth of a head or more."""
    keypoints, scores, owners = [], [], []
    for row in here:
        fate = rng.random()
        if fate < 0.15:
            continue
        false = fate < 0.20
        source = int(rng.choice(video_rows)) if false else int(row)
        points, present = tracks.keypoints[source].astype(np.float64), tracks.present[source]
        extent = np.ptp(points[present], axis=0).max()
        if false:
            angle = rng.uniform(0, 2 * np.pi)
            points = points + rng.uniform(0.25, 1) * max(extent, 20) * np.array([np.cos(angle), np.sin(angle)])
        head = np.linalg.norm(points[1] - points[2]) if present[1:3].all() else 0.0
        sigma = max(0.1 * head if head > 0 else 0.02 * extent, 0.5)
        poor = rng.random(skeleton.COUNT) < 0.1
        factor = np.where(poor, rng.uniform(1.5, 3, skeleton.COUNT), rng.uniform(0.5, 1.5, skeleton.COUNT))
        error = rng.normal(size=(skeleton.COUNT, 2)) * (sigma * factor)[:, None]
        confidence = 1 - 0.2 * np.linalg.norm(error, axis=1) / sigma + rng.normal(0, 0.1, skeleton.COUNT)
        if false:
            confidence *= rng.uniform(0.3, 0.9)
        kept = present & (rng.random(skeleton.COUNT) >= 0.15)
        if kept.any():
            keypoints.append(points + error)
            scores.append(np.where(kept, np.clip(confidence, 0.05, 1), 0))
            owners.append(-1 if false else int(tracks.person[row]))
    return (
        np.array(keypoints).reshape(-1, skeleton.COUNT, 2),
        np.array(scores).reshape(-1, skeleton.COUNT),
        np.array(owners, np.int64),
    )


def _captured(
    tracks: Tracks, video_rows: IntArray, frames: IntArray, boxed: bool, rng: np.random.Generator
) -> dict[int, tuple[Poses, IntArray]]:
    """Poses and their people by frame number, as an estimator in the boxes of a detector finds them.

    Keypoints jitter by a hundredth of the height, one in twenty is missed; people who overlap get each other's
    keypoints; detections are missed in runs; boxes jitter, are cut off or hold two people.
    """
    people = np.unique(tracks.person[video_rows])
    row = np.full((len(frames), len(people)), -1)
    used = video_rows[np.isin(tracks.frame[video_rows], frames)]
    row[np.searchsorted(frames, tracks.frame[used]), np.searchsorted(people, tracks.person[used])] = used
    points = tracks.keypoints[row][None].astype(np.float64)  # [1, F, P, 15, 2]
    present = (tracks.present[row] & (row >= 0)[..., None])[None]
    whole = full_boxes(points, present, rng)
    behind = depth_order(whole, rng)
    height = (whole[..., 2:] - whole[..., :2]).max(-1)[..., None, None]
    points = points + rng.normal(size=points.shape) * 0.01 * height
    scores = np.clip(rng.normal(0.75, 0.1, present.shape), 0.05, 1)
    seconds = ((frames - frames[0]) / FPS)[None]
    always = np.ones(1, bool)
    points, scores, present = captured(points, scores, present, whole, behind, seconds, always, rng)
    kept = present & (rng.random(present.shape) >= 0.05)
    kept &= ~runs_of_misses(whole, behind, seconds, always, rng)[..., None]
    boxes, merged = detected_boxes(whole, behind, points, kept, np.ones(1), rng)
    kept &= ~merged[..., None]
    found = {}
    for k, number in enumerate(frames):
        here = np.flatnonzero(kept[0, k].any(-1))
        shown = np.clip(scores[0, k, here], 0.05, 1) * kept[0, k, here]
        given = boxes[0, k, here] if boxed else None
        poses = Poses(points[0, k, here], shown, boxes=given)  # type: ignore[arg-type]
        found[int(number)] = poses, people[here]
    return found


class Score:
    """Sums over sequences, by the metrics of `keytrack evaluate`."""

    def __init__(self) -> None:
        self._parts: TrackParts | None = None
        self._switched_keypoints = 0
        self._keypoints = 0

    def add(self, steps: list[Step], ids: list[IntArray]) -> None:
        """`ids`: for each step [P] track ids, all ≥ 1."""
        people, answers = (np.unique(np.concatenate(x)) for x in ([step.people for step in steps], ids))
        accumulator = TrackAccumulator((len(people), len(answers)), rule="definition")
        for step, given in zip(steps, ids, strict=True):
            self._keypoints += int(step.weight.sum())
            same = (step.people[:, None] == step.owner).astype(np.float64)
            accumulator.update(np.searchsorted(people, step.people), np.searchsorted(answers, given), same)
        for switch in accumulator.switches(people, answers):
            step = steps[switch.frame]
            self._switched_keypoints += int(step.weight[step.people == switch.person].sum())
        parts = accumulator.result()
        self._parts = parts if self._parts is None else self._parts + parts

    @property
    def switches(self) -> int:
        return 0 if self._parts is None else int(self._parts.clear.switches[0])

    @property
    def percent_switched(self) -> float:
        return 100 * self._switched_keypoints / max(self._keypoints, 1)

    @property
    def idf1(self) -> float:
        """Per cent."""
        return 0.0 if self._parts is None else self._parts.scores()["IDF1"]

    @property
    def assa(self) -> float:
        """Per cent."""
        return 0.0 if self._parts is None else self._parts.scores()["AssA"]


def measured(tracks: Tracks, setting: str, matcher: Matcher | TrackMatcher, options: TrackerOptions) -> Score:
    """The tracker's score over all videos of `tracks`."""
    stride, kind = SETTINGS[setting]
    score = Score()
    for video, size in enumerate(tracks.sizes):
        width, height = int(size[0]), int(size[1])
        for steps in sequences(tracks, video, stride, kind):
            tracker = PoseTracker(options, matcher)
            ids = [tracker.update(step.poses, (width, height), step.stamp).track_ids for step in steps]
            score.add(steps, ids)
    return score


def markdown(results: Mapping[str, Mapping[str, Score]]) -> str:
    """One table: a line for each matcher, and in each column switches · %IDSW · IDF1 · AssA."""
    columns = list(next(iter(results.values())))
    lines = [f"| matcher | {' | '.join(f'stride {s}' for s in columns)} |", "|---|" + "---:|" * len(columns)]
    for name, scores in results.items():
        cells = [f"{s.switches} · {s.percent_switched:.2f} · {s.idf1:.1f} · {s.assa:.1f}" for s in scores.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


@app.command()
def score(
    data: Data,
    models: Annotated[
        list[Path] | None, typer.Option(help="folder with a matcher to try before the shipped one")
    ] = None,
    threads: Annotated[int, typer.Option(help="cores for the network; 0 = all")] = 0,
    only: Annotated[str, typer.Option(help="only matchers whose names contain this")] = "",
    setting: Annotated[list[str] | None, typer.Option(help="columns of the table; default: all")] = None,
) -> None:
    """Scores all matchers on the held-back videos."""
    tracks = load_tracks(data)
    tracks = tracks.select(held_back_videos(tracks))
    inference = InferenceOptions(models=":".join(map(str, models or ())), threads=threads)
    trackers: dict[str, tuple[Matcher | TrackMatcher, TrackerOptions]] = {
        name: (open_matcher(options.model, inference), options) for name, options in OURS.items()
    }
    for name, (make, options) in RIVALS.items():
        trackers[f"{name} ≥ {options.match_threshold:g}"] = make(), options
    trackers = {name: tracker for name, tracker in trackers.items() if only in name}
    jobs = [(name, column) for name in trackers for column in setting or SETTINGS]
    results: dict[str, dict[str, Score]] = {name: {} for name in trackers}
    for name, column in track(jobs, "scoring"):
        results[name][column] = measured(tracks, column, *trackers[name])
    typer.echo(f"{len(tracks.names)} videos, {len(tracks)} poses; ID switches · %IDSW · IDF1 · AssA\n")
    typer.echo(markdown(results))


@app.command()
def choose(data: Data, settings: str = "1,8,1 perturbed,4 perturbed") -> None:
    """Finds the rivals' thresholds: the largest mean of IDF1 − %IDSW on the training videos."""
    tracks = load_tracks(data)
    several = {name for name, among_several in zip(tracks.names, tracks.several, strict=True) if among_several}
    tracks = tracks.select([name for name in training_videos(tracks) if name in several])
    jobs = [(name, threshold) for name in RIVALS for threshold in THRESHOLDS]
    for name, threshold in track(jobs, "choosing"):
        make, options = RIVALS[name]
        options = replace(options, match_threshold=threshold)
        scores = [measured(tracks, setting, make(), options) for setting in settings.split(",")]
        merit = np.mean([s.idf1 - s.percent_switched for s in scores])
        typer.echo(f"{name} ≥ {threshold:g}: {merit:.3f}, switches {[s.switches for s in scores]}")


@app.command("time")
def time_matching(people: int = 20, frames: int = 60, threads: int = 0) -> None:
    """Times the matching step of both configurations in a crowd that walks about."""
    rng = np.random.default_rng(0)
    size = (1280, 720)
    places = rng.uniform(0.1, 0.9, (people, 1, 2)) * size
    shapes, speeds = rng.normal(0, 40, (people, skeleton.COUNT, 2)), rng.normal(0, 60, (people, 1, 2))
    for name, options in OURS.items():
        tracker = PoseTracker(options, open_matcher(options.model, InferenceOptions(threads=threads)))
        seconds = []
        for frame in range(frames):
            jitter = rng.normal(0, 2, shapes.shape)
            crowd = Poses(places + shapes + jitter + speeds * frame / FPS, np.ones((people, skeleton.COUNT)))
            began = time.perf_counter()
            tracker.update(crowd, size, frame / FPS)
            seconds.append(1e3 * (time.perf_counter() - began))
        steady = seconds[options.delta :]
        typer.echo(f"{name}: {people} people, median {np.median(steady):.1f} ms, fastest {min(steady):.1f} ms")


if __name__ == "__main__":
    app()
