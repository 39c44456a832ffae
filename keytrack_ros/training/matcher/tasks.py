"""What a matcher learns: pairs of poses (the paper's task), or which pose continues which track."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from keytrack_ros.errors import DataError
from keytrack_ros.matching.network import EntailmentNetwork, NetworkOptions
from keytrack_ros.matching.tokens import PairTokens
from keytrack_ros.matching.track_network import MatcherNetwork, TrackNetwork, TrackNetworkOptions
from keytrack_ros.training.common.shares import parsed_shares
from keytrack_ros.training.matcher.options import TrainOptions
from keytrack_ros.training.matcher.pairs import Batch, PairSampler
from keytrack_ros.training.matcher.scene_composition import MAX_PEOPLE, SceneComposer
from keytrack_ros.training.matcher.scenes import TRACKS, SceneSampler, TrackBatch
from keytrack_ros.training.matcher.tracks import Tracks

_VALIDATION_SEED = 20191
_CHUNK = 512
_IMPOSSIBLE = -1e4
"""Logit of a pose and a track that are too far apart to be compared."""


class Task(Protocol):
    """A network with the batches it learns from; all randomness comes from the given generator."""

    def network(self) -> MatcherNetwork: ...

    def batch(self, rng: np.random.Generator) -> Any:
        """One batch of training data."""
        ...

    def loss(self, network: nn.Module, batch: Any) -> tuple[Tensor, float]:
        """Mean loss in nats, and the share of right answers."""
        ...

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """The same of the validation data."""
        ...


def pair_sampler(tracks: Tracks, options: TrainOptions) -> PairSampler:
    """Draws pairs as the options say."""
    return PairSampler(
        tracks,
        options.memory_frames,
        options.segments,
        (options.columns, options.rows),
        options.largest_stride,
        options.native_share,
        options.augmentation,
        parsed_shares(options.shares),
    )


def make_task(training: Tracks, validation: Tracks, options: TrainOptions, device: torch.device) -> Task:
    """The task that `options.input` names. Raises DataError if the tracks do not suffice for it."""
    kind = TrackTask if options.input == "tracks" else PairTask
    return kind(training, validation, options, device)


class PairTask:
    """Are two poses one person? Cross-entropy over balanced pairs (paper §3.2, A.4)."""

    def __init__(self, training: Tracks, validation: Tracks, options: TrainOptions, device: torch.device) -> None:
        self._options, self._device = options, device
        self._sampler, held_back = (pair_sampler(tracks, options) for tracks in (training, validation))
        self._validation = held_back.nearest_batch(options.validation_pairs, np.random.default_rng(_VALIDATION_SEED))

    def network(self) -> EntailmentNetwork:
        options = self._options
        return EntailmentNetwork(
            NetworkOptions(
                width=options.width,
                layers=options.layers,
                heads=options.heads,
                intermediate=options.intermediate,
                dropout=options.dropout,
                grid=(options.columns, options.rows),
                memory_frames=options.memory_frames,
                segments=options.segments,
                embeddings=options.embedding_names,
            )
        )

    def batch(self, rng: np.random.Generator) -> Batch:
        return self._sampler.batch(self._options.batch_size, rng)

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, float]:
        labels = torch.from_numpy(batch.labels).to(self._device)
        logits = self._logits(network, batch.tokens)
        return cross_entropy(logits, labels), (logits.argmax(1) == labels).float().mean().item()

    def validate(self, network: nn.Module) -> tuple[float, float]:
        return self.score(network, self._validation)

    def score(self, network: nn.Module, batch: Batch) -> tuple[float, float]:
        """Mean loss and accuracy of a batch of any size, without gradients."""
        tokens, labels = batch.tokens, torch.from_numpy(batch.labels)
        starts = range(0, len(labels), _CHUNK)
        with torch.inference_mode():
            logits = torch.cat([self._logits(network, tokens.take(slice(k, k + _CHUNK))).cpu() for k in starts])
        return cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()

    def _logits(self, network: nn.Module, tokens: PairTokens) -> Tensor:
        arrays = (tokens.positions, tokens.types, tokens.segments, tokens.mask, tokens.relative)
        tensors = [torch.from_numpy(np.ascontiguousarray(array)).to(self._device) for array in arrays]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._options.precision == "bfloat16"):
            logits: Tensor = network(*tensors)
        return logits.float()


class TrackTask:
    """Which track does a pose continue, if any, and which pose continues a track?

    Cross-entropy of both answers, with "none" as an answer of logit 0: people who look alike compete, as they do in the
    tracker. Accuracy is that of the poses' answers.
    """

    def __init__(self, training: Tracks, validation: Tracks, options: TrainOptions, device: torch.device) -> None:
        self._options, self._device = options, device
        for tracks in (training, validation):
            people = np.unique(np.stack([tracks.video, tracks.person], 1), axis=0)
            if len(people) == len(tracks):
                raise DataError("no person in the tracks is seen in two frames: there is nothing to continue")
        self._sampler = SceneSampler(SceneComposer(training))
        scenes = SceneSampler(SceneComposer(validation, compose=False))
        rng = np.random.default_rng(_VALIDATION_SEED)
        size = min(64, options.validation_scenes)
        self._validation = [scenes.batch(size, rng) for _ in range(options.validation_scenes // size)]

    def network(self) -> TrackNetwork:
        return TrackNetwork(TrackNetworkOptions(dropout=self._options.dropout))

    def batch(self, rng: np.random.Generator) -> TrackBatch:
        return self._sampler.batch(self._options.batch_size, rng)

    def loss(self, network: nn.Module, batch: TrackBatch) -> tuple[Tensor, float]:
        inputs = (torch.from_numpy(array).to(self._device) for array in (batch.tokens, batch.summary))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._options.precision == "bfloat16"):
            logits: Tensor = network(*inputs).float()
        place = tuple(
            torch.from_numpy(rows).to(self._device)
            for rows in (batch.pose // MAX_PEOPLE, batch.pose % MAX_PEOPLE, batch.track % TRACKS)
        )
        table = torch.full((batch.frames, MAX_PEOPLE, TRACKS), _IMPOSSIBLE, device=self._device)
        same = torch.zeros_like(table, dtype=torch.bool)
        table = table.index_put(place, logits)
        same = same.index_put(place, torch.from_numpy(batch.same).to(self._device))
        by_pose, accuracy = _answers(table, same)
        by_track, _ = _answers(table.transpose(1, 2), same.transpose(1, 2))
        return by_pose + by_track, accuracy

    def validate(self, network: nn.Module) -> tuple[float, float]:
        results = [self.loss(network, batch) for batch in self._validation]
        return float(np.mean([loss.item() for loss, _ in results])), float(np.mean([right for _, right in results]))


def _answers(table: Tensor, same: Tensor) -> tuple[Tensor, float]:
    """Loss and accuracy of the rows' answers: [F, A, B] logits and targets → which of B, or none.

    Rows without anybody to compare with are left out.
    """
    asked = (table > _IMPOSSIBLE / 2).any(2)
    answers = torch.cat([table, torch.zeros_like(table[:, :, :1])], 2)[asked]
    none = torch.full_like(asked, table.shape[2], dtype=torch.long)
    target = torch.where(same.any(2), same.float().argmax(2), none)[asked]
    return cross_entropy(answers, target), (answers.argmax(1) == target).float().mean().item()
