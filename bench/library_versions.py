"""How far do keypoints of the same frames differ between versions of OpenCV, ONNX Runtime and NumPy, and through which?

    .venv/bin/python bench/library_versions.py save frames.npz vtest.avi:8 walk.mp4:3      every 8th, every 3rd frame
    OTHER_VENV/bin/python bench/library_versions.py compare frames.npz

`save` keeps decoded frames, boxes, crops, keypoints and heatmaps; `compare` makes them again, from the saved frames and
boxes, and the keypoints once more from the saved crops. FP32, one thread.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).parent.parent))

from keytrack_ros.detection import Detector
from keytrack_ros.estimation import Estimator
from keytrack_ros.estimation.crops import crop_image, crop_transforms, to_image
from keytrack_ros.inference.images import network_input
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.media.sources import open_source

FP32 = InferenceOptions(precision="fp32", threads=1)
FRAMES = 100
"""At most so many of each video."""


class Poses:
    """The shipped pose network, from crops on; keeps the heatmaps of each pose."""

    def __init__(self) -> None:
        self.estimator = Estimator(inference=FP32)
        self.size = self.estimator.card.input.size
        self.maps: list[Any] = []

    def crops(self, image: Any, boxes: Any) -> Any:
        return np.stack(crop_image(image, self.transforms(boxes), self.size))

    def transforms(self, boxes: Any) -> Any:
        return crop_transforms(boxes, self.size, self.estimator.card.padding)

    def keypoints(self, crops: Any, boxes: Any) -> Any:
        """[P, 15, 2] image pixels."""
        card = self.estimator.card
        inputs = network_input(list(crops), card.input)
        (maps,) = self.estimator._outputs(inputs)
        self.maps.append(maps[:, self.estimator._channels])
        points, _, cells = self.estimator._decode_heatmaps(inputs)
        return to_image((points + card.offset) * np.divide(self.size, cells).astype(np.float32), self.transforms(boxes))


def save(file: Path, videos: list[str]) -> None:
    detector, poses = Detector(inference=FP32), Poses()
    kept: dict[str, list[Any]] = {"frames": [], "boxes": [], "crops": [], "keypoints": []}
    for video in videos:
        name, _, every = video.partition(":")
        with open_source(name, every=int(every or 1), frames=FRAMES) as source:
            for frame in source:
                boxes, _ = detector.detect(frame.image_bgr)
                if len(boxes):
                    crops = poses.crops(frame.image_bgr, boxes)
                    values = frame.image_bgr, boxes, crops, poses.keypoints(crops, boxes)
                    for rows, value in zip(kept.values(), values, strict=True):
                        rows.append(value)
    rows = {key: _objects(values) for key, values in kept.items()}
    np.savez(file, versions=versions(), maps=np.concatenate(poses.maps), **rows)


def compare(file: Path) -> None:
    saved = np.load(file, allow_pickle=True)
    detector, poses, from_saved = Detector(inference=FP32), Poses(), Poses()
    own, others, levels, boxes_differ = [], [], [], 0.0
    for frame, boxes, crops in zip(saved["frames"], saved["boxes"], saved["crops"], strict=True):
        found, _ = detector.detect(frame)
        boxes_differ = max(boxes_differ, np.abs(found - boxes).max() if found.shape == boxes.shape else np.inf)
        mine = poses.crops(frame, boxes)
        levels.append(np.abs(mine.astype(int) - crops))
        own.append(poses.keypoints(mine, boxes))
        others.append(from_saved.keypoints(crops, boxes))
    truth = np.concatenate(saved["keypoints"]).astype(np.float64)
    difference = np.concatenate(levels)
    print(f"saved with {saved['versions']}, compared with {versions()}; {len(truth)} poses")
    print(f"boxes: {boxes_differ:.4f} px at most")
    print(f"crops: {(difference > 0).mean():.2%} of the values differ, by at most {difference.max()}")
    for what, keypoints in (("all libraries", own), ("crops as saved", others)):
        moved = np.linalg.norm(np.concatenate(keypoints) - truth, axis=2)
        tails = ", ".join(f"{part:g} %: {np.percentile(moved, part):.2f}" for part in (99, 99.9))
        print(f"keypoints, {what}: mean {moved.mean():.4f} px, {tails}, at most {moved.max():.2f}")
    before = saved["maps"].reshape(*saved["maps"].shape[:2], -1)
    after = np.concatenate(poses.maps).reshape(before.shape)
    elsewhere = np.take_along_axis(before, after.argmax(2)[..., None], 2)[..., 0] / before.max(2)
    cells = np.linalg.norm(np.concatenate(own) - truth, axis=2) / _cell(poses, saved["boxes"])
    print(f"heatmaps differ by at most {np.abs(before - after).max():.3f}")
    for low, high in ((0.01, 1), (1, 2), (2, np.inf)):
        some = (cells > low) & (cells <= high)
        if some.any():
            print(
                f"moved by {low:g} to {high:g} heatmap pixels: {some.mean():.2%}; the new place had been "
                f"{np.median(elsewhere[some]):.3f} (median, at least {elsewhere[some].min():.3f}) of the maximum"
            )


def _cell(poses: Poses, boxes: Any) -> Any:
    """Side of a heatmap pixel in image pixels, for each pose: [P, 1]."""
    return 4 / poses.transforms(np.concatenate(boxes))[:, :1, 0]


def _objects(values: list[Any]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def versions() -> str:
    return f"OpenCV {cv2.__version__}, ONNX Runtime {onnxruntime.__version__}, NumPy {np.__version__}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("save", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("videos", nargs="*")
    given = parser.parse_args()
    if given.action == "save":
        save(given.file, given.videos)
    else:
        compare(given.file)
