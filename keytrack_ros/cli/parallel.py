"""Commands that work on many sequences: where they run, how far they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from keytrack_ros.cli.console import console

R = TypeVar("R")

Workers = Annotated[int | None, typer.Option(min=1, help="Processes; by default one for each core.")]
Scheduler = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Dask scheduler, such as tcp://10.0.0.1:8786, whose workers do the work; they need the same file paths.",
        show_default=False,
    ),
]


def worker_count(workers: int | None) -> int:
    """As given, else one for each core."""
    return workers or os.cpu_count() or 1


def shared_path(path: Path, scheduler: str) -> Path:
    """For workers of a cluster, who start in other folders, the absolute path."""
    return path.absolute() if scheduler else path


@contextmanager
def progress(verb: str, unit: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar in a terminal; the yielded function advances it by one."""
    columns = (
        TextColumn(verb),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def in_order(results: Iterable[tuple[int, R]], verb: str, total: int) -> list[R]:
    """Results that come in any order with their places, in order of place; progress is shown."""
    done: dict[int, R] = {}
    with progress(verb, "sequences", total) as advance:
        for place, result in results:
            done[place] = result
            advance()
    return [done[place] for place in range(total)]
