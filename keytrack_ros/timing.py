"""What stamps of images mean: the one place for the rules of time (docs/recordings.md).

- A stamp of zero (or below) is no stamp.
- A stamp continues the clock of the one before it unless it lies a second or more before it, or far after it. Less than
  a second before it, an image is late.
- A single stamp that breaks off and is not followed by others of its kind is a bad one, and nobody is forgotten for it.
- Where the images after it agree with it, time itself has jumped: a new stretch begins, and tracks end.

Live, an image without a usable stamp has the time of its arrival (`LiveClock`). In a recording it has its place between
its neighbours (`with_stamps`), and images are sorted within a stretch only (`in_stamp_order`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Generic, TypeVar

NANOSECONDS = 1_000_000_000

JUMP_NS = NANOSECONDS
"""A stamp that goes back by as much means that time itself did: a bag starts again, a clock was set."""
FAR_NS = 10 * NANOSECONDS
"""A stamp further ahead than this begins a new stretch."""

_TICK_NS = 1_000_000
"""The least by which the time of a live image exceeds that of the one before."""
_WAITING = 64
"""Images without stamp in a row that wait for the next stamp; more of them are timed from the last one."""

T = TypeVar("T")


def is_set(stamp_ns: int) -> bool:
    """False for the stamp of a header that nobody filled in."""
    return stamp_ns > 0


def continues(previous_ns: int, stamp_ns: int, *, elapsed_ns: int | None = None) -> bool:
    """Whether two stamps that follow each other are of one clock.

    With `elapsed_ns`, the time that passed between two arrivals, a stamp may be ahead of that by less than a jump;
    without it, by `FAR_NS`.
    """
    ahead = FAR_NS if elapsed_ns is None else max(0, elapsed_ns) + JUMP_NS
    return -JUMP_NS < stamp_ns - previous_ns <= ahead


class Order(Enum):
    """What the stamp of a live image says about the one before."""

    NEXT = "later than the last"
    SAME = "the stamp of the last once more"
    LATE = "earlier than the last by less than a jump"
    UNSET = "no stamp"
    DOUBTFUL = "far from the last; the next image tells whether it is a bad stamp or another time"
    JUMP = "far from the last but one, as the last was: time itself jumped"


@dataclass(frozen=True)
class Moment:
    """When an image was taken.

    Attributes:
        order: of its stamp.
        time_ns: for the tracker: grows with every image that is not late, whatever stamps do; where they are good, its
            differences are theirs.
        shift_ns: by how much the stamp is later than the last good one; 0 for the first and without a stamp.
    """

    order: Order
    time_ns: int
    shift_ns: int = 0


class LiveClock:
    """Tells the time of images as they arrive; one for each camera."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The next image may have any stamp."""
        self._stamp_ns: int | None = None  # the last good one, with its time and arrival
        self._time_of_stamp_ns = self._arrival_of_stamp_ns = 0
        self._doubt_ns: int | None = None  # the stamp of the last image, if it was doubtful
        self._time_ns: int | None = None  # those of the last image that was not late
        self._arrival_ns = 0

    def take(self, stamp_ns: int, arrival_ns: int) -> Moment:
        """The moment of the next image; late images leave no trace.

        Args:
            stamp_ns: of its header.
            arrival_ns: when it came, on any clock that is never set (`time.monotonic_ns`).
        """
        elapsed_ns = max(0, arrival_ns - self._arrival_ns) if self._time_ns is not None else 0
        if not is_set(stamp_ns):
            return self._by_arrival(Order.UNSET, arrival_ns, elapsed_ns)
        last_ns, doubt_ns = self._stamp_ns, self._doubt_ns
        since_last_ns = arrival_ns - self._arrival_of_stamp_ns
        if last_ns is None:
            moment = self._by_arrival(Order.NEXT, arrival_ns, elapsed_ns, first_ns=stamp_ns)
        elif continues(last_ns, stamp_ns, elapsed_ns=since_last_ns):
            moment = self._in_order(stamp_ns - last_ns, arrival_ns, elapsed_ns)
        elif doubt_ns is not None and continues(doubt_ns, stamp_ns, elapsed_ns=elapsed_ns):
            # A short step ahead, as after a stall of the network, is no other time.
            order = Order.NEXT if continues(last_ns, doubt_ns) else Order.JUMP
            moment = self._by_arrival(order, arrival_ns, elapsed_ns, shift_ns=stamp_ns - last_ns)
        else:
            self._doubt_ns = stamp_ns
            return self._by_arrival(Order.DOUBTFUL, arrival_ns, elapsed_ns, shift_ns=stamp_ns - last_ns)
        if moment.order is not Order.LATE:
            self._stamp_ns, self._time_of_stamp_ns, self._arrival_of_stamp_ns = stamp_ns, moment.time_ns, arrival_ns
        self._doubt_ns = None
        return moment

    def _in_order(self, shift_ns: int, arrival_ns: int, elapsed_ns: int) -> Moment:
        assert self._time_ns is not None
        if shift_ns < 0:
            return Moment(Order.LATE, self._time_ns, shift_ns)
        if shift_ns == 0:
            return self._by_arrival(Order.SAME, arrival_ns, elapsed_ns)
        self._time_ns = max(self._time_of_stamp_ns + shift_ns, self._time_ns + _TICK_NS)
        self._arrival_ns = arrival_ns
        return Moment(Order.NEXT, self._time_ns, shift_ns)

    def _by_arrival(
        self, order: Order, arrival_ns: int, elapsed_ns: int, *, shift_ns: int = 0, first_ns: int | None = None
    ) -> Moment:
        if self._time_ns is None:
            self._time_ns = arrival_ns if first_ns is None else first_ns
        else:
            self._time_ns += max(elapsed_ns, _TICK_NS)
        self._arrival_ns = arrival_ns
        return Moment(order, self._time_ns, shift_ns)


class SteadyTime:
    """Seconds that grow with every image of a stream, also where its stamps stand still.

    Such images follow each other by the last step of the stamps, or by a tenth of a second; the wall's clock has no
    part in it, so that a recording always has the same times.
    """

    def __init__(self) -> None:
        self._stamp_s: float | None = None
        self._seconds = 0.0
        self._step_s = 0.1

    def seconds(self, stamp_s: float) -> float:
        """The time of the next image. Stamps that go back give times that go back."""
        last_s, self._stamp_s = self._stamp_s, stamp_s
        if last_s is None or stamp_s < last_s:
            self._seconds = stamp_s
        elif stamp_s == last_s:
            self._seconds += self._step_s
        else:
            if stamp_s - last_s < 1.0:
                self._step_s = stamp_s - last_s
            self._seconds = stamp_s if stamp_s > self._seconds else self._seconds + _TICK_NS / NANOSECONDS
        return self._seconds


@dataclass(frozen=True)
class Recorded(Generic[T]):
    """One image of a recording.

    Attributes:
        stamp_ns: of its header; not set, or bad, until `with_stamps` has mended it.
        recorded_ns: when it was recorded.
        index: its place in the recording.
        item: what is to be carried along.
        stretch: how many jumps of the clock come before it.
        mended: its stamp was missing or bad and comes from its neighbours.
    """

    stamp_ns: int
    recorded_ns: int
    index: int
    item: T
    stretch: int = 0
    mended: bool = False


def with_stamps(images: Iterable[Recorded[T]], first: Recorded[Any] | None) -> Iterator[Recorded[T]]:
    """Images in the order of the recording, each with a stamp and its stretch.

    A missing stamp, or a single one that breaks the order of its neighbours, is put between those, in proportion to the
    times of recording. If no image has a stamp, the times of recording are the stamps. At most `_WAITING` images and
    one are held.

    Args:
        images: in the order in which they were recorded.
        first: the first of them that has a stamp; None if none has.
    """
    placed = _Stretches()
    good: Recorded[Any] | None = None  # the last one whose stamp is its own
    start_ns: int | None = None
    waiting: list[Recorded[T]] = []
    for image, following in _with_next(images):
        start_ns = image.recorded_ns if start_ns is None else start_ns
        if first is None:
            yield placed(image, image.recorded_ns)
        elif good is None and image.index < first.index:
            yield placed(image, _before(first, image.recorded_ns, start_ns), mended=True)
        elif not is_set(image.stamp_ns) or _is_bad(good, image, following):
            waiting.append(image)
            if len(waiting) == _WAITING:
                yield from [placed(missing, stamp, mended=True) for missing, stamp in _between(good, waiting, None)]
                waiting = []
        else:
            yield from [placed(missing, stamp, mended=True) for missing, stamp in _between(good, waiting, image)]
            waiting = []
            yield placed(image, image.stamp_ns)
            good = Recorded(image.stamp_ns, image.recorded_ns, image.index, None)
    yield from [placed(missing, stamp, mended=True) for missing, stamp in _between(good, waiting, None)]


class _Stretches:
    """Gives images their stamp, and counts where time jumps."""

    def __init__(self) -> None:
        self._newest_ns: int | None = None  # of the stretch
        self._stretch = 0

    def __call__(self, image: Recorded[T], stamp_ns: int, *, mended: bool = False) -> Recorded[T]:
        if self._newest_ns is None:
            self._newest_ns = stamp_ns
        elif continues(self._newest_ns, stamp_ns):
            self._newest_ns = max(self._newest_ns, stamp_ns)
        else:
            self._stretch, self._newest_ns = self._stretch + 1, stamp_ns
        return replace(image, stamp_ns=stamp_ns, stretch=self._stretch, mended=mended)


def _with_next(images: Iterable[Recorded[T]]) -> Iterator[tuple[Recorded[T], Recorded[T] | None]]:
    """Every image and the one after it; None after the last."""
    iterator = iter(images)
    image = next(iterator, None)
    while image is not None:
        following = next(iterator, None)
        yield image, following
        image = following


def _is_bad(good: Recorded[Any] | None, image: Recorded[T], following: Recorded[T] | None) -> bool:
    """Whether the clock goes on from `good` to `following` as if there were no `image`, which does not fit in."""
    if good is None or following is None or not is_set(following.stamp_ns):
        return False
    before, stamp, after = good.stamp_ns, image.stamp_ns, following.stamp_ns
    if not 0 <= after - before <= FAR_NS:
        return False
    return not (continues(before, stamp) and continues(stamp, after))


def _before(first: Recorded[Any], recorded_ns: int, start_ns: int) -> int:
    """The stamp of an image that was recorded before the first one that has a stamp."""
    ahead, longest = first.recorded_ns - recorded_ns, first.recorded_ns - start_ns
    if longest <= first.stamp_ns or longest <= 0:
        return first.stamp_ns - max(0, ahead)
    return first.stamp_ns - first.stamp_ns * max(0, ahead) // longest  # a simulation's clock, slower than the wall's


def _between(
    good: Recorded[Any] | None, waiting: list[Recorded[T]], following: Recorded[T] | None
) -> Iterator[tuple[Recorded[T], int]]:
    """Images without stamp, each with one between that of the image before and that of the one after them."""
    for place, image in enumerate(waiting, start=1):
        assert good is not None  # before the first stamp no image waits
        stamp_ns = good.stamp_ns + image.recorded_ns - good.recorded_ns
        if following is not None and continues(good.stamp_ns, following.stamp_ns):
            span = following.stamp_ns - good.stamp_ns
            part, whole = image.recorded_ns - good.recorded_ns, following.recorded_ns - good.recorded_ns
            if not 0 < part < whole:
                part, whole = place, len(waiting) + 1
            stamp_ns = good.stamp_ns + span * part // whole
        yield image, stamp_ns


def held_images(images: Iterable[Recorded[None]]) -> int:
    """How many images `in_stamp_order` has to hold for these, which come from `with_stamps`.

    Only what may still be overtaken is looked at: images of the last second.
    """
    held, done = 0, 0
    waiting: list[tuple[int, int, int]] = []
    newest: tuple[int, int] = (0, 0)
    for image in images:
        heapq.heappush(waiting, (image.stretch, image.stamp_ns, image.index))
        newest = max(newest, (image.stretch, image.stamp_ns))
        while waiting and (waiting[0][0] < newest[0] or newest[1] - waiting[0][1] >= JUMP_NS):
            held, done = max(held, heapq.heappop(waiting)[2] - done), done + 1
    while waiting:
        held, done = max(held, heapq.heappop(waiting)[2] - done), done + 1
    return held


def in_stamp_order(images: Iterable[Recorded[T]], held: int) -> Iterator[Recorded[T]]:
    """Images sorted by stamp within each stretch; `held` of them (see `held_images`) are in memory at most, and one."""
    waiting: list[tuple[int, int, int, Recorded[T]]] = []
    for image in images:
        heapq.heappush(waiting, (image.stretch, image.stamp_ns, image.index, image))
        if len(waiting) > held:
            yield heapq.heappop(waiting)[-1]
    while waiting:
        yield heapq.heappop(waiting)[-1]
