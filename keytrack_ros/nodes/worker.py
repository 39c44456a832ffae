"""A thread that processes the newest item only, so that the producer never waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestWorker(Generic[T]):
    """Calls `work` with one item after another on its own thread; of waiting items only the newest is kept.

    `work` handles its own errors.
    """

    def __init__(self, work: Callable[[T], None], name: str) -> None:
        self._work = work
        self._waiting: T | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def give(self, item: T) -> bool:
        """Adds an item; True if it replaces one that was waiting."""
        with self._changed:
            replaced = self._waiting is not None
            self._waiting = item
            self._changed.notify()
        return replaced

    def discard(self) -> bool:
        """Drops the waiting item; True if there was one."""
        with self._changed:
            found = self._waiting is not None
            self._waiting = None
        return found

    def stop(self) -> bool:
        """Waits for the item in work and ends the thread; True if a waiting one was dropped."""
        with self._changed:
            dropped = self.discard()
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        return dropped

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._waiting is not None)
                item, self._waiting = self._waiting, None
            if item is None:
                return
            self._work(item)
