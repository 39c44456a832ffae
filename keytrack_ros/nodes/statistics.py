"""Counts what becomes of every frame, and measures how long each stage takes."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

WINDOW = 100
"""Percentiles are taken over the last so many frames."""


@dataclass(frozen=True)
class Snapshot:
    """The counts of one moment.

    Once no frame is under way, received = processed + dropped + all that is rejected.

    Attributes:
        received: images that came from the middleware.
        processed: those whose people were published.
        dropped: those that a newer one replaced before their turn.
        rejected: those that could not be used, by cause: `image` (malformed or of the wrong kind), `late` (an older
            stamp than the last), `failed` (an error while processing), `video` (packets of a video that could not be
            decoded: damaged ones, and those between a lost one and the next key frame).
        unstamped: images without a stamp, which have the time of their arrival; they are processed as any other.
        lost: images that were published but never received: replaced by a newer one in the middleware's queue, or
            lost on the way.
        people: people in the last frame processed.
        fps: frames processed per second since the snapshot before.
        milliseconds: for each stage median and 95th percentile.
    """

    received: int
    processed: int
    dropped: int
    rejected: Mapping[str, int]
    lost: int
    unstamped: int
    people: int
    fps: float
    milliseconds: Mapping[str, tuple[float, float]]


class Statistics:
    """Counts from the threads that receive and process; may be read from any."""

    CAUSES = ("image", "late", "failed", "video")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._rejected = dict.fromkeys(self.CAUSES, 0)
        self._people = 0
        self._seconds: dict[str, deque[float]] = {}
        self._processed_before = 0
        self._time_before = time.monotonic()

    def receive(self) -> None:
        with self._lock:
            self._counts["received"] += 1

    def drop(self) -> None:
        with self._lock:
            self._counts["dropped"] += 1

    def lose(self, frames: int) -> None:
        with self._lock:
            self._counts["lost"] += frames

    def count_unstamped(self) -> None:
        with self._lock:
            self._counts["unstamped"] += 1

    def reject(self, cause: str, frames: int = 1) -> None:
        with self._lock:
            self._rejected[cause] += frames

    def process(self, people: int, stage_seconds: Mapping[str, float]) -> None:
        with self._lock:
            self._counts["processed"] += 1
            self._people = people
            for stage, seconds in stage_seconds.items():
                self._seconds.setdefault(stage, deque(maxlen=WINDOW)).append(seconds)

    def snapshot(self) -> Snapshot:
        """The present counts; `fps` covers the time since the call before."""
        now = time.monotonic()
        with self._lock:
            processed = self._counts["processed"]
            fps = (processed - self._processed_before) / max(now - self._time_before, 1e-9)
            self._processed_before, self._time_before = processed, now
            return Snapshot(
                received=self._counts["received"],
                processed=processed,
                dropped=self._counts["dropped"],
                rejected=dict(self._rejected),
                lost=self._counts["lost"],
                unstamped=self._counts["unstamped"],
                people=self._people,
                fps=fps,
                milliseconds={stage: _percentiles(list(values)) for stage, values in self._seconds.items()},
            )


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    median, high = np.percentile(seconds, (50, 95)) * 1000
    return float(median), float(high)
