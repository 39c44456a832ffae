"""Pose tracks without images, as the matcher is trained and measured on: reading, cleaning, and what is held back.

A data folder holds `bonn_train.npz` (Multi-Person PoseTrack), `somof_valid.npz` (SoMoF) and `penn_action.npz` (Penn
Action): flat files in which one row is one person in one frame. docs/models/pose_entailment.md describes them.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.poses import BoolArray, FloatArray, IntArray

FILES = {"bonn": "bonn_train.npz", "somof": "somof_valid.npz", "penn": "penn_action.npz"}
MULTI_PERSON = ("bonn", "somof")
"""Sources with several people in a frame, of which videos are held back."""

EXCLUDED = ("000003_bonn_train", "014506_mpii_train", "000015_bonn_train", "000023_bonn_train")
"""SoMoF clips with the same footage as Bonn videos: used for nothing."""

HELD_BACK_PERCENT = 21
VALIDATION_PERCENT = 25

BONN_SIZE = (960, 540)
USUAL_SIZES = ((640, 360), (640, 480), (854, 480), (1280, 720), (1920, 1080))
_KINDS = {"person": "iu", "frame": "iu", "kpts": "iuf", "vis": "iub"}
"""Kinds of NumPy types that the values of a key may have."""
MARGIN = 1.02
"""Annotated points may lie this much outside the frame."""


@dataclass(frozen=True)
class Tracks:
    """N rows, each one person in one frame, sorted by video, frame and person; V videos.

    Attributes:
        keypoints: [N, 15, 2] float32, pixels; 0 where missing.
        present: [N, 15] bool.
        hidden: [N, 15] bool: annotated though not to be seen, so a guess.
        video: [N] int64, index into `names`.
        frame: [N] int64, frame number in the video.
        person: [N] int64; a track is one pair of video and person.
        names: V names, `source/video`.
        sizes: [V, 2] float32, width and height of the frames.
    """

    keypoints: FloatArray
    present: BoolArray
    hidden: BoolArray
    video: IntArray
    frame: IntArray
    person: IntArray
    names: tuple[str, ...]
    sizes: FloatArray

    def __len__(self) -> int:
        return len(self.video)

    @property
    def fingerprint(self) -> str:
        """Hash of the data: two runs with the same one have seen the same."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        for array in (self.keypoints, self.present, self.video, self.frame, self.person):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def select(self, names: Sequence[str]) -> Tracks:
        """The rows of the named videos; the videos keep their order."""
        wanted = set(names)
        kept = [index for index, name in enumerate(self.names) if name in wanted]
        new_index = np.full(len(self.names), -1, np.int64)
        new_index[kept] = np.arange(len(kept))
        rows = new_index[self.video] >= 0
        return Tracks(
            keypoints=self.keypoints[rows],
            present=self.present[rows],
            hidden=self.hidden[rows],
            video=new_index[self.video[rows]],
            frame=self.frame[rows],
            person=self.person[rows],
            names=tuple(self.names[index] for index in kept),
            sizes=self.sizes[kept],
        )


def is_held_back(name: str) -> bool:
    """Whether a video (`source/video`) is kept from training: about a fifth of Bonn and SoMoF, by hash of the name.

    The last digit of the video's number is left out of the hash: neighbouring numbers are often cut from one recording.
    """
    return _drawn(name, "") < HELD_BACK_PERCENT


def is_validation(name: str) -> bool:
    """Whether a video is one of those on which choices are made: about a quarter of what is not held back."""
    return not is_held_back(name) and _drawn(name, "validation/") < VALIDATION_PERCENT


def _drawn(name: str, salt: str) -> int:
    """0 … 99 by hash of the name; 100, which is in no split, for videos of one person."""
    source, _, video = name.partition("/")
    if source not in MULTI_PERSON:
        return 100
    number = video.split("_")[0]
    digest = hashlib.sha256(f"{salt}{source}/{number[:-1]}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100


def held_back_videos(tracks: Tracks) -> list[str]:
    """Names of the videos of `tracks` that no training may see."""
    return [name for name in tracks.names if is_held_back(name)]


def training_videos(tracks: Tracks) -> list[str]:
    """Names of the videos of `tracks` that may be trained on."""
    return [name for name in tracks.names if not is_held_back(name)]


def validation_videos(tracks: Tracks) -> list[str]:
    """Those training videos of `tracks` on which choices are made."""
    return [name for name in tracks.names if is_validation(name)]


def load_tracks(folder: Path, sources: Sequence[str] = tuple(FILES)) -> Tracks:
    """All tracks of the named sources in a data folder, without rows that have no keypoint and without `EXCLUDED`.

    Raises DataError that names the file and the key for anything missing or of a wrong shape.
    """
    parts = [_load(folder / FILES[source], source) for source in sources]
    names: list[str] = []
    videos = []
    for part in parts:
        videos.append(part.video + len(names))
        names.extend(part.names)
    return Tracks(
        keypoints=np.concatenate([part.keypoints for part in parts]),
        present=np.concatenate([part.present for part in parts]),
        hidden=np.concatenate([part.hidden for part in parts]),
        video=np.concatenate(videos),
        frame=np.concatenate([part.frame for part in parts]),
        person=np.concatenate([part.person for part in parts]),
        names=tuple(names),
        sizes=np.concatenate([part.sizes for part in parts]),
    )


def _load(file: Path, source: str) -> Tracks:
    arrays = _read(file, source)
    visibility = arrays["vis"]
    seen = (visibility > 0) & np.isfinite(arrays["kpts"]).all(-1)
    rows = seen.any(1) & ~np.isin(arrays["video"], EXCLUDED if source == "somof" else ())
    if not rows.any():
        raise DataError(f"{file}: no row has a keypoint")
    names, video = np.unique(arrays["video"][rows].astype(str), return_inverse=True)
    frame, person = arrays["frame"][rows].astype(np.int64), arrays["person"][rows].astype(np.int64)
    order = np.lexsort((person, frame, video))
    present = seen[rows][order]
    keypoints = np.where(present[..., None], arrays["kpts"][rows][order], 0).astype(np.float32)
    video, frame, person = video[order].astype(np.int64), frame[order], person[order]
    _check_rows(file, names, video, frame, person)
    if source == "penn":
        height_width = dict(zip(arrays["clip_id"].astype(str), arrays["clip_size_hw"], strict=True))
        missing = [name for name in names if name not in height_width]
        if missing:
            raise DataError(f"{file}: key 'clip_id' lacks the clip '{missing[0]}'")
        sizes = np.array([height_width[name][::-1] for name in names], np.float32)
    else:
        sizes = np.array([_frame_size(source, keypoints[video == v], present[video == v]) for v in range(len(names))])
    return Tracks(
        keypoints=keypoints,
        present=present,
        hidden=(visibility[rows] == 1)[order],
        video=video,
        frame=frame,
        person=person,
        names=tuple(f"{source}/{name}" for name in names),
        sizes=sizes.astype(np.float32),
    )


def _check_rows(file: Path, names: npt.NDArray[Any], video: IntArray, frame: IntArray, person: IntArray) -> None:
    """Raises DataError for a person who is twice in a frame, and for frames before 0; rows are sorted."""
    keys = np.stack([video, frame, person], 1)
    twice = np.flatnonzero((keys[1:] == keys[:-1]).all(1))
    if len(twice):
        row = twice[0]
        raise DataError(f"{file}: video '{names[video[row]]}' has person {person[row]} twice in frame {frame[row]}")
    if frame.min() < 0:
        row = int(frame.argmin())
        raise DataError(f"{file}: video '{names[video[row]]}' has a frame {frame[row]}; frames are numbered from 0")


def _read(file: Path, source: str) -> dict[str, npt.NDArray[Any]]:
    shapes: dict[str, tuple[int | None, ...]] = {
        "video": (None,),
        "person": (None,),
        "frame": (None,),
        "kpts": (None, skeleton.COUNT, 2),
        "vis": (None, skeleton.COUNT),
    }
    optional = {"clip_id": (None,), "clip_size_hw": (None, 2)} if source == "penn" else {}
    arrays: dict[str, npt.NDArray[Any]] = {}
    try:
        with np.load(file) as content:
            for key, shape in {**shapes, **optional}.items():
                if key not in content:
                    raise DataError(f"{file}: key '{key}' is missing; it has {', '.join(content.files)}")
                array = content[key]
                fits = array.ndim == len(shape) and all(w in (None, g) for w, g in zip(shape, array.shape, strict=True))
                if not fits or (key in shapes and len(array) != len(arrays.get("video", array))):
                    wanted = ", ".join("N" if w is None else str(w) for w in shape)
                    raise DataError(f"{file}: key '{key}' has shape {list(array.shape)}; [{wanted}] is needed")
                if array.dtype.kind not in _KINDS.get(key, array.dtype.kind):
                    raise DataError(f"{file}: key '{key}' has values of type {array.dtype}; numbers are needed")
                arrays[key] = array
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}; name the folder with the tracks") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: not an .npz file: {error}") from None
    return arrays


def _frame_size(source: str, keypoints: FloatArray, present: BoolArray) -> tuple[float, float]:
    """No file states the frame size: Bonn's is known, SoMoF's is the smallest usual one that holds the keypoints."""
    if source == "bonn":
        return BONN_SIZE
    extent = keypoints[present].max(0)
    for size in USUAL_SIZES:
        if (extent <= np.multiply(size, MARGIN)).all():
            return size
    return float(np.ceil(extent[0])), float(np.ceil(extent[1]))
