"""Writes why poses got their ids as JSON, frame by frame. docs/evaluation.md describes every key."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from keytrack_ros.explanation import CAUSES, DOUBT, Candidate, FrameExplanation, PoseExplanation
from keytrack_ros.media.files import TextFile, require_free

SCHEMA = 1


class ExplanationWriter:
    """The file has its name only once it is complete: until `close` it is written as <name>.part.

    Raises:
        OutputError: the file exists, or cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        require_free(path, overwrite=overwrite)
        self._frames = 0
        self._file = TextFile(path)
        head = json.dumps({"schema": SCHEMA, "doubt": DOUBT, "causes": CAUSES}, indent=1)
        self._file.write(f'{head[:-2]},\n "frames": [')

    def write(self, frame: int, stamp_s: float, explanation: FrameExplanation) -> None:
        """Appends a frame, also when nobody is in it."""
        content = {
            "frame": frame,
            "stamp": round(stamp_s, 6),
            "threshold": explanation.threshold,
            "camera_shift": [round(value, 2) for value in explanation.shift],
            "unseen": explanation.unseen,
            "poses": [_pose(pose) for pose in explanation.poses],
        }
        self._file.write((",\n" if self._frames else "\n") + json.dumps(content))
        self._frames += 1

    def close(self) -> None:
        """Completes the file; the second call does nothing."""
        if self._file.closed:
            return
        self._file.write("\n]}\n")
        self._file.finish()

    def __enter__(self) -> ExplanationWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pose(pose: PoseExplanation) -> dict[str, Any]:
    return {
        "track_id": pose.track_id,
        "choice": "continued" if pose.continued else "untracked" if pose.cause == "untracked" else "new",
        "cause": pose.cause,
        "score": round(pose.score, 4),
        "doubtful": pose.doubtful,
        "margin": None if pose.margin is None else float(f"{pose.margin:.4g}"),
        "reason": pose.reason,
        "geometry": None
        if pose.geometry is None
        else {"track_id": pose.geometry[0], "predicted_oks": round(pose.geometry[1], 4)},
        "candidates": [_candidate(candidate) for candidate in pose.candidates],
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    content: dict[str, Any] = {
        "track_id": candidate.track_id,
        "gap_frames": candidate.gap_frames,
        "gap_s": round(candidate.gap_s, 4),
        "score": round(candidate.score, 4),
        "network": None if candidate.network is None else round(candidate.network, 4),
        "predicted_oks": round(candidate.predicted_oks, 4),
        "last_oks": round(candidate.last_oks, 4),
        "distance_px": None if candidate.distance_px is None else round(candidate.distance_px, 2),
        "box_iou": None if candidate.box_iou is None else round(candidate.box_iou, 4),
        "taken_by": candidate.taken_by,
    }
    if candidate.pairs:
        content["pairs"] = [{"gap_frames": gap, "score": round(score, 4)} for gap, score in candidate.pairs]
    return content
