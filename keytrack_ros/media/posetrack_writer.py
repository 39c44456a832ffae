"""Writes tracks as PoseTrack 2018 JSON (the format of poseval and of the PoseTrack server)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.media.files import TextFile, require_free
from keytrack_ros.poses import BoolArray, FloatArray, IntArray, Poses

_SLOTS = [skeleton.POSETRACK17.index(name) for name in skeleton.NAMES]
CATEGORY: dict[str, Any] = {
    "supercategory": "person",
    "id": 1,
    "name": "person",
    "keypoints": list(skeleton.POSETRACK17),
    "skeleton": [[_SLOTS[a] + 1, _SLOTS[b] + 1] for a, b in skeleton.EDGES],
}


class PoseTrackWriter:
    """A PoseTrack 2018 file, written as the frames come: what stays in memory is a short text for each frame.

    `keypoints` has 17 slots of x, y, v, of which the two ears are never known; v is 1 for a keypoint that is present,
    and a missing one is 0, 0, 0. `scores` has the 17 confidences. `bbox` is x, y, width, height in pixels. The file has
    its name only once it is complete: until `close` it is written as <name>.part.

    Args:
        path: the JSON file.
        video: name of the video, for `vid_id` and for the file names of frames that have none.
        overwrite: replace a file that is already there.

    Raises:
        OutputError: the file exists, or cannot be written.
    """

    def __init__(self, path: Path, video: str, *, overwrite: bool = False) -> None:
        require_free(path, overwrite=overwrite)
        self.path = path
        self._video = video
        self._images: list[str] = []
        self._annotations = 0
        self._file = TextFile(path)
        self._file.write('{"annotations": [')

    def write(self, poses: Poses, index: int, size: tuple[int, int], *, file_name: str = "") -> None:
        """Appends a frame, also when nobody is in it.

        Args:
            poses: with `track_ids`.
            index: the frame's place in the video, from 0; becomes `frame_id` and the image's `id`.
            size: width and height of the image in pixels.
            file_name: of the image; by default <video>/<index with 6 digits>.jpg.
        """
        image = {
            "file_name": file_name or f"{self._video}/{index:06d}.jpg",
            "id": index,
            "frame_id": index,
            "vid_id": self._video,
            "width": size[0],
            "height": size[1],
            "is_labeled": True,
        }
        self.append(image, [_person(poses, row) for row in range(len(poses))])

    def append(self, image: dict[str, Any], people: Sequence[dict[str, Any]]) -> None:
        """Appends a frame: PoseTrack's record of the image without `nframes`, and of each person in it.

        What a person's record lacks of `id`, `image_id` and `category_id` is filled in.
        """
        self._images.append(json.dumps(image))
        for person in people:
            self._annotations += 1
            numbers = {"id": self._annotations, "image_id": image["id"], "category_id": CATEGORY["id"]}
            separator = ",\n" if self._annotations > 1 else "\n"
            self._file.write(separator + json.dumps(numbers | person))

    def close(self) -> None:
        """Completes the file; the second call does nothing."""
        if self._file.closed:
            return
        images = ",\n".join(f'{image[:-1]}, "nframes": {len(self._images)}}}' for image in self._images)
        self._file.write(f'\n],\n"images": [\n{images}\n],\n"categories": {json.dumps([CATEGORY])}}}\n')
        self._file.finish()

    def __enter__(self) -> PoseTrackWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def keypoint_slots(keypoints: FloatArray, present: BoolArray, visibility: IntArray | BoolArray) -> list[float | int]:
    """The 51 numbers x, y, v of the 17 slots from [15, 2] keypoints and [15] flags; 0, 0, 0 for what is not present."""
    points = np.zeros((len(skeleton.POSETRACK17), 3))
    points[_SLOTS, :2] = np.where(present[:, None], keypoints, 0)
    points[_SLOTS, 2] = np.where(present, visibility, 0)
    return [int(v) if k % 3 == 2 else v for k, v in enumerate(points.ravel().tolist())]


def score_slots(scores: FloatArray) -> list[float]:
    """The 17 confidences from [15]."""
    slots = np.zeros(len(skeleton.POSETRACK17))
    slots[_SLOTS] = scores
    return list(slots.tolist())


def _person(poses: Poses, row: int) -> dict[str, Any]:
    present = poses.visible[row]
    x_min, y_min, x_max, y_max = poses.boxes[row].astype(float)
    return {
        "track_id": int(poses.track_ids[row]),
        "bbox": [round(x_min, 2), round(y_min, 2), round(x_max - x_min, 2), round(y_max - y_min, 2)],
        "keypoints": [round(v, 2) for v in keypoint_slots(poses.keypoints[row], present, present)],
        "scores": [round(score, 4) for score in score_slots(poses.scores[row])],
        "num_keypoints": int(present.sum()),
    }
