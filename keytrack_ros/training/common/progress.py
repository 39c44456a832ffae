"""A training run in the terminal: a bar, what was seen last, and Ctrl-C that stops after the running step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from keytrack_ros.errors import KeytrackError

console = Console(stderr=True)

INTERRUPTED = 130
"""Exit code of a run that was stopped."""

_NEEDED = ("torch", "onnx", "matplotlib")

SeenT = TypeVar("SeenT")
SeenT_co = TypeVar("SeenT_co", covariant=True)


class Run(Protocol[SeenT_co]):
    """A training run: `step` steps are done; `run` goes on to the end or until `stopped()`."""

    step: int

    @property
    def finished(self) -> bool: ...

    def run(self, report: Callable[[SeenT_co], None], stopped: Callable[[], bool]) -> None: ...


def require_packages() -> None:
    """Raises KeytrackError if a package is missing that training needs: now, not after the last epoch."""
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise KeytrackError(f"training needs {', '.join(missing)}: pip install them, or `make dev` in a source tree")


def run_to_the_end(
    training: Run[SeenT], steps: int, steps_per_epoch: int, text: Callable[[SeenT], str], draw: Callable[[], None]
) -> None:
    """Shows a run while it runs.

    Args:
        training: the run.
        steps: of the whole run.
        steps_per_epoch: after so many steps `draw` is called.
        text: what is shown beside the bar, from what the run reports.
        draw: draws the curves.

    Raises typer.Exit if it was stopped; how to go on has been said.
    """
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with interruptible() as stopped, ProgressBar(*columns, console=console, speed_estimate_period=60) as bar:
        task: TaskID = bar.add_task("", total=steps, completed=training.step)

        def report(seen: SeenT) -> None:
            bar.update(task, completed=training.step, description=text(seen))
            if training.step % steps_per_epoch == 0:
                draw()

        training.run(report, stopped)
    if not training.finished:
        console.print(f"stopped at step {training.step}; go on with the same command and --resume")
        raise typer.Exit(INTERRUPTED)


@contextmanager
def interruptible() -> Iterator[Any]:
    """Gives a function that says whether Ctrl-C or SIGTERM has come; a second Ctrl-C interrupts at once."""
    event = threading.Event()

    def stop(number: int, _: Any) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def percent(value: float | None) -> str:
    """`41.3%`, or a dash for what is not known yet."""
    return "-" if value is None else f"{value:.1%}"
