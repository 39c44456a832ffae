"""The 15 keypoints of PoseTrack: order, names, limbs, mirror pairs, OKS sigmas, and how other joint sets map to them.

Left and right are the person's own. Sigmas are COCO's (twice the standard deviation of annotators, relative to the
person's size); COCO has none for head_bottom and head_top, which take the shoulder's value as in PoseTrack21.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keytrack_ros.errors import ModelError

NAMES: tuple[str, ...] = (
    "nose",
    "head_bottom",
    "head_top",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
COUNT = len(NAMES)
INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}


def _pairs(*limbs: tuple[str, str]) -> tuple[tuple[int, int], ...]:
    return tuple((INDEX[a], INDEX[b]) for a, b in limbs)


EDGES: tuple[tuple[int, int], ...] = _pairs(
    ("head_top", "nose"),
    ("nose", "head_bottom"),
    ("head_bottom", "left_shoulder"),
    ("head_bottom", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_hip", "right_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
)

MIRRORED: tuple[int, ...] = tuple(
    INDEX[name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")]
    for name in NAMES
)
"""MIRRORED[k]: the keypoint that k becomes in the mirrored image."""

SIGMAS: npt.NDArray[np.float32] = np.array(
    [0.026, 0.079, 0.079] + [0.079] * 2 + [0.072] * 2 + [0.062] * 2 + [0.107] * 2 + [0.087] * 2 + [0.089] * 2,
    np.float32,
)
SIGMAS.setflags(write=False)

COCO17: tuple[str, ...] = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
MPII16: tuple[str, ...] = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "pelvis",
    "thorax",
    "upper_neck",
    "head_top",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
)
POSETRACK17: tuple[str, ...] = (*NAMES[:3], "left_ear", "right_ear", *NAMES[3:])
"""The 17 slots of PoseTrack 2018's JSON; the ears are never annotated."""

JOINT_SETS: dict[str, tuple[str, ...]] = {
    "posetrack15": NAMES,
    "posetrack17": POSETRACK17,
    "coco17": COCO17,
    "mpii16": MPII16,
}

_ALIASES = {"upper_neck": "head_bottom", "neck": "head_bottom"}
_IGNORED = {"left_eye", "right_eye", "left_ear", "right_ear", "pelvis", "thorax"}


def channels_of(joints: Sequence[str]) -> tuple[int, ...]:
    """For each of the 15 keypoints, the index in `joints` that holds it, or −1 where none does.

    `joints` names a network's outputs in order. MPII's upper_neck is head_bottom.

    Raises ModelError for a joint that is neither one of the 15 nor a known joint without use here.
    """
    channels = [-1] * COUNT
    for channel, joint in enumerate(joints):
        name = _ALIASES.get(joint, joint)
        if name in INDEX:
            if channels[INDEX[name]] >= 0:
                raise ModelError(f"joint '{joint}' is named twice")
            channels[INDEX[name]] = channel
        elif joint not in _IGNORED:
            known = ", ".join((*NAMES, *sorted(_ALIASES), *sorted(_IGNORED)))
            raise ModelError(f"unknown joint '{joint}'; known are {known}")
    return tuple(channels)


HEAD_POINTS = (("head_bottom", 0.28), ("head_top", 1.47))
"""Where head points lie on the line from the middle of the shoulders to the nose; see `derive_head_points`."""


def derive_head_points(keypoints: npt.NDArray[np.floating[Any]], scores: npt.NDArray[np.floating[Any]]) -> None:
    """Fills head_bottom and head_top where only the nose is known (COCO), in place.

    With m the middle of the shoulders and q the nose, head_bottom = m + 0.28 (q − m), head_top = m + 1.47 (q − m); the
    factors were fitted on a few annotated people. The score is that of the weakest of the three points.

    Args:
        keypoints: [P, 15, 2].
        scores: [P, 15].
    """
    nose, left, right = (INDEX[name] for name in ("nose", "left_shoulder", "right_shoulder"))
    middle = (keypoints[:, left] + keypoints[:, right]) / 2
    weakest = scores[:, [nose, left, right]].min(1)
    for name, factor in HEAD_POINTS:
        keypoints[:, INDEX[name]] = middle + factor * (keypoints[:, nose] - middle)
        scores[:, INDEX[name]] = weakest
