"""Several cameras in one process: their networks are loaded once, and frames that wait together run in one batch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from queue import SimpleQueue
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import DetectorCard, MatcherCard, PoseCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.entailment import EntailmentMatcher
from keytrack_ros.matching.matcher import MatchQuery, TrackQuery, TrackScores
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.matching.track_entailment import TrackEntailmentMatcher
from keytrack_ros.pipeline.pose_finder import BatchFinder, CameraFrame, FinderOptions, open_finder
from keytrack_ros.poses import FloatArray, ImageArray, Poses

logger = logging.getLogger(__name__)


class _Closable(Protocol):
    def close(self) -> None: ...


ThingT = TypeVar("ThingT", bound=_Closable)


class SharedNetworks:
    """The networks of several cameras: loaded for the first that wants them, freed after the last.

    Cameras share what they name by the same options `…model` and `inference.…`; all others of their options are their
    own. May be used from any thread.

    Args:
        cameras: how many there will be, the most frames in one batch.
    """

    def __init__(self, cameras: int) -> None:
        self._cameras = cameras
        self._numbers = count()
        self._finders: _Counted[_Batches] = _Counted()
        self._matchers: _Counted[_Guarded] = _Counted()

    def open_finder(self, options: FinderOptions, inference: InferenceOptions) -> SharedFinder:
        """A `PeopleFinder` for one more camera. Raises ModelError as `people.open_finder`."""
        key = options.detector.model, options.estimator.model, inference
        batches, users = self._finders.take(key, lambda: _Batches(open_finder(options, inference, self._cameras)))
        if users > 1:
            logger.info("%s and %s serve %d cameras now", *(card.name for card in batches.finder.cards), users)
        return SharedFinder(batches, next(self._numbers), options, lambda: self._finders.give_back(key))

    def open_matcher(self, model: str, inference: InferenceOptions) -> SharedMatcher | SharedTrackMatcher:
        """A matcher for one more camera. Raises ModelError as `matching.select.open_matcher`."""
        key = model, inference
        guarded, _ = self._matchers.take(key, lambda: _Guarded(open_matcher(model, inference)))

        def give_back() -> None:
            self._matchers.give_back(key)

        if isinstance(guarded.matcher, TrackEntailmentMatcher):
            return SharedTrackMatcher(guarded.matcher, guarded.turn, give_back)
        return SharedMatcher(guarded.matcher, guarded.turn, give_back)


class _Counted(Generic[ThingT]):
    """Things that are opened once for all who take them, and closed when the last gives its back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # also held while one is opened: whoever wants the same waits for it
        self._things: dict[Hashable, tuple[ThingT, int]] = {}

    def take(self, key: Hashable, make: Callable[[], ThingT]) -> tuple[ThingT, int]:
        """The thing, and how many have it now."""
        with self._lock:
            thing, users = self._things[key] if key in self._things else (make(), 0)
            self._things[key] = thing, users + 1
        return thing, users + 1

    def give_back(self, key: Hashable) -> None:
        with self._lock:
            thing, users = self._things.pop(key)
            if users > 1:
                self._things[key] = thing, users - 1
            else:
                thing.close()


@dataclass(frozen=True)
class _Found:
    """People of a frame; the times are those of the whole batch."""

    poses: Poses
    stage_seconds: dict[str, float]


class _Batches:
    """A batch finder at work on a thread of its own, on all frames at a time that wait for it.

    As every camera waits for its frame before it brings the next, no frame waits for more than the batch in work.
    """

    def __init__(self, finder: BatchFinder) -> None:
        self.finder = finder
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: SimpleQueue[tuple[CameraFrame, Future[_Found]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="people of all cameras", daemon=True)
        self._thread.start()

    def find(self, frame: CameraFrame) -> _Found:
        """Waits for the people of a frame. Raises whatever went wrong with it, ModelError if the networks are freed."""
        found: Future[_Found] = Future()
        with self._lock:
            if self._closed:
                raise ModelError("the people finder is closed")
            self._waiting.put((frame, found))
        return found.result()

    def close(self) -> None:
        """Ends the thread once all frames are done that wait, and frees the networks."""
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()
        self.finder.close()

    def _run(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            frames = [waiting for waiting in batch if waiting is not None]
            if frames:
                self._work(frames)
            if len(frames) < len(batch):
                return

    def _work(self, batch: list[tuple[CameraFrame, Future[_Found]]]) -> None:
        try:
            found = self.finder.find_all([frame for frame, _ in batch])
        except Exception as error:  # passed on to whoever waits for the frame
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:  # whose fault was it?
                for one in batch:
                    self._work([one])
            return
        seconds = dict(self.finder.stage_seconds)
        for (_, result), poses in zip(batch, found, strict=True):
            result.set_result(_Found(poses, seconds))


class SharedFinder:
    """A `PeopleFinder` for one of several cameras.

    Attributes:
        stage_seconds: of the last frame: wall time of each stage for the whole batch that it was part of, and under
            `waiting` how long it waited for its turn.
    """

    def __init__(self, batches: _Batches, camera: int, options: FinderOptions, give_back: Callable[[], None]) -> None:
        self._batches = batches
        self._camera = camera
        self._options = options
        self._give_back = give_back
        self._closed = False
        self.stage_seconds: dict[str, float] = {}

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        return self._batches.finder.cards

    def set_options(self, options: FinderOptions) -> None:
        self._options = options

    def find(self, image_bgr: ImageArray, previous: Poses | None) -> Poses:
        if self._closed:
            raise ModelError("the people finder is closed")
        begin = perf_counter()
        found = self._batches.find(CameraFrame(self._camera, image_bgr, previous, self._options))
        waiting = perf_counter() - begin - sum(found.stage_seconds.values())
        self.stage_seconds = {"waiting": max(waiting, 0.0), **found.stage_seconds}
        return found.poses

    def close(self) -> None:
        """Leaves the networks to the other cameras; the last one frees them."""
        if not self._closed:
            self._closed = True
            self._batches.finder.forget(self._camera)
            self._give_back()


class _Guarded:
    """A matcher, which cameras use in turn: not every backend can run a network twice at a time."""

    def __init__(self, matcher: EntailmentMatcher | TrackEntailmentMatcher) -> None:
        self.matcher = matcher
        self.turn = threading.Lock()

    def close(self) -> None:
        self.matcher.close()


class _OneOfMany:
    """What one of several cameras sees of a matcher."""

    def __init__(self, card: MatcherCard, give_back: Callable[[], None]) -> None:
        self.card = card
        self._give_back = give_back
        self._closed = False

    def close(self) -> None:
        """Leaves the network to the other cameras; the last one frees it."""
        if not self._closed:
            self._closed = True
            self._give_back()


class SharedMatcher(_OneOfMany):
    """A `Matcher` for one of several cameras."""

    def __init__(self, matcher: EntailmentMatcher, turn: threading.Lock, give_back: Callable[[], None]) -> None:
        super().__init__(matcher.card, give_back)
        self._matcher = matcher
        self._turn = turn

    def score(self, query: MatchQuery) -> FloatArray:
        """As `Matcher.score`."""
        with self._turn:
            return self._matcher.score(query)


class SharedTrackMatcher(_OneOfMany):
    """A `TrackMatcher` for one of several cameras."""

    def __init__(self, matcher: TrackEntailmentMatcher, turn: threading.Lock, give_back: Callable[[], None]) -> None:
        super().__init__(matcher.card, give_back)
        self._matcher = matcher
        self._turn = turn

    def score_tracks(self, query: TrackQuery) -> TrackScores:
        """As `TrackMatcher.score_tracks`."""
        with self._turn:
            return self._matcher.score_tracks(query)
