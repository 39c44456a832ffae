"""The training loop: it can stop at any step and be resumed; means of an epoch, log, checkpoint.

The subclass says what a step does. Random numbers of step k must come from (seed, k) alone: then a resumed run gives
the same weights as one that was never stopped.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import cv2
import torch

from keytrack_ros.poses import ImageArray
from keytrack_ros.training.common.checkpoint import load_checkpoint, save_checkpoint
from keytrack_ros.training.common.log import Panel, draw_curves, write_log
from keytrack_ros.training.common.setup import training_device

CHANGEABLE = ("threads", "device", "checkpoint_minutes", "loaders", "licence", "weight_bits")
"""Options that may change when a run is resumed: how fast and where, or what is done after the last step."""


class RunOptions(Protocol):
    """The options of a training that the loop uses; they are dataclasses."""

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
        epoch: the current one, from 1.
        means: of what `train_step` returned, by name, since the epoch began.
        examples_per_second: mean of the whole run.
    """

    step: int
    epoch: int
    means: Mapping[str, float]
    examples_per_second: float


EpochT = TypeVar("EpochT", bound=Any)


class TrainingRun(ABC, Generic[EpochT]):
    """One training run in a run folder; `checkpoint.pt` and `log.csv` are written there.

    A subclass builds its networks, then calls `restore()` if the run is resumed.

    Args:
        folder: run folder.
        options: a dataclass of options.
        data: hashes of the training data, by name; a checkpoint of other data is refused.
        changeable: options that may differ when the run is resumed.

    Attributes:
        step: steps done.
        log: one entry for each epoch done.
        device: where the networks are.

    Raises OptionError for CUDA on a machine without it.
    """

    epoch_class: ClassVar[type[Any]]
    """Dataclass of the log's entries."""
    panels: ClassVar[tuple[Panel, ...]]
    """What the curves show; the last one's first line is shown beside the progress bar."""
    stage: ClassVar[str] = ""
    """Field of the log whose changes the curves mark."""

    def __init__(
        self,
        folder: Path,
        options: RunOptions,
        data: Mapping[str, object],
        changeable: Sequence[str] = CHANGEABLE,
    ) -> None:
        self.folder = folder
        self.device = training_device(options.device)
        if options.threads:
            torch.set_num_threads(options.threads)
            cv2.setNumThreads(options.threads)
        self.step = 0
        self.log: list[EpochT] = []
        self._options = options
        self._seconds = 0.0
        self._sums: dict[str, float] = {}
        fixed = {key: value for key, value in asdict(options).items() if key not in changeable}  # type: ignore[call-overload]
        self._configuration = {**fixed, **data}

    @abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """Networks and optimiser, by name, as a checkpoint keeps them."""

    @abstractmethod
    def train_step(self) -> Mapping[str, float]:
        """Trains on the batch of step `self.step`; returns losses and the like, by name."""

    @abstractmethod
    def validated(self, means: Mapping[str, float], seconds: float) -> EpochT:
        """The log's entry of the epoch that has ended.

        `means` are those of what `train_step` returned, `seconds` of training without validation.
        """

    @abstractmethod
    def export(self) -> list[Path]:
        """Writes the files that a tracker loads into the run folder; returns their paths."""

    def sample_sheet(self) -> ImageArray | None:
        """A picture of training samples to look at, [H, W, 3] uint8 BGR; None where there is nothing to see."""
        return None

    @property
    @abstractmethod
    def data_summary(self) -> str:
        """What is trained and validated on, in one line."""

    @property
    def checkpoint(self) -> Path:
        """Where the state of the run is kept."""
        return self.folder / "checkpoint.pt"

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self._options.steps

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which the log gets an entry."""
        return self._options.steps_per_epoch

    @property
    def headline(self) -> str:
        """The figure to watch, of the last epoch: the first line of the last panel."""
        name, legend = next(iter(self.panels[-1].lines.items()))
        value = f"{getattr(self.log[-1], name):.1%}" if self.log else "-"
        return f"{legend} {value}"

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self._options.steps

    def draw_curves(self) -> None:
        """Draws `curves.png` in the run folder."""
        draw_curves(self.folder / "curves.png", self.log, self.panels, self.stage)

    def run(self, report: Callable[[Progress], None], stopped: Callable[[], bool] = lambda: False) -> None:
        """Trains to the end, or until `stopped()` is true after a step; saves a checkpoint in either case.

        `report` is called after every step.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = time.monotonic()
        while not self.finished and not stopped():
            began = time.monotonic()
            for name, value in self.train_step().items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self.step += 1
            self._seconds += time.monotonic() - began
            progress = self._progress()
            ended = self.step % self._options.steps_per_epoch == 0
            if ended:
                self.log.append(self.validated(progress.means, round(self._seconds, 1)))
                self._sums = {}
                write_log(self.folder / "log.csv", self.log)
            if ended or time.monotonic() - saved > 60 * self._options.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
            report(progress)
        self.save()

    def save(self) -> None:
        """Writes the checkpoint, atomically."""
        state = {
            **{name: part.state_dict() for name, part in self.parts().items()},
            "step": self.step,
            "seconds": self._seconds,
            "sums": self._sums,
            "log": [asdict(epoch) for epoch in self.log],
        }
        save_checkpoint(self.checkpoint, self._configuration, state)

    def restore(self) -> None:
        """Loads the folder's checkpoint.

        Options that are newer than the checkpoint count as their defaults there.

        Raises DataError if it is missing or belongs to other data or other options; the differences are named.
        """
        defaults = {item.name: item.default for item in fields(self._options)}  # type: ignore[arg-type]
        newer = {key: value for key, value in defaults.items() if key in self._configuration}
        state = load_checkpoint(self.checkpoint, self._configuration, newer)
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.step, self._seconds, self._sums = state["step"], state["seconds"], state["sums"]
        self.log = [self.epoch_class(**row) for row in state["log"]]

    def _progress(self) -> Progress:
        steps = self._options.steps_per_epoch
        in_epoch = (self.step - 1) % steps + 1
        return Progress(
            step=self.step,
            epoch=(self.step - 1) // steps + 1,
            means={name: total / in_epoch for name, total in self._sums.items()},
            examples_per_second=self.step * self._options.batch_size / max(self._seconds, 1e-9),
        )
