"""Ctrl-C and SIGTERM that end a command between two frames or steps, never within one.

The nodes have handlers of their own (`nodes.runner`): rclpy waits in native code, where no Python handler runs, so
a signal must wake their executor through a socket.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals(stop: Callable[[], None] | None = None) -> Iterator[list[signal.Signals]]:
    """Within it, the first Ctrl-C or SIGTERM only fills the list, so that a frame is never left half written.

    The second one interrupts at once. `stop` is called at the first one, to end what waits for something to come.
    """
    caught: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():  # a worker of a cluster: signals are its process's
        yield caught
        return

    def note(number: int, _: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(signal.Signals(number))
        if stop is not None:
            stop()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
