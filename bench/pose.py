"""How well a pose network finds joints in true boxes: PCKh, time a person, pictures to look at.

    python bench/pose.py score CLIP DATA NAME …            an annotated clip and held-back people
    python bench/pose.py montage DATA OUT.png --name NAME  poses drawn on held-back people
    python bench/pose.py background DATA NAME …            mean scores of people against boxes without a person
    python bench/pose.py reliability CLIP DATA OUT.png     how many keypoints of a score are right

CLIP is a folder with a PoseTrack 2018 file gt.json and its images; DATA one with people in COCO's keypoint form, as
`keytrack train pose` takes it. A NAME is that of a model file, as in `estimator.model`; all are scored
by the same code on the same images, and timed in turns so that their ratio holds on a busy machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.media.drawing import draw_poses
from keytrack_ros.media.image_source import read_image
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray
from keytrack_ros.training.pose.data import People, load_people
from keytrack_ros.training.pose.negatives import draw_background

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)
console = Console(width=120)

LIMBS = [k for k, name in enumerate(skeleton.NAMES) if name.startswith(("left_", "right_"))]
NOSE, HEAD_BOTTOM, HEAD_TOP = (skeleton.INDEX[name] for name in ("nose", "head_bottom", "head_top"))
BATCH = 8

ENOUGH = 30
"""Keypoints of a source that must have a score for their part to be shown."""

Models = Annotated[str, typer.Option(help="folders with networks, separated by ':'")]
Threads = Annotated[int, typer.Option(help="cores that a network may use; 0 = all")]
FlipTest = Annotated[bool, typer.Option("--flip-test", help="average with the mirrored crop")]


@dataclass(frozen=True)
class Case:
    """An image with P true boxes [P, 4], keypoints [P, 15, 2], which are known [P, 15], and head sizes [P], pixels."""

    image: ImageArray
    boxes: FloatArray
    keypoints: FloatArray
    known: BoolArray
    heads: FloatArray


@app.command()
def score(
    clip: Path, data: Path, names: list[str], models: Models = "", threads: Threads = 0, flip_test: FlipTest = False
) -> None:
    """PCKh@0.5 with true boxes, on the clip and on the held-back people of each source.

    Head sizes: on the clip 0.6 × diagonal of the head box, elsewhere the distance of head_bottom and head_top.
    """
    estimators = [opened(name, models, threads, flip_test) for name in names]
    sets = all_cases(clip, data)
    for what, cases in sets.items():
        asked = sum(int(case.known.any(1).sum()) for case in cases)
        table = Table("joint", *[e.card.name for e in estimators], title=f"PCKh@0.5, {what}: {asked} people")
        hits = [tally(estimator, cases) for estimator in estimators]
        for name in skeleton.NAMES:
            k = skeleton.INDEX[name]
            if hits[0][1][k]:
                table.add_row(name, *[f"{100 * right[k] / known[k]:.1f}" for right, known in hits])
        limbs = [right[LIMBS].sum() / known[LIMBS].sum() for right, known in hits]
        table.add_row("[b]limbs", *[f"[b]{100 * value:.1f}" for value in limbs])
        table.add_row("ratio to the last", *[f"{value / limbs[-1]:.3f}" for value in limbs])
        console.print(table)
    milliseconds(estimators, sets["clip"])


@app.command()
def montage(
    data: Path,
    out: Path,
    name: str = "auto",
    models: Models = "",
    source: str = "lspet",
    count: int = 40,
    flip_test: FlipTest = False,
) -> None:
    """Poses of the held-back people of a source, evenly chosen, as a sheet."""
    estimator = opened(name, models, 0, flip_test)
    cases = list(held_back(load_people(data), source))
    tiles = []
    for case in cases[:: max(1, len(cases) // count)][:count]:
        scale = 240 / max(case.image.shape[:2])
        image = np.asarray(cv2.resize(case.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
        poses = estimator.estimate(image, case.boxes * scale)
        drawn = draw_poses(image, poses)
        tile = np.zeros((240, 240, 3), np.uint8)
        tile[: drawn.shape[0], : drawn.shape[1]] = drawn[:240, :240]
        tiles.append(tile)
    rows = [np.hstack(tiles[k : k + 8]) for k in range(0, len(tiles) // 8 * 8, 8)]
    cv2.imwrite(str(out), np.vstack(rows))
    console.print(f"written: {out}")


@app.command()
def background(
    data: Path, names: list[str], models: Models = "", threads: Threads = 0, boxes: int = 400, seed: int = 0
) -> None:
    """Mean keypoint scores of held-back people against boxes without a person in held-back images.

    Gives the score that 95 % (90 %) of the people exceed, the part of the background below it, and the area under the
    ROC curve.
    """
    people = load_people(data)
    rng = np.random.default_rng(seed)
    drawn = [d for d in (draw_background(people, True, rng) for _ in range(boxes)) if d is not None]
    table = Table("network", "people", "boxes", "95 % of people ≥", "background below", "90 % ≥", "below", "ROC area")
    for name in names:
        estimator = opened(name, models, threads, flip_test=False)
        rows = people.rows(held_back=True)
        found = [float(estimator.estimate(people.image(r), people.boxes[r : r + 1]).scores.mean()) for r in rows]
        nobody = [float(estimator.estimate(d.image, d.box[None]).scores.mean()) for d in drawn]
        cells = [name, str(len(found)), str(len(nobody))]
        for part in (0.05, 0.10):
            limit = float(np.quantile(found, part))
            cells += [f"{limit:.3f}", f"{(np.array(nobody) < limit).mean():.1%}"]
        area = (np.array(found)[:, None] > np.array(nobody)[None]).mean()
        table.add_row(*cells, f"{area:.4f}")
    console.print(table)


@app.command()
def reliability(
    clip: Path, data: Path, out: Path, name: str = "auto", models: Models = "", threads: Threads = 0
) -> None:
    """Part of the keypoints that are right (PCKh@0.5) by their score, in true boxes: a table, and a plot.

    Only keypoints that somebody labelled as present are asked for.
    """
    estimator = opened(name, models, threads, flip_test=False)
    edges = np.linspace(0, 1, 11)
    table = Table("score", title=f"keypoints within half a head, {estimator.card.name}: % (number)")
    axes = Figure(figsize=(5, 4), layout="constrained").add_subplot()
    columns = []
    for what, cases in all_cases(clip, data).items():
        scores, right = judged(estimator, cases)
        which = np.clip(np.digitize(scores, edges) - 1, 0, 9)
        counts = np.bincount(which, minlength=10)
        share = np.bincount(which, right, 10) / np.maximum(counts, 1)
        middle = np.bincount(which, scores, 10) / np.maximum(counts, 1)
        enough = counts >= ENOUGH
        axes.plot(middle[enough], share[enough], "o-", label=f"{what} ({len(scores)})")
        columns.append(
            [f"{100 * s:.0f} ({n})" if n >= ENOUGH else f"({n})" for s, n in zip(share, counts, strict=True)]
        )
        table.add_column(what)
    for low, cells in zip(edges, zip(*columns, strict=True), strict=False):
        table.add_row(f"{low:.1f} to {low + 0.1:.1f}", *cells)
    console.print(table)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.set(xlabel="score of a keypoint", ylabel="part within half a head", xlim=(0, 1), ylim=(0, 1))
    axes.legend(title="source (keypoints)")
    axes.figure.savefig(out, dpi=80)
    console.print(f"written: {out}")


def opened(name: str, models: str, threads: int, flip_test: bool) -> Estimator:
    return Estimator(
        EstimatorOptions(model=name, flip_test=flip_test, batch_size=BATCH),
        InferenceOptions(models=models, threads=threads, precision="fp32"),  # the named network itself
    )


def clip_cases(folder: Path) -> Iterator[Case]:
    """The frames of a PoseTrack 2018 file with all its people; head size as PoseTrack has it."""
    labels = json.loads((folder / "gt.json").read_text(encoding="utf-8"))
    slots = [skeleton.POSETRACK17.index(name) for name in skeleton.NAMES]
    for image in labels["images"]:
        people = [a for a in labels["annotations"] if a["image_id"] == image["id"]]
        points = np.array([a["keypoints"] for a in people], np.float32).reshape(-1, 17, 3)[:, slots]
        boxes = np.array([a["bbox"] for a in people], np.float32)
        heads = np.array([a["bbox_head"] for a in people], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        yield Case(
            read_image(folder / image["file_name"]),
            boxes,
            points[..., :2],
            points[..., 2] > 0,
            0.6 * np.hypot(heads[:, 2], heads[:, 3]),
        )


def all_cases(clip: Path, data: Path) -> dict[str, list[Case]]:
    """The clip's people, and those held back of each source of DATA."""
    people = load_people(data)
    sources = sorted(set(people.sources[people.rows(held_back=True)].tolist()))
    return {"clip": list(clip_cases(clip)), **{source: list(held_back(people, source)) for source in sources}}


def held_back(people: People, source: str) -> Iterator[Case]:
    """The held-back people of a source whose heads are known."""
    for row in people.rows(held_back=True, source=source):
        known = people.present[row] & (people.weights[row] > 0)
        head = float(np.linalg.norm(people.keypoints[row, HEAD_BOTTOM] - people.keypoints[row, HEAD_TOP]))
        if known[HEAD_BOTTOM] and known[HEAD_TOP] and head > 0:
            yield Case(
                people.image(row),
                people.boxes[row : row + 1],
                people.keypoints[row : row + 1],
                known[None],
                np.array([head]),
            )


def tally(estimator: Estimator, cases: list[Case]) -> tuple[FloatArray, FloatArray]:
    """Per keypoint [15]: how many lie within half a head size, of how many that are known."""
    right, asked = np.zeros(skeleton.COUNT), np.zeros(skeleton.COUNT)
    for case in cases:
        poses = estimator.estimate(case.image, case.boxes)
        near = np.linalg.norm(poses.keypoints - case.keypoints, axis=2) <= 0.5 * case.heads[:, None]
        right += (near & case.known).sum(0)
        asked += case.known.sum(0)
    return right, asked


def judged(estimator: Estimator, cases: list[Case]) -> tuple[FloatArray, BoolArray]:
    """Of all known keypoints: score, and whether it lies within half a head size."""
    scores, right = [], []
    for case in cases:
        poses = estimator.estimate(case.image, case.boxes)
        near = np.linalg.norm(poses.keypoints - case.keypoints, axis=2) <= 0.5 * case.heads[:, None]
        scores.append(poses.scores[case.known])
        right.append(near[case.known])
    return np.concatenate(scores), np.concatenate(right)


def milliseconds(estimators: list[Estimator], cases: list[Case], rounds: int = 40) -> None:
    """Prints the time a person in batches of 8, all estimators in turns."""
    image = cases[0].image
    boxes = np.concatenate([case.boxes for case in cases])[:BATCH]
    if len(boxes) < BATCH:
        raise DataError(f"the clip has fewer than {BATCH} people in all")
    seconds: list[list[float]] = [[] for _ in estimators]
    for _ in range(rounds):
        for times, estimator in zip(seconds, estimators, strict=True):
            began = time.perf_counter()
            estimator.estimate(image, boxes)
            times.append((time.perf_counter() - began) / BATCH)
    for times, estimator in zip(seconds, estimators, strict=True):
        middle, late = 1e3 * np.percentile(times, [50, 95])
        console.print(f"{estimator.card.name}: {middle:.1f} ms a person (p95 {late:.1f}), batches of {BATCH}")


if __name__ == "__main__":
    app()
