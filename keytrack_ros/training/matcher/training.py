"""Trains matchers: AdamW, warm-up, then linear to 0 (paper A.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from keytrack_ros.errors import DataError
from keytrack_ros.matching.network import EntailmentNetwork
from keytrack_ros.matching.track_network import MatcherNetwork
from keytrack_ros.matching.weights import load_weights
from keytrack_ros.training.common.checkpoint import differing
from keytrack_ros.training.common.export import NO_LICENCE
from keytrack_ros.training.common.log import Panel
from keytrack_ros.training.common.run import Part, TrainingRun
from keytrack_ros.training.common.setup import parameter_groups
from keytrack_ros.training.common.shares import parsed_shares, source_shares
from keytrack_ros.training.matcher.export import export_matcher, move_prior
from keytrack_ros.training.matcher.options import CHANGEABLE, TrainOptions
from keytrack_ros.training.matcher.tasks import make_task
from keytrack_ros.training.matcher.tracks import (
    Tracks,
    held_back_videos,
    load_tracks,
    training_videos,
    validation_videos,
)


@dataclass(frozen=True)
class MatcherEpoch:
    """One line of the log. Loss is cross-entropy in nats; accuracies are 0..1; seconds are of training alone."""

    epoch: int
    step: int
    seconds: float
    learning_rate: float
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float


class MatcherTraining(TrainingRun[MatcherEpoch]):
    """One training run: network, optimiser, log and checkpoint in a run folder.

    Args:
        training: tracks to train on.
        validation: tracks of other videos.
        folder: run folder; `checkpoint.pt` and `log.csv` are written there.
        options: see `TrainOptions`.
        resume: continue from the folder's checkpoint.

    Raises:
        DataError: the tracks hold no pairs to train on, the checkpoint is missing or belongs to other data or other
            options, or the network to start from has another shape.
        ModelError: the network to start from cannot be read.
        OptionError: CUDA on a machine without it.
    """

    epoch_class = MatcherEpoch
    panels = (
        Panel("cross-entropy", {"loss": "training (augmented)", "validation_loss": "held-back videos"}),
        Panel(
            "accuracy", {"validation_accuracy": "held-back videos", "accuracy": "training (augmented)"}, percent=True
        ),
    )

    def __init__(
        self, training: Tracks, validation: Tracks, folder: Path, options: TrainOptions, resume: bool = False
    ) -> None:
        data = {"training data": training.fingerprint, "validation data": validation.fingerprint}
        super().__init__(folder, options, data, CHANGEABLE)
        self.options = options
        self._task = make_task(training, validation, options, self.device)
        torch.manual_seed(options.seed)
        self.network = self._task.network()
        if options.start and not resume:
            load_start(self.network, Path(options.start), options.prior)
        self.network.to(self.device)
        self._optimiser = torch.optim.AdamW(parameter_groups(self.network, options.weight_decay), fused=True)
        self._data = (training, validation)
        if resume:
            self.restore()

    @classmethod
    def open(cls, data: Path, folder: Path, options: TrainOptions, resume: bool = False) -> MatcherTraining:
        """A run on the track files of the folder `data`; see `load_tracks`."""
        tracks = load_tracks(data)
        sources = sorted({name.partition("/")[0] for name in tracks.names})
        source_shares(sources, [1] * len(sources), parsed_shares(options.shares))  # raises for unknown sources
        names, others = training_videos(tracks), held_back_videos(tracks)
        if options.choose:
            others = validation_videos(tracks)
            names = [name for name in names if name not in others]
        return cls(tracks.select(names), tracks.select(others), folder, options, resume)

    @property
    def data_summary(self) -> str:
        training, validation = self._data
        return (
            f"{len(training.names)} videos with {len(training)} poses to train on; validated on "
            f"{len(validation.names)} others with {len(validation)} poses"
        )

    def parts(self) -> Mapping[str, Part]:
        return {"network": self.network, "optimiser": self._optimiser}

    def train_step(self) -> Mapping[str, float]:
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
        return {"loss": loss.item(), "accuracy": right}

    def validated(self, means: Mapping[str, float], seconds: float) -> MatcherEpoch:
        self.network.eval()
        with torch.no_grad():
            loss, accuracy = self._task.validate(self.network)
        return MatcherEpoch(
            epoch=len(self.log) + 1,
            step=self.step,
            seconds=seconds,
            learning_rate=learning_rate(self.step - 1, self.options),
            loss=means["loss"],
            accuracy=means["accuracy"],
            validation_loss=loss,
            validation_accuracy=accuracy,
        )

    def export(self) -> list[Path]:
        pairs = self.options.input == "pairs"
        name = "pose_entailment_paper" if pairs else "pose_entailment"
        prior, licence = self.options.prior if pairs else 0.5, self.options.licence or NO_LICENCE
        return export_matcher(self.network, self.folder, prior, name, licence, self.options.half)


def load_start(network: MatcherNetwork, file: Path, prior: float) -> None:
    """Loads the weights of an exported matcher; one of pairs is moved back from `prior` to balanced pairs.

    Raises DataError if the two are of different kind or size, ModelError if the file is not a matcher's.
    """
    given = load_weights(file)
    here, there = ({**asdict(n.options), "dropout": 0, "kind": type(n).__name__} for n in (network, given))
    differences = differing(there, here)
    if differences:
        raise DataError(f"{file}: a run with these options cannot start from it: {'; '.join(differences)}")
    network.load_state_dict(given.state_dict())
    if isinstance(network, EntailmentNetwork):
        move_prior(network, prior, 0.5)


def learning_rate(step: int, options: TrainOptions) -> float:
    """Of step 0, 1, …: linear warm-up to `options.learning_rate`, then linear to 0 at the end."""
    warm = round(options.warm_up * options.steps)
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    return options.learning_rate * (options.steps - step) / max(options.steps - warm, 1)
