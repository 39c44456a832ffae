"""Hand-made people for tests."""

from __future__ import annotations

import numpy as np

from keytrack_ros.poses import Poses
from test.toy import keypoints_of


def people(*places: tuple[float, float], score: float = 0.9, **fields: object) -> Poses:
    """A `Poses` with an upright person of 60 x 160 px centred at each (x, y)."""
    keypoints = np.array([keypoints_of(x, y) for x, y in places]).reshape(-1, 15, 2)
    return Poses(keypoints, np.full((len(places), 15), score), **fields)  # type: ignore[arg-type]
