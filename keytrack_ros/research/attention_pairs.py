"""Which pairs of poses the attention figure shows: a person and itself some frames earlier, and it and another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.errors import InputError
from keytrack_ros.matching.motion import pose_sizes
from keytrack_ros.poses import FloatArray, IntArray, Poses


@dataclass(frozen=True)
class PosePair:
    """A pose of one frame and one of an earlier frame.

    Attributes:
        current, past: one person each, with `track_ids`.
        image, past_image: places of the two frames in the sequence.
    """

    current: Poses
    past: Poses
    image: int
    past_image: int

    @property
    def same(self) -> bool:
        """Whether they are one person."""
        return bool(self.current.track_ids[0] == self.past.track_ids[0])


def choose_pairs(
    sequence: LabelledSequence,
    gap: int,
    frame: int | None = None,
    person: int | None = None,
    other: int | None = None,
    keypoint_threshold: float = 0.0,
) -> tuple[PosePair, PosePair]:
    """A matching and a non-matching pair, the current pose being the same.

    Defaults: the other person is the nearest one; frame and person are a typical case: of those with the most visible
    keypoints, the one with the median distance to its nearest other person.

    Args:
        sequence: poses with identities.
        gap: how many of the sequence's images the past poses lie back.
        frame: number of the current frame, see `LabelledSequence.frame_numbers`.
        person, other: their ids.
        keypoint_threshold: keypoints with a lower confidence count as missing.

    Raises InputError if there is no such frame, person or pair.
    """
    numbers = sequence.frame_numbers
    ids = np.unique(sequence.track_ids)
    if len(ids) < 2:
        raise InputError(f"{sequence.source}: {len(ids)} person in it; a non-matching pair needs two")
    for wanted in (person, other):
        if wanted is not None and wanted not in ids:
            raise InputError(f"{sequence.source}: there is no person {wanted}; there are {_listed(ids)}")
    if person is not None and person == other:
        raise InputError(f"{sequence.source}: person {person} is not another person; a non-matching pair needs two")
    if len(sequence) <= gap:
        raise InputError(f"{sequence.source}: {len(sequence)} frame(s) in it; poses {gap} apart need {gap + 1}")
    images: Sequence[int] = range(gap, len(sequence))
    if frame is not None:
        if frame not in numbers:
            raise InputError(f"{sequence.source}: there is no frame {frame}; there are {numbers[0]} … {numbers[-1]}")
        if numbers.index(frame) < gap:
            raise InputError(
                f"{sequence.source}: frame {frame} has only {numbers.index(frame)} frame(s) before it; "
                f"poses {gap} apart are wanted"
            )
        images = [numbers.index(frame)]
    found: list[tuple[int, float, PosePair, PosePair]] = []
    for image in images:
        now, then = (_poses(sequence, k, keypoint_threshold) for k in (image, image - gap))
        for row in range(len(now)):
            track_id = int(now.track_ids[row])
            own, strangers = then[then.track_ids == track_id], then[then.track_ids != track_id]
            if other is not None:
                strangers = strangers[strangers.track_ids == other]
            if person not in (None, track_id) or not len(own) or not len(strangers):
                continue
            distance = _distances(now[row], strangers)
            stranger = strangers[int(distance.argmin())]
            fewest = min(int(pose.visible.sum()) for pose in (now[row], own, stranger))
            matching, other_pair = (PosePair(now[row], past, image, image - gap) for past in (own, stranger))
            found.append((fewest, float(distance.min()), matching, other_pair))
    if not found:
        where = "no frame" if frame is None else f"frame {frame}"
        raise InputError(
            f"{sequence.source}: in {where} is {'anybody' if person is None else f'person {person}'} who was there "
            f"{gap} frame(s) earlier, too, with {'another' if other is None else f'person {other}'} beside; a matching "
            "and a non-matching pair need that"
        )
    most = max(fewest for fewest, *_ in found)
    best = sorted((item for item in found if item[0] == most), key=lambda item: item[1])
    _, _, matching, other_pair = best[len(best) // 2]
    return matching, other_pair


def _distances(person: Poses, others: Poses) -> FloatArray:
    """[len(others)] mean distance of the keypoints shared with `person` (one), in sizes of it; infinite without any."""
    shared = person.visible & others.visible
    apart = np.linalg.norm(person.keypoints - others.keypoints, axis=-1)
    mean = (apart * shared).sum(1) / np.maximum(shared.sum(1), 1) / pose_sizes(person.keypoints, person.visible)
    return np.where(shared.any(1), mean, np.inf)


def _listed(ids: IntArray) -> str:
    return ", ".join(map(str, ids[:12].tolist())) + (", …" if len(ids) > 12 else "")


def _poses(sequence: LabelledSequence, image: int, threshold: float) -> Poses:
    poses = sequence.poses(image)
    return poses.with_fields(scores=np.where(poses.scores >= threshold, poses.scores, 0))
