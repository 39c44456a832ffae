"""Public trackers on given boxes, for bench/video.py: run by the Python of an environment that has them.

    PEERS_PYTHON bench/video_rivals.py BOXES.npz ROWS.json

Needs numpy and what it has of `trackers==2.6.1` (with supervision) and norfair. BOXES.npz holds
`boxes` [N, 6] (frame, x_min, y_min, x_max, y_max, score), `first` and `last` frame, `fps` and `thresholds`. ROWS.json
becomes a list of runs: name, threshold, seconds, and rows of frame, id, x_min, y_min, x_max, y_max.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

Rows = list[list[float]]


def roboflow(tracker: Any) -> Callable[[np.ndarray], Rows]:
    """A tracker of the package `trackers`; [n, 5] boxes and scores become rows of id and box."""
    import supervision

    def update(found: np.ndarray) -> Rows:
        given = supervision.Detections(
            xyxy=found[:, :4].astype(np.float32),
            confidence=found[:, 4].astype(np.float32),
            class_id=np.zeros(len(found), int),
        )
        tracked = tracker.update(given)
        ids = [] if tracked.tracker_id is None else tracked.tracker_id.tolist()
        return [[i, *box] for i, box in zip(ids, tracked.xyxy[: len(ids)].tolist(), strict=True) if i >= 0]

    return update


def norfair_boxes(fps: float, threshold: float) -> Callable[[np.ndarray], Rows]:
    """Norfair with IoU of boxes, as its documentation sets it up, lost tracks kept for a second."""
    import norfair

    tracker = norfair.Tracker("iou", distance_threshold=0.7, hit_counter_max=max(round(fps), 3))

    def update(found: np.ndarray) -> Rows:
        strong = found[found[:, 4] >= threshold]
        given = [norfair.Detection(row[:4].reshape(2, 2), scores=np.full(2, row[4])) for row in strong]
        objects = tracker.update(given)
        # Only objects seen in this frame have a box of it.
        seen = [o for o in objects if any(o.last_detection is d for d in given)]
        return [[o.id, *o.last_detection.points.ravel().tolist()] for o in seen]

    return update


def runs(fps: float, thresholds: list[float]) -> Iterator[tuple[str, float, Callable[[np.ndarray], Rows]]]:
    """Each tracker that this environment has at each threshold."""
    for high in thresholds:
        if find_spec("norfair") is not None:
            yield "norfair", high, norfair_boxes(fps, high)
        if find_spec("trackers") is None:
            continue
        import trackers

        yield "SORT", high, roboflow(trackers.SORTTracker(frame_rate=fps, track_activation_threshold=high))
        byte_track = trackers.ByteTrackTracker(
            frame_rate=fps, track_activation_threshold=high, high_conf_det_threshold=high
        )
        yield "ByteTrack", high, roboflow(byte_track)
        yield "OC-SORT", high, roboflow(trackers.OCSORTTracker(frame_rate=fps, high_conf_det_threshold=high))


def main() -> None:
    given = np.load(sys.argv[1])
    boxes, first, last = given["boxes"], int(given["first"]), int(given["last"])
    results = []
    for name, threshold, update in runs(float(given["fps"]), given["thresholds"].tolist()):
        rows: Rows = []
        seconds = 0.0
        for number in range(first, last + 1):
            found = boxes[boxes[:, 0] == number][:, 1:]
            began = perf_counter()
            tracked = update(found)
            seconds += perf_counter() - began
            rows += [[number, *row] for row in tracked]
        results.append({"name": name, "threshold": threshold, "seconds": seconds, "rows": rows})
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
