"""Reads MOTChallenge text: boxes with ids, annotated or tracked.

Format: https://motchallenge.net/instructions; a line a box: frame (from 1), id, left, top, width, height, and then in
ground truth a flag, 0 for a box that is not scored, in results a confidence. Further columns are not used.
"""

from __future__ import annotations

import configparser
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keytrack_ros.annotations.sequence import Image, LabelledSequence, from_boxes
from keytrack_ros.errors import InputError
from keytrack_ros.poses import FloatArray

_GROUND_TRUTH = "gt.txt"
_COLUMNS = 6
_MAX_FRAMES = 10**7
"""More than a day at 100 frames a second; a larger number is no frame."""


@dataclass(frozen=True)
class _Recording:
    """What is known of the video; frames count from 1."""

    fps: float | None = None
    first: int = 1
    last: int | None = None
    size: tuple[int, int] | None = None


def is_motchallenge(path: Path) -> bool:
    """Whether it is a text file, or a folder of one sequence with gt.txt or gt/gt.txt."""
    return path.suffix.lower() == ".txt" if path.is_file() else _ground_truth_file(path) is not None


def motchallenge_name(path: Path) -> str:
    """Name of the sequence: that of the folder of ground truth, that of a file of results without .txt."""
    if path.is_file() and path.name != _GROUND_TRUTH:
        return path.stem
    folder = path.parent if path.is_file() else path
    return folder.parent.name if folder.name == "gt" else folder.resolve().name


def read_motchallenge(path: Path) -> LabelledSequence:
    """The boxes of a folder of ground truth, or of one text file, as a sequence of people without keypoints.

    Images are the frames of seqinfo.ini or seq.json beside the ground truth (fps, first and last frame that count),
    else those up to the last frame with a box; `Image.place` is the frame's number, from 0.

    Raises InputError, naming file and line, for what is no such text, boxes without ids, and an id given twice in a
    frame.
    """
    file = path if path.is_file() else _ground_truth_file(path)
    if file is None:
        raise InputError(f"{path}: holds neither {_GROUND_TRUTH} nor gt/{_GROUND_TRUTH}")
    is_ground_truth = file.name == _GROUND_TRUTH
    table, ids = _rows(file, is_ground_truth)
    recording = _recording(file.parent) if is_ground_truth else _Recording()
    last = recording.last or int(table[:, 0].max(initial=0))
    if last < recording.first:
        raise InputError(f"{file}: holds no boxes, and no seqinfo.ini or seq.json says how many frames there are")
    counted = (table[:, 0] >= recording.first) & (table[:, 0] <= last)
    table, ids = table[counted], [i for i, wanted in zip(ids, counted.tolist(), strict=True) if wanted]
    order = np.argsort(table[:, 0], kind="stable")
    frames = range(recording.first, last + 1)
    images = [
        Image(
            image_id=n,
            size=recording.size,
            stamp_ns=None if recording.fps is None else round((n - 1) * 1e9 / recording.fps),
            place=n - 1,
        )
        for n in frames
    ]
    return from_boxes(
        motchallenge_name(path),
        str(path),
        tuple(images),
        table[order, 0].astype(np.int64) - recording.first,
        [ids[k] for k in order],
        np.concatenate([table[order, 1:3], table[order, 1:3] + table[order, 3:5]], 1),
    ).checked()


def _ground_truth_file(folder: Path) -> Path | None:
    return next((f for f in (folder / _GROUND_TRUTH, folder / "gt" / _GROUND_TRUTH) if f.is_file()), None)


def _rows(file: Path, is_ground_truth: bool) -> tuple[FloatArray, list[int]]:
    """[N, 5] frame, left, top, width, height, and N ids, without boxes whose flag says that they do not count."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: not a text file, so no MOTChallenge text") from None
    rows, ids = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        here = f"{file}: line {number}"
        words = line.split(",") if "," in line else line.split()
        try:
            values = [float(word) for word in words]
        except ValueError:
            raise InputError(f"{here}: numbers separated by commas are needed, not {line[:40]!r}") from None
        if len(values) < _COLUMNS or not np.isfinite(values[:_COLUMNS]).all():
            raise InputError(f"{here}: frame, id, left, top, width and height are needed, as finite numbers")
        if is_ground_truth and len(values) > _COLUMNS and values[_COLUMNS] == 0:
            continue
        if not (1 <= values[0] <= _MAX_FRAMES and values[0].is_integer()):
            raise InputError(f"{here}: {words[0].strip()} is no number of a frame; they count from 1")
        if values[1] < 0:
            raise InputError(f"{here}: the box has no id ({words[1].strip()}): these are detections, not tracks")
        ids.append(_whole(words[1]))
        rows.append([values[0], *values[2:_COLUMNS]])
    return np.array(rows, np.float64).reshape(-1, 5), ids


def _whole(word: str) -> int:
    """The exact integer, however long; "7.0" is 7."""
    try:
        return int(word)
    except ValueError:
        return int(float(word))


def _recording(folder: Path) -> _Recording:
    """From seqinfo.ini or seq.json beside gt.txt, or in the folder above gt/."""
    for place in (folder, folder.parent) if folder.name == "gt" else (folder,):
        ini, json_file = place / "seqinfo.ini", place / "seq.json"
        try:
            if ini.is_file():
                parser = configparser.ConfigParser()
                parser.read_string(ini.read_text(encoding="utf-8-sig"))
                known = parser["Sequence"]
                width, height = known.getint("imWidth"), known.getint("imHeight")
                size = (width, height) if width and height else None
                return _Recording(known.getfloat("frameRate"), 1, known.getint("seqLength"), size)
            if json_file.is_file():
                data = json.loads(json_file.read_text(encoding="utf-8-sig"))
                last = data.get("last")
                return _Recording(float(data["fps"]), int(data.get("first", 1)), None if last is None else int(last))
        except (KeyError, ValueError, TypeError, AttributeError, configparser.Error) as error:
            name = ini if ini.is_file() else json_file
            raise InputError(f"{name}: no description of a sequence ({' '.join(str(error).split())})") from None
    return _Recording()
