"""Writes tracks as PoseTrack 2018 JSON (the format of poseval and of the PoseTrack server)."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.media.files import TextFile, require_free
from keytrack_ros.poses import Poses

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
        self._images.append(json.dumps(image))
        for row in range(len(poses)):
            self._annotations += 1
            separator = ",\n" if self._annotations > 1 else "\n"
            self._file.write(separator + json.dumps(_annotation(poses, row, index, self._annotations)))

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


def _annotation(poses: Poses, row: int, image_id: int, number: int) -> dict[str, Any]:
    present = poses.visible[row]
    points = np.zeros((len(skeleton.POSETRACK17), 3))
    points[_SLOTS, :2] = np.where(present[:, None], poses.keypoints[row], 0).round(2)
    points[_SLOTS, 2] = present
    scores = np.zeros(len(skeleton.POSETRACK17))
    scores[_SLOTS] = poses.scores[row].round(4)
    x_min, y_min, x_max, y_max = poses.boxes[row].astype(float)
    return {
        "id": number,
        "image_id": image_id,
        "track_id": int(poses.track_ids[row]),
        "category_id": CATEGORY["id"],
        "bbox": [round(x_min, 2), round(y_min, 2), round(x_max - x_min, 2), round(y_max - y_min, 2)],
        "keypoints": [int(v) if k % 3 == 2 else round(v, 2) for k, v in enumerate(points.ravel().tolist())],
        "scores": [round(score, 4) for score in scores.tolist()],
        "num_keypoints": int(present.sum()),
    }
