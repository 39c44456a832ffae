"""What the 1€ filter does to the keypoints of a real video: how much jitter it leaves, and how far it moves keypoints.

Jitter is the mean length of the second difference of a keypoint over three frames in a row, which is zero for a steady
walk; the distance is between the smoothed and the raw keypoint. Only keypoints of score 0.3 and more count.

python bench/smoothing.py VIDEO [--frames 120] [--beta 0 0.02 0.05]
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from keytrack_ros.media.sources import open_source
from keytrack_ros.pipeline import Pipeline
from keytrack_ros.poses import Poses
from keytrack_ros.smoothing import OneEuroSmoother, SmoothingOptions

SCORE = 0.3


def tracked(video: Path, frames: int) -> list[tuple[float, Poses]]:
    """Seconds and people of the first frames."""
    pipeline = Pipeline.from_options()
    found = []
    with open_source(video) as source:
        for _, frame in zip(range(frames), source, strict=False):
            found.append((frame.stamp_s, pipeline.process(frame.image_bgr, frame.stamp_s)))
    pipeline.close()
    return found


def paths(frames: list[Poses]) -> dict[int, dict[int, np.ndarray]]:
    """By track id and frame [15, 2]; keypoints of low scores are NaN."""
    found: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
    for number, poses in enumerate(frames):
        keypoints = np.where(poses.scores[..., None] >= SCORE, poses.keypoints, np.nan)
        for row, track_id in enumerate(poses.track_ids.tolist()):
            found[track_id][number] = keypoints[row]
    return found


def jitter(frames: list[Poses]) -> float:
    """Pixels."""
    bends = [
        np.linalg.norm(path[n] - 2 * path[n + 1] + path[n + 2], axis=-1)
        for path in paths(frames).values()
        for n in path
        if n + 1 in path and n + 2 in path
    ]
    return float(np.nanmean(np.concatenate(bends)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--beta", type=float, nargs="+", default=[0.0, SmoothingOptions().beta, 0.05])
    options = parser.parse_args()
    found = tracked(options.video, options.frames)
    raw = [poses for _, poses in found]
    print(f"raw:       jitter {jitter(raw):.2f} px")
    for beta in options.beta:
        smoother, values = OneEuroSmoother(), SmoothingOptions(beta=beta)
        smoothed = [smoother.update(poses, seconds, values) for seconds, poses in found]
        moved = np.concatenate(
            [
                np.linalg.norm(after.keypoints - before.keypoints, axis=-1)[before.scores >= SCORE]
                for before, after in zip(raw, smoothed, strict=True)
            ]
        )
        print(
            f"beta {beta:<5g} jitter {jitter(smoothed):.2f} px, moved by {np.median(moved):.1f} px (median), "
            f"{np.percentile(moved, 95):.1f} px (95 %)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
