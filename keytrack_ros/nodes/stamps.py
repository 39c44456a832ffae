"""What the stamp of an image says about the one before: next, the same moment, late, or another time altogether."""

from __future__ import annotations

from enum import Enum

JUMP_NS = 1_000_000_000
"""A stamp that goes back by as much means that time itself did: a bag starts again, a clock was set."""


class Order(Enum):
    NEXT = "later than the last"
    SAME = "the stamp of the last once more"
    LATE = "earlier than the last by less than a jump"
    JUMP = "back by a second or more"


class StampOrder:
    """Remembers the stamp of the last image that was not late."""

    def __init__(self) -> None:
        self._last_ns: int | None = None

    @property
    def last_ns(self) -> int | None:
        return self._last_ns

    def take(self, stamp_ns: int) -> Order:
        """Says where an image belongs, and remembers its stamp unless it is late."""
        last = self._last_ns
        if last is not None and 0 < last - stamp_ns < JUMP_NS:
            return Order.LATE
        self._last_ns = stamp_ns
        if last is None or stamp_ns > last:
            return Order.NEXT
        return Order.SAME if stamp_ns == last else Order.JUMP

    def forget(self) -> None:
        """The next image may have any stamp."""
        self._last_ns = None
