"""A training that may stop at any step and goes on as if it had not: the loop, means of an epoch, log, checkpoint.

What is learned is up to the subclass. All chance of step k must come from (seed, k) alone: then a resumed run walks the
same curve as one never stopped.
"""

from __future__ import annotations

import csv
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import cv2
import torch

from keytrack_ros.training.common.checkpoint import load_checkpoint, save_checkpoint
from keytrack_ros.training.common.setup import training_device

FIT_FOR_ANY_RUN = ("threads", "device", "checkpoint_minutes")
"""Options that a resumed run may change: they say how fast and where."""


class RunOptions(Protocol):
    """What the loop must know of a training's options; they are dataclasses."""

    @property
    def threads(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def checkpoint_minutes(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def steps_per_epoch(self) -> int: ...


class Part(Protocol):
    """What a checkpoint keeps: a network or an optimiser."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any) -> Any: ...


@dataclass(frozen=True)
class Progress:
    """State of a run after a step.

    Attributes:
        step: steps done.
        epoch: the running one, from 1.
        means: losses and the like, by name, since the epoch began.
        examples_per_second: of the whole run.
    """

    step: int
    epoch: int
    means: Mapping[str, float]
    examples_per_second: float


EpochT = TypeVar("EpochT", bound=Any)


class TrainingRun(ABC, Generic[EpochT]):
    """One training run in a run folder; `checkpoint.pt` and `log.csv` go there.

    A subclass makes its networks, then calls `restore()` if it is to go on.

    Args:
        folder: run folder.
        options: a dataclass of options.
        data: hashes of what is learned from, by name; a checkpoint of other data is refused.
        variable: options that a resumed run may change.

    Attributes:
        step: steps done.
        log: one entry for each epoch done.
        device: where the networks are.

    Raises OptionError if CUDA was asked for and there is none.
    """

    epoch_class: ClassVar[type[Any]]
    """Dataclass of the log's entries."""

    def __init__(
        self,
        folder: Path,
        options: RunOptions,
        data: Mapping[str, object],
        variable: Sequence[str] = FIT_FOR_ANY_RUN,
    ) -> None:
        self.folder = folder
        self.device = training_device(options.device)
        if options.threads:
            torch.set_num_threads(options.threads)
            cv2.setNumThreads(options.threads)
        self.step = 0
        self.log: list[EpochT] = []
        self._plan = options
        self._seconds = 0.0
        self._sums: dict[str, float] = {}
        fixed = {key: value for key, value in asdict(options).items() if key not in variable}  # type: ignore[call-overload]
        self._configuration = {**fixed, **data}

    @abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """Networks and optimiser, by name, as a checkpoint keeps them."""

    @abstractmethod
    def learn(self) -> Mapping[str, float]:
        """Learns from the batch of step `self.step`; losses and the like."""

    @abstractmethod
    def validated(self, means: Mapping[str, float], seconds: float) -> EpochT:
        """The log's entry of the epoch that has ended: `means` of what `learn` returned, seconds of training so far."""

    @property
    def checkpoint(self) -> Path:
        """Where the state of the run is kept."""
        return self.folder / "checkpoint.pt"

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self._plan.steps

    def run(self, report: Callable[[Progress], None], stopped: Callable[[], bool] = lambda: False) -> None:
        """Trains to the end, or until `stopped()` is true after a step; saves a checkpoint in either case.

        `report` is called after every step.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = time.monotonic()
        while not self.finished and not stopped():
            began = time.monotonic()
            for name, value in self.learn().items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self.step += 1
            self._seconds += time.monotonic() - began
            progress = self._progress()
            ended = self.step % self._plan.steps_per_epoch == 0
            if ended:
                self.log.append(self.validated(progress.means, round(self._seconds, 1)))
                self._sums = {}
                write_log(self.folder / "log.csv", self.log)
            if ended or time.monotonic() - saved > 60 * self._plan.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
            report(progress)
        self.save()

    def save(self) -> None:
        """Writes the checkpoint, all of it or none."""
        state = {
            **{name: part.state_dict() for name, part in self.parts().items()},
            "step": self.step,
            "seconds": self._seconds,
            "sums": self._sums,
            "log": [asdict(epoch) for epoch in self.log],
        }
        save_checkpoint(self.checkpoint, self._configuration, state)

    def restore(self) -> None:
        """Goes on from the folder's checkpoint.

        Raises DataError if it is missing or belongs to other data or other options; the differences are named.
        """
        state = load_checkpoint(self.checkpoint, self._configuration)
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.step, self._seconds, self._sums = state["step"], state["seconds"], state["sums"]
        self.log = [self.epoch_class(**row) for row in state["log"]]

    def _progress(self) -> Progress:
        steps = self._plan.steps_per_epoch
        in_epoch = (self.step - 1) % steps + 1
        return Progress(
            step=self.step,
            epoch=(self.step - 1) // steps + 1,
            means={name: total / in_epoch for name, total in self._sums.items()},
            examples_per_second=self.step * self._plan.batch_size / max(self._seconds, 1e-9),
        )


def write_log(file: Path, log: Sequence[Any]) -> None:
    """Replaces `file` by a CSV with a header and a line for each entry, all of one dataclass; there is at least one."""
    part = file.with_name(file.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [item.name for item in fields(log[0])])
        writer.writeheader()
        for epoch in log:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(epoch).items()})
    part.replace(file)
