"""Identity in simulated street scenes: true box tracks with a detector's errors, and other people's poses in the boxes.

    python bench/streets.py MOT --data TRACKS

MOT holds NAME.txt (ground truth of MOTChallenge) and NAME.ini (seqinfo) of sequences, no images; TRACKS is a folder of
pose tracks as in `bench/identity.py`. Every person moves like somebody of a pose track; poses and boxes are then
disturbed as `keytrack_ros.training.matcher.occlusion` imitates an estimator and a detector, and things that stand still
are taken for people. For choices that two sequences of real video cannot bear. The matcher's training has seen neither
these boxes nor these crowds, but many of the poses, and disturbances of the same kind.
"""

from __future__ import annotations

import configparser
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from identity import Score, Step
from rich.console import Console
from rich.table import Table

from keytrack_ros import skeleton
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.boxes import covered_parts, exists
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import BoolArray, FloatArray, Poses
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from keytrack_ros.tracker.tracker import published
from keytrack_ros.training.matcher.occlusion import captured, depth_order, detected_boxes, runs_of_misses
from keytrack_ros.training.matcher.tracks import Tracks, load_tracks

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)

RATE = 8.0
"""Frames a second, about: every n-th frame of a sequence is taken."""

LEAST_SIDE = 8.0
"""Pixels; a box of which less is left within the image is not found."""

LOWEST_SCORE = 0.35
"""Detections below are not given out, as `detector.score_threshold`."""

FALSE_PLACES = 3
"""False people of a sequence who stand still and are detected in runs."""

SHORTEST = 12
"""Frames of the pose tracks that people get."""

MARGINS = np.array([0.05, 0.0, -0.05, -0.09])
"""Parts of a person's height by which the keypoints lie inside the box: left, top, right, bottom."""


@dataclass(frozen=True)
class Street:
    """Boxes [F, P, 4] of the people of a sequence, zeros where somebody is not there; stamps [F]; frame size."""

    name: str
    boxes: FloatArray
    stamps: FloatArray
    size: tuple[int, int]


def read_street(file: Path) -> Street:
    """A sequence at about `RATE` frames a second."""
    about = configparser.ConfigParser()
    about.read(file.with_suffix(".ini"))
    sequence = about["Sequence"]
    rate = float(sequence["frameRate"])
    rows = np.loadtxt(file, delimiter=",")
    rows = rows[rows[:, 6] != 0]
    every = max(round(rate / RATE), 1)
    rows = rows[(rows[:, 0] - 1) % every == 0]
    frame, (people, person) = ((rows[:, 0] - 1) // every).astype(int), np.unique(rows[:, 1], return_inverse=True)
    boxes = np.zeros((frame.max() + 1, len(people), 4), np.float32)
    boxes[frame, person] = np.column_stack([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]])
    size = int(sequence["imWidth"]), int(sequence["imHeight"])
    return Street(file.stem, boxes, np.arange(len(boxes)) * every / rate, size)


def walks(tracks: Tracks) -> list[FloatArray]:
    """[n, 15, 3] of pose tracks: x, y in parts of the extent's height from its top middle, and presence."""
    found = []
    key = tracks.video * (int(tracks.person.max()) + 1) + tracks.person
    order = np.lexsort((tracks.frame, key))
    for rows in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        present = tracks.present[rows]
        whole = present.sum(1) >= 12
        if whole.sum() < SHORTEST:
            continue
        points, present = tracks.keypoints[rows][whole], present[whole]
        low = np.where(present[..., None], points, np.inf).min(1)
        high = np.where(present[..., None], points, -np.inf).max(1)
        if not ((high - low)[:, 1] > 1.2 * (high - low)[:, 0]).all():  # upright all the time
            continue
        height, middle = (high - low)[:, 1], (high + low)[:, 0] / 2
        place = (points - np.stack([middle, low[:, 1]], 1)[:, None]) / height[:, None, None]
        found.append(np.concatenate([place, present[..., None]], -1).astype(np.float32))
    return found


def steps(street: Street, motions: list[FloatArray], seed: int) -> list[Step]:
    """What a tracker sees of a sequence; another draw for each seed."""
    rng = np.random.default_rng(zlib.crc32(f"{street.name}|{seed}".encode()))
    boxes = street.boxes[None]
    there = exists(boxes)
    points, present = posed(street, motions, rng)
    height = (boxes[..., 3] - boxes[..., 1])[..., None, None]
    points = points + rng.normal(size=points.shape) * 0.01 * height
    scores = np.clip(rng.normal(0.75, 0.1, present.shape), 0.05, 1)
    behind, seconds, always = depth_order(boxes, rng), street.stamps[None], np.ones(1, bool)
    points, scores, present = captured(points, scores, present, boxes, behind, seconds, always, rng)
    kept = present & (rng.random(present.shape) >= 0.05)
    kept &= ~runs_of_misses(boxes, behind, seconds, always, rng)[..., None]
    found, merged = detected_boxes(boxes, behind, points, kept, np.ones(1), rng)
    # The image's border cuts people off, as it does for a detector.
    width, height = street.size
    kept &= (points >= 0).all(-1) & (points[..., 0] < width) & (points[..., 1] < height)
    found = np.clip(found, 0, [width, height, width, height]).astype(np.float32)
    there_still = (found[..., 2:] - found[..., :2]).min(-1) >= LEAST_SIDE
    hidden = (covered_parts(boxes) * behind[:, None]).max(-1)
    box_scores = np.clip(rng.normal(0.72 - 0.4 * hidden, 0.1), 0.05, 0.99)
    seen = (there & there_still & ~merged & kept.any(-1) & (box_scores >= LOWEST_SCORE))[0]
    nobody = list(false_people(street, motions, rng))
    result = []
    for number, stamp in enumerate(street.stamps):
        here = np.flatnonzero(seen[number])
        extra = [(p, s, b, v) for shown, p, s, b, v in nobody if shown[number]]
        poses = Poses(
            np.concatenate([points[0, number, here], *([p[None] for p, *_ in extra])]),
            np.concatenate([scores[0, number, here] * kept[0, number, here], *([s[None] for _, s, *_ in extra])]),
            boxes=np.concatenate([found[0, number, here], *([b[None] for _, _, b, _ in extra])]),
            box_scores=np.concatenate([box_scores[0, number, here], [v for *_, v in extra]]),
        )
        owner = np.concatenate([here, np.full(len(extra), -1)]).astype(np.int64)
        order = rng.permutation(len(owner))
        people = np.flatnonzero(there[0, number])
        result.append(Step(float(stamp), poses[order], owner[order], people, np.full(len(people), skeleton.COUNT)))
    return result


def posed(street: Street, motions: list[FloatArray], rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    """Keypoints [1, F, P, 15, 2] in pixels and presence [1, F, P, 15] of people who move as others did."""
    frames, people = street.boxes.shape[:2]
    points = np.zeros((1, frames, people, skeleton.COUNT, 2))
    present = np.zeros((1, frames, people, skeleton.COUNT), bool)
    for person in range(people):
        motion = motions[int(rng.integers(len(motions)))]
        to_and_fro = np.concatenate([motion, motion[-2:0:-1]])
        first, rate = int(rng.integers(len(to_and_fro))), 25 * (street.stamps[1] - street.stamps[0])
        pose = to_and_fro[np.round(first + rate * np.arange(frames)).astype(int) % len(to_and_fro)]
        box = street.boxes[:, person]
        height = (box[:, 3] - box[:, 1])[:, None]
        inner = box + MARGINS * height
        top_middle = np.stack([(inner[:, 0] + inner[:, 2]) / 2, inner[:, 1]], 1)
        points[0, :, person] = top_middle[:, None] + pose[..., :2] * (inner[:, 3] - inner[:, 1])[:, None, None]
        present[0, :, person] = (pose[..., 2] > 0) & exists(box)[:, None]
    return points, present


def false_people(
    street: Street, motions: list[FloatArray], rng: np.random.Generator
) -> Iterator[tuple[BoolArray, FloatArray, FloatArray, FloatArray, float]]:
    """When each is seen [F], keypoints [15, 2], scores [15], box [4] and box score of things that stand still."""
    sizes = street.boxes[exists(street.boxes)]
    for _ in range(FALSE_PLACES):
        box = sizes[int(rng.integers(len(sizes)))]
        extent = box[2:] - box[:2]
        corner = rng.uniform(0, np.maximum(np.array(street.size) - extent, 1))
        pose = motions[int(rng.integers(len(motions)))][0]
        astray = rng.normal(0, 0.1, (skeleton.COUNT, 2))
        points = corner + np.array([extent[0] / 2, 0]) + (pose[:, :2] + astray) * extent[1]
        begins = rng.random(len(street.stamps)) < 0.02
        shown = np.convolve(begins, np.ones(10))[: len(begins)] > 0
        scores = np.clip(rng.normal(0.3, 0.1, skeleton.COUNT), 0.05, 1)
        yield shown, points, scores, np.concatenate([corner, corner + extent]), float(rng.uniform(0.35, 0.6))


@app.command()
def score(
    streets: Annotated[Path, typer.Argument(help="folder with NAME.txt and NAME.ini of sequences")],
    data: Annotated[Path, typer.Option(help="folder with pose tracks")],
    models: Annotated[str, typer.Option(help="folder with a matcher to try before the shipped one")] = "",
    draws: Annotated[int, typer.Option(help="random repetitions of each sequence")] = 2,
    threads: int = 1,
) -> None:
    """Scores the default tracker on every sequence."""
    options = TrackerOptions()
    matcher = open_matcher(options.model, InferenceOptions(models=models, threads=threads))
    motions = walks(load_tracks(data))
    table, every = Table("sequence", "IDF1", "AssA", "ID switches", "ids", "people"), Score()
    totals = np.zeros(2, int)
    for file in sorted(streets.glob("*.txt")):
        street, own, counts = read_street(file), Score(), np.zeros(2, int)
        for seed in range(draws):
            frames, ids = steps(street, motions, seed), []
            tracker, given = PoseTracker(options, matcher), []
            for step in frames:
                tracked = tracker.update(step.poses, street.size, step.stamp)
                shown = np.isin(tracked.track_ids, published(tracked, options).track_ids)
                ids.append(tracked.track_ids[shown])
                given.append(Step(step.stamp, step.poses[shown], step.owner[shown], step.people, step.weight))
            for part in (own, every):
                part.add(given, ids)
            counts += len(np.unique(np.concatenate(ids))), street.boxes.shape[1]
        totals += counts
        table.add_row(*row(street.name, own, counts, draws))
    table.add_row(*row("all", every, totals, draws))
    Console().print(table)


def row(name: str, score: Score, counts: np.ndarray, draws: int) -> list[str]:
    """Cells of the table; counts of ids and people are means of the draws."""
    switches, (ids, people) = score.switches / draws, counts / draws
    return [name, f"{score.idf1:.1f}", f"{score.assa:.1f}", f"{switches:.1f}", f"{ids:.1f}", f"{people:.0f}"]


if __name__ == "__main__":
    app()
