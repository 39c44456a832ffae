"""Two sequences made by arithmetic, for which test/evaluation/poseval_numbers.json holds what poseval prints.

`crossing`: three people in 16 frames; two exchange their ids, one comes back under a new id, one is missed for two
frames, a person that nobody annotated stands among them, keypoints are missing, unannotated or off. `gaps`: the same
with a frame without predictions and one without annotated people.
"""

from __future__ import annotations

from keytrack_ros import skeleton
from keytrack_ros.annotations.sequence import LabelledSequence
from test.evaluation.toy_sequences import Person, sequence

NAMES = ("crossing", "gaps")
FRAMES = 16
_STARTS = (140.0, 330.0, 560.0)
_STEPS = (7.0, -3.0, 4.0)


def synthetic_case(name: str) -> tuple[LabelledSequence, LabelledSequence]:
    """Ground truth and prediction."""
    annotated = [_annotated(t) for t in range(FRAMES)]
    predicted = [_predicted(t) for t in range(FRAMES)]
    if name == "gaps":
        annotated[11], predicted[5] = [], []
    return sequence(annotated, size=(960, 540)), sequence(predicted, size=(960, 540))


def _annotated(t: int) -> list[Person]:
    return [
        Person(g, _STARTS[g] + _STEPS[g] * t, 90.0 + 2 * g, without=("left_wrist",) if g == 1 and t < 3 else ())
        for g in range(3)
    ]


def _predicted(t: int) -> list[Person]:
    people = []
    for g in range(3):
        if g == 2 and t in (6, 7):
            continue
        track = {0: 20, 1: 21, 2: 22 if t < 6 else 29}[g]
        if t >= 9 and g < 2:  # exchanged
            track = 41 - track
        # Off by up to 7 px, in a pattern without equals; the threshold is 15 px.
        moved = {
            joint: (_between(-7, 7, 31 * t + 11 * g + 5 * j), _between(-7, 7, 17 * t + 23 * g + 3 * j))
            for j, joint in enumerate(skeleton.NAMES)
        }
        if g == 0 and 2 <= t <= 4:
            moved["right_knee"] = (30.0, 5.0)
        without = ("right_elbow", "left_ankle") if g == 1 and 4 <= t <= 8 else ()
        score = _between(0.2, 0.95, 37 * t + 29 * g + 1)
        people.append(Person(track, _STARTS[g] + _STEPS[g] * t, 90.0 + 2 * g, score, without, moved))
    if 8 <= t <= 11:
        people.append(Person(33, 800.0, 100.0, score=_between(0.2, 0.6, 41 * t)))
    return people


def _between(low: float, high: float, k: int) -> float:
    """A number of a fixed irregular row."""
    return low + (high - low) * ((7919 * k + 104729) % 9973) / 9973
