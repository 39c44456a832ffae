"""How often a pose network gives a person the keypoints of a neighbour, by how much their boxes overlap.

    python bench/capture.py composites VIDEO GT OUT.npz        image composites, and the poses found in them
    python bench/capture.py poses VIDEO GT OUT.npz             poses found in the annotated boxes of a sequence
    python bench/capture.py plot COMPOSITES.npz POSES.npz … --out docs/images/capture.png

GT is a MOTChallenge file (frame from 1, id, left, top, width, height, …) of a static camera. For a composite a person
is cut out by difference from the background and pasted over another, along the path that the cut-out had: identities,
boxes and the poses that are found without overlap are known. A keypoint is captured if it lies nearer to the
neighbour's than to the person's own, and within 0.15 sizes of it; only keypoints that are 0.25 sizes apart are counted.
In annotated sequences a person's own keypoints are not known: there, keypoints that two people both claim are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.progress import track

from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.boxes import covered_parts
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray, IntArray
from keytrack_ros.training.matcher.occlusion import captured

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)

RUN = 10
"""Frames of a composite."""
NEAR, APART, SURE = 0.15, 0.25, 0.3
"""Sizes of the person, sizes of the person, and score of a keypoint that is counted."""
COVER = np.linspace(0, 1, 11)
"""Edges of the classes of overlap."""
SEED = 7


@dataclass(frozen=True)
class Overlaps:
    """N times two people who overlap: the one behind, then the one in front.

    Attributes:
        boxes: [N, 2, 4].
        found, scores: [N, 2, 15, 2] and [N, 2, 15], estimated in the composite.
        alone, alone_scores: the same, estimated where nobody else was near.
        frame: [N] number within its run.
    """

    boxes: FloatArray
    found: FloatArray
    scores: FloatArray
    alone: FloatArray
    alone_scores: FloatArray
    frame: IntArray

    @property
    def cover(self) -> FloatArray:
        """[N, 2] part of each box that the other one covers."""
        return covered_parts(self.boxes).max(-1)

    @property
    def sizes(self) -> FloatArray:
        """[N, 2] pixels, root of the boxes' areas."""
        return np.asarray(np.sqrt(np.prod(self.boxes[..., 2:] - self.boxes[..., :2], -1)))

    def counted(self) -> BoolArray:
        """[N, 2, 15] keypoints whose owner can be told."""
        apart = np.linalg.norm(self.alone - self.alone[:, ::-1], axis=-1) / self.sizes[..., None]
        return np.asarray((self.alone_scores > SURE) & (apart > APART))

    def captured(self, found: FloatArray | None = None) -> BoolArray:
        """[N, 2, 15] whether keypoints (by default those in the composite) are the neighbour's."""
        found = self.found if found is None else found
        own = np.linalg.norm(found - self.alone, axis=-1) / self.sizes[..., None]
        other = np.linalg.norm(found - self.alone[:, ::-1], axis=-1) / self.sizes[..., None]
        return np.asarray((other < NEAR) & (other < own))

    def imitated(self, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Keypoints and scores that training scenes would have here."""
        # One scene a composite frame: its two people in one frame.
        points, scores = self.alone[:, None].astype(np.float64), self.alone_scores[:, None].astype(np.float64)
        shown, always = np.ones(scores.shape, bool), np.ones(len(points), bool)
        seconds = np.zeros((len(points), 1))
        behind = np.tile(np.array([[False, True], [False, False]]), (len(points), 1, 1))
        points, scores, _ = captured(points, scores, shown, self.boxes[:, None], behind, seconds, always, rng)
        return points[:, 0], scores[:, 0]


def read_frames(video: Path, last: int) -> dict[int, ImageArray]:
    """The frames 1 … `last` of a video."""
    capture = cv2.VideoCapture(str(video))
    images: dict[int, ImageArray] = {}
    for number in range(1, last + 1):
        read, image = capture.read()
        if not read:
            break
        images[number] = np.asarray(image, np.uint8)
    return images


class Cutter:
    """People of a static camera, cut out by their difference from the background."""

    def __init__(self, images: dict[int, ImageArray], rows: FloatArray) -> None:
        self.images, self.rows = images, rows
        self.boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], 1)
        self._background = np.median(np.stack(list(images.values())[::6]), 0).astype(np.int16)
        self.height, self.width = self._background.shape[:2]

    def runs(self) -> list[list[int]]:
        """Rows of `RUN` successive frames of people with nobody near them."""
        lonely = [self._is_alone(row) for row in range(len(self.rows))]
        row_of = {(int(f), int(i)): row for row, (f, i) in enumerate(self.rows[:, :2])}
        runs = []
        for frame, identity in row_of:
            run = [row_of.get((frame + k, identity), -1) for k in range(RUN)]
            if all(row >= 0 and lonely[row] for row in run):
                runs.append(run)
        return runs

    def _is_alone(self, row: int) -> bool:
        width, height = self.rows[row, 4:6]
        box = self.boxes[row] + np.array([-0.3 * width, -0.1 * height, 0.3 * width, 0.1 * height])
        others = self.boxes[(self.rows[:, 0] == self.rows[row, 0]) & (np.arange(len(self.rows)) != row)]
        shared = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
        inside = (self.boxes[row] >= 2).all() and (self.boxes[row, 2:] <= (self.width - 2, self.height - 2)).all()
        return bool(inside and not (shared > 0).all(1).any())

    def mask(self, row: int) -> FloatArray | None:
        """[H, W] 0 or 1; None where the difference does not look like a person."""
        width, height = self.rows[row, 4:6]
        low = np.maximum((self.boxes[row, :2] - (0.15 * width, 0.05 * height)).astype(int), 0)
        high = (self.boxes[row, 2:] + (0.15 * width, 0.05 * height)).astype(int)
        part = slice(low[1], high[1]), slice(low[0], high[0])
        difference = np.abs(self.images[int(self.rows[row, 0])][part].astype(np.int16) - self._background[part])
        mask = (difference.max(2) > 22).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        number, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
        if number < 2:
            return None
        whole = np.zeros((self.height, self.width), np.float32)
        whole[part] = labels == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()
        return whole if 0.25 < whole.sum() / (width * height) < 0.95 else None

    def pairs(self, rng: np.random.Generator) -> Iterator[tuple[list[int], list[int], IntArray]]:
        """Runs of a person behind and one in front, and by how many pixels the latter is moved, without end."""
        runs, middle = self.runs(), RUN // 2
        while True:
            behind, front = (runs[int(rng.integers(len(runs)))] for _ in range(2))
            front = front[:: int(rng.choice([1, -1]))]  # backwards in time: another path
            width, height = self.rows[behind[middle], 4:6]
            if self.rows[behind[0], 1] == self.rows[front[0], 1]:
                continue
            if not 0.75 < self.rows[front[middle], 5] / height < 1.4 or any(self.mask(row) is None for row in front):
                continue
            a, b = self.boxes[behind[middle]], self.boxes[front[middle]]
            across = (a[0] + a[2] - b[0] - b[2]) / 2 + rng.uniform(-1, 1) * width
            offset = np.round([across, a[3] - b[3] + rng.uniform(0, 0.18) * height]).astype(np.int64)
            moved = self.boxes[front] + np.tile(offset, 2)
            if (moved[:, :2] >= 1).all() and (moved[:, 2:] <= (self.width - 1, self.height - 1)).all():
                yield behind, front, offset

    def pasted(self, behind: int, front: int, offset: IntArray) -> ImageArray:
        """The frame of `behind` with the person of `front` pasted, moved by `offset`."""
        matrix = np.array([[1, 0, offset[0]], [0, 1, offset[1]]], np.float32)
        size = self.width, self.height
        source = cv2.warpAffine(self.images[int(self.rows[front, 0])], matrix, size, flags=cv2.INTER_NEAREST)
        mask = self.mask(front)
        moved = cv2.warpAffine(np.zeros(size[::-1], np.float32) if mask is None else mask, matrix, size)
        share = cv2.GaussianBlur(moved, (3, 3), 0)[..., None]
        return np.asarray(self.images[int(self.rows[behind, 0])] * (1 - share) + source * share, np.uint8)


@app.command()
def composites(video: Path, gt: Path, out: Path, sequences: int = 300, last: int = 397, threads: int = 1) -> None:
    """Makes composites and finds the poses of both people, there and where they were alone."""
    rows = np.loadtxt(gt, delimiter=",")
    cutter = Cutter(read_frames(video, last), rows[rows[:, 0] <= last])
    estimator = Estimator(EstimatorOptions(), InferenceOptions(threads=threads))
    pairs, parts = cutter.pairs(np.random.default_rng(SEED)), []
    for _ in track(range(sequences), "composing"):
        behind, front, offset = next(pairs)
        for k, (a, b) in enumerate(zip(behind, front, strict=True)):
            boxes = np.stack([cutter.boxes[a], cutter.boxes[b] + np.tile(offset, 2)])
            poses = estimator.estimate(cutter.pasted(a, b, offset), boxes)
            first, second = (
                estimator.estimate(cutter.images[int(cutter.rows[row, 0])], cutter.boxes[[row]]) for row in (a, b)
            )
            alone = np.concatenate([first.keypoints, second.keypoints + offset])
            scores = np.concatenate([first.scores, second.scores])
            parts.append((boxes, poses.keypoints, poses.scores, alone, scores, k))
    names = "boxes", "found", "scores", "alone", "alone_scores", "frame"
    columns = zip(*parts, strict=True)
    np.savez_compressed(out, **{n: np.array(c) for n, c in zip(names, columns, strict=True)})  # type: ignore[arg-type]


@app.command()
def poses(video: Path, gt: Path, out: Path, last: int = 100_000, threads: int = 1) -> None:
    """Finds the poses in the annotated boxes of a sequence."""
    rows = np.loadtxt(gt, delimiter=",")
    rows = rows[(rows[:, 0] <= last) & (rows[:, 6] != 0)]
    estimator = Estimator(EstimatorOptions(), InferenceOptions(threads=threads))
    found = []
    images = read_frames(video, int(rows[:, 0].max()))
    for number, image in track(images.items(), "estimating"):
        here = rows[rows[:, 0] == number]
        boxes = np.concatenate([here[:, 2:4], here[:, 2:4] + here[:, 4:6]], 1)
        answer = estimator.estimate(image, boxes)
        found.append((here[:, 0], here[:, 1], boxes, answer.keypoints, answer.scores))
    names = "frame", "id", "box", "kpts", "scores"
    columns = zip(*found, strict=True)
    np.savez_compressed(out, **{n: np.concatenate(c) for n, c in zip(names, columns, strict=True)})  # type: ignore[arg-type]


def both_claim(keypoints: FloatArray, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of every two people of a frame whose boxes overlap: part of the box covered, and of the keypoints shared.

    Takes [P, 15, 2] and [P, 4]; returns [M] and [M].
    """
    cover = covered_parts(boxes)
    size = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], -1))
    apart = np.linalg.norm(keypoints[:, None] - keypoints[None], axis=-1) / size[:, None, None]
    shared = (apart < NEAR).mean(-1)
    return cover[cover > 0], shared[cover > 0]


def by_cover(cover: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean cover and mean value of the classes of overlap that have 5 members or more."""
    group = np.digitize(cover, COVER) - 1
    used = [k for k in range(len(COVER) - 1) if (group == k).sum() >= 5]
    return np.array([cover[group == k].mean() for k in used]), np.array([values[group == k].mean() for k in used])


@app.command()
def plot(
    measured: Path,
    sequences: list[Path],
    out: Annotated[Path, typer.Option(help="picture")] = Path("docs/images/capture.png"),
) -> None:
    """Draws measured and imitated capture, scores, and what annotated sequences show of it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with np.load(measured) as content:
        data = Overlaps(**{name: content[name] for name in Overlaps.__dataclass_fields__})
    points, scores = data.imitated(np.random.default_rng(SEED))
    counted, real, imitated = data.counted(), data.captured(), data.captured(points)
    cover = np.broadcast_to(data.cover[..., None], counted.shape)
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8))
    for side, name, color in ((0, "behind", "tab:red"), (1, "in front", "tab:blue")):
        chosen = counted[:, side] & (cover[:, side] > 0)
        x = cover[:, side][chosen]
        axes[0].plot(*by_cover(x, real[:, side][chosen]), "o", color=color, label=f"{name}: measured")
        axes[0].plot(*by_cover(x, imitated[:, side][chosen]), "-", color=color, label=f"{name}: training scenes")
        typer.echo(f"{name}: {_line(x, real[:, side][chosen])}; training scenes {_line(x, imitated[:, side][chosen])}")
    axes[0].set(title="keypoints captured by the neighbour", xlabel="part of the box covered", ylim=(0, 1))
    chosen = counted[:, 0] & (cover[:, 0] > 0)
    kinds = (("captured", real, imitated, "tab:red"), ("own", ~real, ~imitated, "tab:green"))
    for name, measured_rows, imitated_rows, color in kinds:
        for rows, values, style in ((measured_rows, data.scores, "o"), (imitated_rows, scores, "-")):
            here = chosen & rows[:, 0]
            label = f"{name}: {'measured' if style == 'o' else 'training scenes'}"
            axes[1].plot(*by_cover(cover[:, 0][here], values[:, 0][here]), style, color=color, label=label)
    axes[1].set(title="score of keypoints of the person behind", xlabel="part of the box covered", ylim=(0, 1))
    pairs = [both_claim(found, boxes) for found, boxes in zip(data.found, data.boxes, strict=True)]
    axes[2].plot(*by_cover(*map(np.concatenate, zip(*pairs, strict=True))), "k-", label="composites")
    for file, marker in zip(sequences, "os^vD", strict=False):
        with np.load(file) as content:
            rows = {name: content[name] for name in ("frame", "box", "kpts")}
        frames = [rows["frame"] == number for number in np.unique(rows["frame"])]
        pairs = [both_claim(rows["kpts"][here], rows["box"][here]) for here in frames]
        x, y = map(np.concatenate, zip(*pairs, strict=True))
        axes[2].plot(*by_cover(x, y), marker, label=file.stem)
        typer.echo(f"{file.stem}, claimed by both: {_line(x, y)}")
    axes[2].set(title="keypoints that two people both claim", xlabel="part of the box covered", ylim=(0, 1))
    for axis in axes:
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=80)
    typer.echo(f"written: {out}")


def _line(cover: FloatArray, values: FloatArray) -> str:
    return ", ".join(f"{x:.2f}: {100 * y:.0f} %" for x, y in zip(*by_cover(cover, values), strict=True))


if __name__ == "__main__":
    app()
