"""Hand-made sequences: upright people of whom every keypoint is known, with a head size of 30 px (threshold 15 px)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.annotations.sequence import Image, LabelledSequence
from keytrack_ros.evaluation.evaluate import combined, score_sequence
from keytrack_ros.evaluation.frames import SequencePair
from keytrack_ros.evaluation.protocol import CLEAN, Protocol
from keytrack_ros.evaluation.scores import Scores

HEAD_SIZE = 30.0
"""0.6 × the diagonal of a head box of 30 x 40 px."""
JOINTS = np.array(
    [
        *([0, 25], [0, 42], [0, 2], [22, 50], [-22, 50], [32, 80], [-32, 80], [36, 108], [-36, 108]),
        *([14, 112], [-14, 112], [16, 155], [-16, 155], [17, 198], [-17, 198]),
    ],
    np.float64,
)


@dataclass(frozen=True)
class Person:
    """Someone whose head begins at (x, y); `moved` shifts single keypoints, `without` names absent ones."""

    track_id: int
    x: float
    y: float = 100.0
    score: float | None = None
    without: Sequence[str] = ()
    moved: dict[str, tuple[float, float]] = field(default_factory=dict)


def sequence(
    frames: Sequence[Sequence[Person]], name: str = "000001_mpii_test", **image_fields: object
) -> LabelledSequence:
    """A sequence of these people; an image without people is unlabelled unless `labelled` says otherwise."""
    people = [person for frame in frames for person in frame]
    count = len(people)
    keypoints = np.array([JOINTS + np.array([p.x, p.y]) for p in people]).reshape(count, skeleton.COUNT, 2)
    present = np.ones((count, skeleton.COUNT), np.bool_)
    for row, person in enumerate(people):
        for joint, shift in person.moved.items():
            keypoints[row, skeleton.INDEX[joint]] += shift
        present[row, [skeleton.INDEX[joint] for joint in person.without]] = False
    corner = np.array([(p.x - 15, p.y) for p in people]).reshape(count, 2)
    images = tuple(
        replace(Image(f"images/val/{name}/{k:06d}.jpg", labelled=bool(frame)), **image_fields)  # type: ignore[arg-type]
        for k, frame in enumerate(frames)
    )
    scores = np.array([np.nan if p.score is None else p.score for p in people])
    return LabelledSequence(
        name=name,
        source=f"{name}.json",
        images=images,
        image_index=np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]),
        track_ids=np.array([p.track_id for p in people], np.int64),
        keypoints=np.where(present[..., None], keypoints, 0),
        present=present,
        visibility=present.astype(np.int64),
        scores=np.where(present, np.repeat(scores[:, None], skeleton.COUNT, 1), np.nan),
        boxes=np.full((count, 4), np.nan),
        head_boxes=np.concatenate([corner, corner + np.array([30, 40])], 1),
        listed=np.ones(count, np.bool_),
    )


def score(ground_truth: LabelledSequence, prediction: LabelledSequence, protocol: Protocol = CLEAN) -> Scores:
    """The scores of one sequence."""
    return combined([score_sequence(SequencePair(ground_truth, prediction), protocol)], protocol)


def random_ground_truth(seed: int, *, apart: float = 150.0, frames: int = 6, people: int = 4) -> LabelledSequence:
    """People that walk side by side, `apart` px from each other; some are away in some frames, some joints unknown."""
    random = np.random.default_rng(seed)
    start = np.arange(people) * apart + 200 + random.uniform(-10, 10, people)
    scene = []
    for t in range(frames):
        here = [g for g in range(people) if random.random() < 0.85] or [0]
        scene.append(
            [
                Person(g, start[g] + 2 * t, without=[n for n in skeleton.NAMES if random.random() < 0.1])
                for g in random.permutation(here)
            ]
        )
    return sequence(scene)


def random_prediction(seed: int, ground_truth: LabelledSequence, *, jitter: float = 6.0) -> LabelledSequence:
    """A tracker's output: keypoints off by `jitter` px, people missed, ids that change, false people far away."""
    random = np.random.default_rng(seed + 1)
    ids = {int(i): int(i) for i in np.unique(ground_truth.track_ids)}
    fresh = 100
    scene: list[list[Person]] = []
    for k in range(len(ground_truth)):
        found = []
        for row in range(*ground_truth.rows(k).indices(ground_truth.people)):
            track = int(ground_truth.track_ids[row])
            if random.random() < 0.15:
                ids[track], fresh = fresh, fresh + 1
            if random.random() < 0.85:
                moved = {n: tuple(random.normal(0, jitter, 2)) for n in skeleton.NAMES}
                x = float(ground_truth.head_boxes[row, 0] + 15)
                found.append(Person(ids[track], x, score=random.random(), moved=moved))  # type: ignore[arg-type]
        if random.random() < 0.3:
            found.append(Person(fresh, random.uniform(0, 2000), y=2000.0, score=random.random()))
            fresh += 1
        scene.append([found[i] for i in random.permutation(len(found))])
    return sequence(scene)
