"""A network that runs on the backend at hand until a faster one has been built in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from keytrack_ros.errors import KeytrackError
from keytrack_ros.inference.session import Array, Session

logger = logging.getLogger(__name__)


class UpgradingSession:
    """Runs on `now` until `make` has made a better session on a thread of its own, then on that one.

    The change happens between two calls. If `make` fails, a warning is logged and `now` stays. Inputs that the better
    session lacks are left out: a torch network has arguments that its graph may lack.

    Args:
        now: runs until then.
        make: is given an event that asks it to stop; raises KeytrackError if it fails.
        name: name of the network in the log.
    """

    def __init__(self, now: Session, make: Callable[[threading.Event], Session], name: str) -> None:
        self._turn = threading.Lock()  # held in a call, so that the session is not replaced under it
        self._now = now
        self._make = make
        self._name = name
        self._better: Session | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"engine of {name}", daemon=True)
        self._thread.start()

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        return self._now.input_shapes

    @property
    def output_names(self) -> Sequence[str]:
        return self._now.output_names

    @property
    def runs_on(self) -> str:
        return self._now.runs_on

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with self._turn:
            better, self._better = self._better, None
            if better is not None:
                self._now.close()
                self._now = better
                logger.info("%s runs on %s from now on", self._name, better.runs_on)
            wanted = self._now.input_shapes
            return self._now.run({name: array for name, array in inputs.items() if name in wanted})

    def close(self) -> None:
        """Stops the build, waits for its thread, and frees both sessions."""
        self._stop.set()
        self._thread.join()
        if self._better is not None:
            self._better.close()
        self._now.close()

    def _work(self) -> None:
        try:
            self._better = self._make(self._stop)
        except KeytrackError as error:
            if not self._stop.is_set():
                logger.warning("%s stays on %s: %s", self._name, self._now.runs_on, error)
