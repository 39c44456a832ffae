"""Trains matchers: AdamW, warm-up, then linear to 0 (paper A.4).

All chance of step k comes from (seed, k) alone, so that a resumed run walks the same curve as one never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from keytrack_ros.errors import DataError
from keytrack_ros.matching.network import EntailmentNetwork
from keytrack_ros.matching.track_network import MatcherNetwork
from keytrack_ros.matching.weights import load_weights
from keytrack_ros.training.checkpoint import load_checkpoint, save_checkpoint
from keytrack_ros.training.curves import Epoch, write_log
from keytrack_ros.training.export import move_prior
from keytrack_ros.training.options import FIT_FOR_ANY_RUN, TrainOptions
from keytrack_ros.training.setup import parameter_groups, training_device
from keytrack_ros.training.tasks import make_task
from keytrack_ros.training.tracks import Tracks


@dataclass(frozen=True)
class Progress:
    """State of a run after a step; loss and accuracy are means since the epoch began."""

    step: int
    steps: int
    epoch: int
    loss: float
    accuracy: float
    examples_per_second: float
    validation_accuracy: float | None


class MatcherTraining:
    """One training run: network, optimiser, log and checkpoint in a run folder.

    Args:
        training: tracks to learn from.
        validation: tracks of other videos.
        folder: run folder; `checkpoint.pt` and `log.csv` go there.
        options: see `TrainOptions`.
        resume: continue from the folder's checkpoint.

    Raises:
        DataError: the tracks give nothing to learn from, or the checkpoint is missing or belongs to other data or
            other options, or the network to begin with has another shape.
        ModelError: the network to begin with cannot be read.
        OptionError: CUDA was asked for and there is none.
    """

    def __init__(
        self, training: Tracks, validation: Tracks, folder: Path, options: TrainOptions, resume: bool = False
    ) -> None:
        self.options, self.folder = options, folder
        self.device = training_device(options.device)
        if options.threads:
            torch.set_num_threads(options.threads)
        self._task = make_task(training, validation, options, self.device)
        torch.manual_seed(options.seed)
        self.network = self._task.network()
        if options.begin and not resume:
            begin_with(self.network, Path(options.begin), options.prior)
        self.network.to(self.device)
        self._optimiser = torch.optim.AdamW(parameter_groups(self.network, options.weight_decay), fused=True)
        self.step = 0
        self.log: list[Epoch] = []
        self._seconds = 0.0
        self._loss_sum = self._right = 0.0
        self._configuration = {
            **{key: value for key, value in asdict(options).items() if key not in FIT_FOR_ANY_RUN},
            "training data": training.fingerprint,
            "validation data": validation.fingerprint,
        }
        if resume:
            self._restore()

    @property
    def checkpoint(self) -> Path:
        """Where the state of the run is kept."""
        return self.folder / "checkpoint.pt"

    @property
    def finished(self) -> bool:
        return self.step >= self.options.steps

    def run(self, report: Callable[[Progress], None], stopped: Callable[[], bool] = lambda: False) -> None:
        """Trains to the end, or until `stopped()` is true after a step; saves a checkpoint in either case.

        `report` is called after every step.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = time.monotonic()
        while not self.finished and not stopped():
            began = time.monotonic()
            self._train_step()
            self._seconds += time.monotonic() - began
            if self.step % self.options.steps_per_epoch == 0:
                self._end_epoch()
                self.save()
                saved = time.monotonic()
            elif time.monotonic() - saved > 60 * self.options.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
            report(self._progress())
        self.save()

    def save(self) -> None:
        """Writes the checkpoint, all of it or none."""
        state = {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "seconds": self._seconds,
            "loss_sum": self._loss_sum,
            "right": self._right,
            "log": [asdict(epoch) for epoch in self.log],
        }
        save_checkpoint(self.checkpoint, self._configuration, state)

    def _restore(self) -> None:
        state = load_checkpoint(self.checkpoint, self._configuration)
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self._seconds = state["step"], state["seconds"]
        self._loss_sum, self._right = state["loss_sum"], state["right"]
        self.log = [Epoch(**row) for row in state["log"]]

    def _train_step(self) -> None:
        seeds = np.random.SeedSequence((self.options.seed, self.step)).generate_state(2)
        batch = self._task.batch(np.random.default_rng(seeds[0]))
        torch.manual_seed(int(seeds[1]))
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.options)
        self.network.train()
        loss, right = self._task.loss(self.network, batch)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.options.gradient_limit:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.options.gradient_limit)
        self._optimiser.step()
        self.step += 1
        self._loss_sum += loss.item()
        self._right += right

    def _end_epoch(self) -> None:
        self.network.eval()
        with torch.no_grad():
            loss, accuracy = self._task.validate(self.network)
        steps = self.options.steps_per_epoch
        self.log.append(
            Epoch(
                epoch=len(self.log) + 1,
                step=self.step,
                seconds=round(self._seconds, 1),
                learning_rate=learning_rate(self.step - 1, self.options),
                loss=self._loss_sum / steps,
                accuracy=self._right / steps,
                validation_loss=loss,
                validation_accuracy=accuracy,
            )
        )
        self._loss_sum = self._right = 0.0
        write_log(self.folder / "log.csv", self.log)

    def _progress(self) -> Progress:
        in_epoch = (self.step - 1) % self.options.steps_per_epoch + 1
        if in_epoch == self.options.steps_per_epoch and self.log:
            loss, accuracy = self.log[-1].loss, self.log[-1].accuracy
        else:
            loss, accuracy = self._loss_sum / in_epoch, self._right / in_epoch
        return Progress(
            step=self.step,
            steps=self.options.steps,
            epoch=(self.step - 1) // self.options.steps_per_epoch + 1,
            loss=loss,
            accuracy=accuracy,
            examples_per_second=self.step * self.options.batch_size / max(self._seconds, 1e-9),
            validation_accuracy=self.log[-1].validation_accuracy if self.log else None,
        )


def begin_with(network: MatcherNetwork, file: Path, prior: float) -> None:
    """Gives `network` the weights of an exported one; that of pairs is moved back from `prior` to balanced pairs.

    Raises DataError if the two are of different kind or size, ModelError if the file is not a matcher's.
    """
    given = load_weights(file)
    here, there = ({**asdict(n.options), "dropout": 0, "kind": type(n).__name__} for n in (network, given))
    differences = [
        f"{key} is {there.get(key)!r} there and {here.get(key)!r} here"
        for key in {**there, **here}
        if there.get(key) != here.get(key)
    ]
    if differences:
        raise DataError(f"{file}: a run with these options cannot begin with it: {'; '.join(differences)}")
    network.load_state_dict(given.state_dict())
    if isinstance(network, EntailmentNetwork):
        move_prior(network, prior, 0.5)


def learning_rate(step: int, options: TrainOptions) -> float:
    """Of step 0, 1, …: linear warm-up to `options.learning_rate`, then linear to 0 at the end."""
    warm = round(options.warm_up * options.steps)
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    return options.learning_rate * (options.steps - step) / max(options.steps - warm, 1)
