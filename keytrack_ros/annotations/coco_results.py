"""Reads COCO keypoint results with track ids: a list of `image_id`, `keypoints` (17 of x, y, v) and `track_id`.

Format: https://cocodataset.org/#format-results; `track_id` is what trackers add to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keytrack_ros.annotations.records import get, numbers, of_kind
from keytrack_ros.annotations.sequence import Image, LabelledSequence, fitting_ids, from_poses
from keytrack_ros.errors import InputError
from keytrack_ros.poses import Poses
from keytrack_ros.skeleton import COCO17


def read_coco_results(path: Path, people: list[Any]) -> LabelledSequence:
    """The sequence of such a list; its images are those with people, in order of their ids.

    A keypoint at (0, 0) is absent. The third number of a keypoint is its confidence; where the file has numbers above
    1 there, they are flags, and the person's `score` (or 1) is the confidence. Head points are derived from nose and
    shoulders.

    Raises InputError, naming the file and the person, if an entry lacks an id or 51 numbers.
    """
    if not people:
        raise InputError(f"{path}: holds no people")
    image_ids, track_ids, rows, person_scores = [], [], [], []
    for k, entry in enumerate(people):
        here = f"{path}: person {k}"
        person = of_kind(entry, dict, here)
        image_ids.append(get(person, "image_id", int, here))
        rows.append(numbers(get(person, "keypoints", list, here), 3 * len(COCO17), f"{here}: keypoints"))
        if "track_id" not in person:
            raise InputError(f"{here}: 'track_id' is missing: these are poses of single images, not tracks")
        track_ids.append(get(person, "track_id", int, here))
        score = person.get("score", 1.0)
        known = isinstance(score, (int, float)) and 0 < score <= 1
        person_scores.append(float(score) if known else 1.0)
    table = np.array(rows).reshape(-1, len(COCO17), 3)
    present = (table[..., :2] != 0).any(-1)
    flagged = (table[..., 2] > 1).any() or not (table[..., 2] > 0).any()
    scores = np.repeat(np.array(person_scores)[:, None], len(COCO17), 1) if flagged else table[..., 2]
    if not np.isfinite(table).all():
        raise InputError(f"{path}: person {int(np.argwhere(~np.isfinite(table))[0, 0])}: keypoints are not finite")
    if (scores < 0).any():
        raise InputError(f"{path}: person {int(np.argwhere(scores < 0)[0, 0])}: a confidence is negative")
    poses = Poses.from_layout(table[..., :2], np.where(present, scores, 0), "coco17")
    poses = poses.with_fields(track_ids=fitting_ids(track_ids))
    images = sorted(set(image_ids))
    index = np.array(image_ids, dtype=object)
    frames = [poses[np.flatnonzero(index == number)] for number in images]
    return from_poses(path.stem, str(path), tuple(Image(image_id=number) for number in images), frames).checked()
