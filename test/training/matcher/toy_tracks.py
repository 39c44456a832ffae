"""Small made-up track files in the layout of the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keytrack_ros import skeleton
from test.toy import keypoints_of

BONN_VIDEOS = [f"{number:06d}" for number in range(0, 240, 10)]
SOMOF_VIDEOS = [f"{number:06d}_mpii_train" for number in range(0, 240, 10)]


def write_tracks(folder: Path, frames: int = 12, people: int = 3) -> Path:
    """Writes bonn_train.npz, somof_valid.npz and penn_action.npz with people who walk past each other."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "bonn_train.npz", **walkers(BONN_VIDEOS, frames, people, 0))
    np.savez(folder / "somof_valid.npz", **walkers(SOMOF_VIDEOS, frames, people, 1))
    clips = [f"{number:04d}" for number in range(6)]
    clip = {"clip_id": np.array(clips), "clip_size_hw": np.full((len(clips), 2), (540, 960), np.int16)}
    np.savez(folder / "penn_action.npz", **walkers(clips, frames, 1, 2), **clip)
    return folder


def walkers(videos: list[str], frames: int, people: int, seed: int) -> dict[str, np.ndarray]:
    """Rows of all videos: every person keeps a speed and never meets another's place."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[object]] = {"video": [], "person": [], "frame": [], "kpts": []}
    for video in videos:
        for person in range(people):
            x, y = 150 + 280 * person + rng.uniform(-40, 40), rng.uniform(150, 400)
            speed = rng.uniform(-2, 2, 2)
            for frame in range(frames):
                rows["video"].append(video)
                rows["person"].append(person)
                rows["frame"].append(frame)
                rows["kpts"].append(keypoints_of(x + speed[0] * frame, y + speed[1] * frame))
    keypoints = np.array(rows["kpts"], np.float32)
    visibility = np.full(keypoints.shape[:2], 2, np.uint8)
    visibility[:, 0] = 0  # as in the real files, nobody has a nose
    visibility[::7, 5] = 1
    return {
        "joints": np.array(skeleton.NAMES),
        "video": np.array(rows["video"]),
        "person": np.array(rows["person"], np.int16),
        "frame": np.array(rows["frame"], np.int16),
        "kpts": keypoints * (visibility > 0)[..., None],
        "vis": visibility,
    }
