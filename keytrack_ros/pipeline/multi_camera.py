"""Several cameras in one process: networks are loaded once, and frames that wait together run in one batch."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Protocol, TypeVar

from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.entailment import EntailmentMatcher
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.matching.track_entailment import TrackEntailmentMatcher
from keytrack_ros.pipeline.open_finder import open_finder
from keytrack_ros.pipeline.pose_finder import CameraFrame, FinderOptions, PoseFinder
from keytrack_ros.poses import Poses

logger = logging.getLogger(__name__)


class _Closable(Protocol):
    def close(self) -> None: ...


ClosableT = TypeVar("ClosableT", bound=_Closable)


class SharedNetworks:
    """The networks of several cameras: loaded for the first user, freed after the last one.

    Cameras share the networks for which their options `…model` and `inference.…` are equal; all other options may
    differ. May be used from any thread.

    Args:
        cameras: how many there will be, the maximum number of frames in one batch.
    """

    def __init__(self, cameras: int) -> None:
        self._cameras = cameras
        self._lock = threading.Lock()  # also held while a network is loaded, so that it is loaded once
        self._loaded: dict[Hashable, tuple[Any, int]] = {}  # by options: what was opened, and its number of users

    @contextmanager
    def finder(self, options: FinderOptions, inference: InferenceOptions) -> Iterator[BatchingFinder]:
        """The finder of one more camera, until the context ends. Raises ModelError as `open_finder`."""
        key = "finder", options.detector.model, options.estimator.model, inference
        with self._use(key, lambda: BatchingFinder(open_finder(options, inference, self._cameras))) as finder:
            yield finder

    @contextmanager
    def matcher(self, model: str, inference: InferenceOptions) -> Iterator[EntailmentMatcher | TrackEntailmentMatcher]:
        """The matcher of one more camera, until the context ends. Raises ModelError as `open_matcher`."""
        with self._use(("matcher", model, inference), lambda: open_matcher(model, inference)) as matcher:
            yield matcher

    @contextmanager
    def _use(self, key: Hashable, load: Callable[[], ClosableT]) -> Iterator[ClosableT]:
        with self._lock:
            loaded, users = self._loaded[key] if key in self._loaded else (load(), 0)
            self._loaded[key] = loaded, users + 1
        try:
            yield loaded
        finally:
            with self._lock:
                loaded, users = self._loaded.pop(key)
                if users > 1:
                    self._loaded[key] = loaded, users - 1
                else:
                    loaded.close()


class BatchingFinder:
    """A `PoseFinder` for several threads: frames that wait at the same time go through the networks in one batch.

    The thread whose turn it is takes every frame that waits; the others then find their result. Since each camera
    waits for one frame before it sends the next, no frame waits for more than the batch at work.
    """

    def __init__(self, finder: PoseFinder) -> None:
        self._finder = finder
        self._turn = threading.Lock()
        self._waiting: deque[tuple[Sequence[CameraFrame], Future[_Result]]] = deque()
        self._of_thread = threading.local()

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Of this thread's last call: each stage for the whole batch, and under `waiting` the time before its turn."""
        return getattr(self._of_thread, "stage_seconds", {})

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        return self._finder.cards

    def find(self, frames: Sequence[CameraFrame]) -> list[Poses]:
        """As `PoseFinder.find`; an error of one camera's frame does not reach the others."""
        begin = perf_counter()
        result: Future[_Result] = Future()
        self._waiting.append((frames, result))
        with self._turn:
            if not result.done():
                self._run([self._waiting.popleft() for _ in range(len(self._waiting))])
        poses, seconds = result.result()
        waited = perf_counter() - begin - sum(seconds.values())
        self._of_thread.stage_seconds = {"waiting": max(waited, 0.0), **seconds}
        return poses

    def forget(self, camera: Hashable) -> None:
        """As `PoseFinder.forget`."""
        with self._turn:
            self._finder.forget(camera)

    def close(self) -> None:
        """Frees the networks."""
        with self._turn:
            self._finder.close()

    def _run(self, batch: Sequence[tuple[Sequence[CameraFrame], Future[_Result]]]) -> None:
        try:
            found = self._finder.find([frame for frames, _ in batch for frame in frames])
        except Exception as error:  # handed to the thread that waits for the frame
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:  # one frame is at fault: each runs alone
                for one in batch:
                    self._run([one])
            return
        poses, seconds = iter(found), dict(self._finder.stage_seconds)
        for frames, result in batch:
            result.set_result(([next(poses) for _ in frames], seconds))


_Result = tuple[list[Poses], dict[str, float]]
"""Poses of each frame, and the wall time of each stage for the whole batch."""
