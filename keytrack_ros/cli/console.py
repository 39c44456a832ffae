"""What goes to the terminal: errors, warnings, progress. Results go to stdout, all else to stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PLAIN_EVERY_S = 10.0
_KEPT_WARNINGS = 100

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say_error(text: str) -> None:
    """One red line."""
    console.print(f"[bold red]error:[/] {escape(text)}")


class Warnings(logging.Handler):
    """Shows the package's warnings above the progress bar and keeps their texts (the first hundred)."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if len(self.texts) < _KEPT_WARNINGS:
            self.texts.append(text)
        console.print(f"[yellow]warning:[/] {escape(text)}")


@contextmanager
def shown_warnings() -> Iterator[Warnings]:
    """Within it, what the package logs as a warning is shown."""
    logger, handler = logging.getLogger("keytrack_ros"), Warnings()
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


class FrameProgress:
    """Frames done of frames in all, rate and time left: a bar in a terminal, elsewhere a line every ten seconds.

    Use as a context manager. With `shown` false nothing is printed.
    """

    def __init__(self, name: str, total: int | None, *, shown: bool = True) -> None:
        self._name = name
        self._shown = shown
        self._total = total
        self._done = 0
        self._began = self._said = monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.fields[of]} frames"),
            TextColumn("{task.fields[rate]:.1f} fps"),
            TextColumn("{task.fields[people]} people"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
            transient=True,
        )
        self._task = self._bar.add_task(escape(name), total=total, of=total or "?", rate=0.0, people=0)

    def advance(self, people: int) -> None:
        """One frame more is done; `people` were in it."""
        self._done += 1
        now = monotonic()
        rate = self._done / max(now - self._began, 1e-9)
        self._bar.update(self._task, advance=1, rate=rate, people=people)
        if self._shown and self._bar.disable and now - self._said >= _PLAIN_EVERY_S:
            self._said = now
            left = f", {(self._total - self._done) / rate:.0f} s left" if self._total else ""
            console.print(f"{self._name}: {self._done}/{self._total or '?'} frames, {rate:.1f} fps{left}", markup=False)

    def __enter__(self) -> FrameProgress:
        self._began = self._said = monotonic()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
