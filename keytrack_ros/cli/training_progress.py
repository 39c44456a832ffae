"""A training run in the terminal: a progress bar, the latest figures, and Ctrl-C that stops after the current step."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from keytrack_ros.cli.console import console
from keytrack_ros.cli.signals import stop_signals
from keytrack_ros.errors import KeytrackError

INTERRUPTED = 130
"""Exit code of a run that was stopped."""

_NEEDED = ("torch", "onnx", "matplotlib")

ProgressT = TypeVar("ProgressT")
ProgressT_co = TypeVar("ProgressT_co", covariant=True)


class Run(Protocol[ProgressT_co]):
    """A training run: `step` steps are done; `run` continues to the end or until `stopped()`."""

    step: int

    @property
    def finished(self) -> bool: ...

    def run(self, report: Callable[[ProgressT_co], None], stopped: Callable[[], bool]) -> Any: ...


def require_packages() -> None:
    """Raises KeytrackError if a package is missing that training needs: now, not after the last epoch."""
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise KeytrackError(f"training needs {', '.join(missing)}: pip install them, or `make dev` in a source tree")


def run_to_the_end(
    training: Run[ProgressT],
    steps: int,
    text: Callable[[ProgressT], str],
    epoch_ended: Callable[[], None] = lambda: None,
    steps_per_epoch: int = 1,
) -> None:
    """Trains with a progress bar.

    Args:
        training: the run.
        steps: of the whole run.
        text: is shown beside the bar, from what the run reports.
        epoch_ended: is called after every `steps_per_epoch` steps.

    Raises typer.Exit if it was stopped; how to resume has been printed.
    """
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with stop_signals() as caught, ProgressBar(*columns, console=console, speed_estimate_period=60) as bar:
        task = bar.add_task("", total=steps, completed=training.step)

        def report(progress: ProgressT) -> None:
            bar.update(task, completed=training.step, description=escape(text(progress)))
            if training.step % steps_per_epoch == 0:
                epoch_ended()

        training.run(report, lambda: bool(caught))
    if not training.finished:
        console.print(f"stopped at step {training.step}; resume with the same command and --resume")
        raise typer.Exit(INTERRUPTED)
