"""Pose tracks without images, as the matcher is trained and measured on: reading, cleaning, and what is held back.

A data folder holds flat .npz files in which one row is one person in one frame; docs/training.md lists their keys. The
source is what a file's name begins with: `street_2024.npz` is of the source `street`.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.poses import BoolArray, FloatArray, IntArray

HELD_BACK_PERCENT = 21
VALIDATION_PERCENT = 25

FRAME_SIZES = {"bonn": (960, 540)}
"""Of sources whose annotations do not state it: Multi-Person PoseTrack."""

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
    def several(self) -> BoolArray:
        """[V] bool: whether the video is of a source in which there are frames with several people."""
        together = (np.diff(self.video) == 0) & (np.diff(self.frame) == 0)
        sources = np.array([name.partition("/")[0] for name in self.names], str)
        return np.isin(sources, sources[self.video[1:][together]])

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


def held_back_videos(tracks: Tracks) -> list[str]:
    """Names of the videos of `tracks` that no training may see.

    About a fifth of those of sources with several people, by hash of the name. The last digit of the video's number is
    left out of the hash: neighbouring numbers are often cut from one recording.
    """
    several = zip(tracks.names, tracks.several, strict=True)
    return [name for name, among_several in several if among_several and _drawn(name, "") < HELD_BACK_PERCENT]


def training_videos(tracks: Tracks) -> list[str]:
    """Names of the videos of `tracks` that may be trained on."""
    held_back = set(held_back_videos(tracks))
    return [name for name in tracks.names if name not in held_back]


def validation_videos(tracks: Tracks) -> list[str]:
    """Those training videos of `tracks` on which choices are made: about a quarter of those with several people."""
    known = set(training_videos(tracks))
    several = zip(tracks.names, tracks.several, strict=True)
    return [
        name
        for name, among_several in several
        if among_several and name in known and _drawn(name, "validation/") < VALIDATION_PERCENT
    ]


def _drawn(name: str, salt: str) -> int:
    """0 … 99 by hash of the name."""
    source, _, video = name.partition("/")
    number = video.split("_")[0]
    digest = hashlib.sha256(f"{salt}{source}/{number[:-1]}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100


def track_files(folder: Path) -> list[Path]:
    """The .npz files of a folder."""
    return sorted(folder.glob("*.npz"))


def load_tracks(folder: Path) -> Tracks:
    """All tracks of a data folder, without rows that have no keypoint; sources of single people come last.

    Raises DataError that names the file and the key for anything missing or of a wrong shape.
    """
    files = track_files(folder)
    if not files:
        raise DataError(f"{folder}: there is no .npz file with pose tracks; docs/training.md describes them")
    parts = sorted((_load(file) for file in files), key=lambda part: not part.several.any())
    names: list[str] = []
    videos = []
    for part in parts:
        videos.append(part.video + len(names))
        names.extend(part.names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{folder}: two files have a video '{twice[0]}'")
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


def _load(file: Path) -> Tracks:
    arrays, source = _read(file), file.stem.partition("_")[0]
    visibility = arrays["vis"]
    seen = (visibility > 0) & np.isfinite(arrays["kpts"]).all(-1)
    rows = seen.any(1)
    if not rows.any():
        raise DataError(f"{file}: no row has a keypoint")
    names, video = np.unique(arrays["video"][rows].astype(str), return_inverse=True)
    frame, person = arrays["frame"][rows].astype(np.int64), arrays["person"][rows].astype(np.int64)
    order = np.lexsort((person, frame, video))
    present = seen[rows][order]
    keypoints = np.where(present[..., None], arrays["kpts"][rows][order], 0).astype(np.float32)
    video, frame, person = video[order].astype(np.int64), frame[order], person[order]
    _check_rows(file, names, video, frame, person)
    if "clip_id" in arrays:
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


def _read(file: Path) -> dict[str, npt.NDArray[Any]]:
    shapes: dict[str, tuple[int | None, ...]] = {
        "video": (None,),
        "person": (None,),
        "frame": (None,),
        "kpts": (None, skeleton.COUNT, 2),
        "vis": (None, skeleton.COUNT),
    }
    sizes: dict[str, tuple[int | None, ...]] = {"clip_id": (None,), "clip_size_hw": (None, 2)}
    arrays: dict[str, npt.NDArray[Any]] = {}
    try:
        with np.load(file) as content:
            for key, shape in {**shapes, **(sizes if "clip_id" in content else {})}.items():
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
        raise DataError(f"{file}: {error.strerror or error}") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: not an .npz file: {error}") from None
    return arrays


def _frame_size(source: str, keypoints: FloatArray, present: BoolArray) -> tuple[float, float]:
    """Of a video whose file does not state it: the source's, or the smallest usual one that holds the keypoints."""
    if source in FRAME_SIZES:
        return FRAME_SIZES[source]
    extent = keypoints[present].max(0)
    for size in USUAL_SIZES:
        if (extent <= np.multiply(size, MARGIN)).all():
            return size
    return float(np.ceil(extent[0])), float(np.ceil(extent[1]))
