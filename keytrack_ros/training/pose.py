"""Trains an HRNet on people: mean squared error of heatmaps, AdamW, warm-up, cosine; small crops first, full ones last.

All chance of step k comes from (seed, k) alone, so that a resumed run walks the same curve as one never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.estimation.heatmaps import decode
from keytrack_ros.estimation.hrnet import build_hrnet
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray, IntArray
from keytrack_ros.training import pose_augment as augment
from keytrack_ros.training.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from keytrack_ros.training.pose_data import COCO, FRAMES, LSPET, People
from keytrack_ros.training.pose_log import PoseEpoch, write_pose_log
from keytrack_ros.training.pose_options import FIT_FOR_ANY_RUN, PoseTrainOptions
from keytrack_ros.training.setup import parameter_groups, training_device

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""Of ImageNet, RGB 0..255, as in HRNet."""
_SHARES = {LSPET: 0.50, FRAMES: 0.46, COCO: 0.04}
_BACKGROUND_SHARE = 0.6  # of LSPET crops; their surroundings are cut off
_LIMBS = [k for k, name in enumerate(skeleton.NAMES) if name.startswith(("left_", "right_"))]
_HEAD_BOTTOM, _HEAD_TOP = skeleton.INDEX["head_bottom"], skeleton.INDEX["head_top"]
_CHUNK = 64


class PoseBatch(NamedTuple):
    """B crops [B, 3, h, w] float32 (normalised RGB), targets [B, 15, h/4, w/4], weights [B, 15]."""

    crops: Tensor
    targets: Tensor
    weights: Tensor


@dataclass(frozen=True)
class PoseProgress:
    """State of a run after a step; the loss is the mean since the epoch began."""

    step: int
    epoch: int
    loss: float
    people_per_second: float
    pckh: float | None


class PoseTraining:
    """One training run: network, averaged network, optimiser, log and checkpoint in a run folder.

    Args:
        people: see `load_people`.
        backgrounds: images without people.
        folder: run folder; `checkpoint.pt` and `log.csv` go there.
        options: see `PoseTrainOptions`.
        resume: continue from the folder's checkpoint.

    Raises:
        DataError: the checkpoint is missing or belongs to other data or other options, or the one to start from is none
            of such a network.
        OptionError: CUDA was asked for and there is none.
    """

    def __init__(
        self,
        people: People,
        backgrounds: list[ImageArray],
        folder: Path,
        options: PoseTrainOptions,
        resume: bool = False,
    ) -> None:
        self.options, self.folder, self.people = options, folder, people
        self._backgrounds = backgrounds
        self._device = training_device(options.device)
        if options.threads:
            torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        layout = torch.channels_last
        self.network = build_hrnet(options.variant, skeleton.COUNT).to(self._device, memory_format=layout)  # type: ignore[call-overload]
        self.averaged = build_hrnet(options.variant, skeleton.COUNT).to(self._device, memory_format=layout)  # type: ignore[call-overload]
        if options.start:
            self.network.load_state_dict(_averaged_weights(Path(options.start)))
        self.averaged.load_state_dict(self.network.state_dict())
        self.averaged.eval()
        self._optimiser = torch.optim.AdamW(parameter_groups(self.network, options.weight_decay), fused=True)
        self.step = 0
        self.log: list[PoseEpoch] = []
        self._seconds = self._loss_sum = 0.0
        self._configuration = {
            **{key: value for key, value in asdict(options).items() if key not in FIT_FOR_ANY_RUN},
            "data": people.fingerprint,
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

    def run(self, report: Callable[[PoseProgress], None], stopped: Callable[[], bool] = lambda: False) -> None:
        """Trains to the end, or until `stopped()` is true after a step; saves a checkpoint in either case.

        `report` is called after every step.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = time.monotonic()
        for batch in self._batches(stopped):
            began = time.monotonic()
            self._train_step(batch)
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
            "averaged": self.averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "seconds": self._seconds,
            "loss_sum": self._loss_sum,
            "log": [asdict(epoch) for epoch in self.log],
        }
        save_checkpoint(self.checkpoint, self._configuration, state)

    def batch(self, step: int) -> PoseBatch:
        """What step `step` learns from."""
        samples = self.samples(step)
        size = self.options.size_at(step)
        present = np.stack([s.present for s in samples])
        targets = augment.heatmaps(
            np.stack([s.keypoints for s in samples]), present, size, self.options.sigma * size[1] / 256
        )
        weights = np.stack([s.weights for s in samples])
        return PoseBatch(network_crops([s.crop for s in samples]), torch.from_numpy(targets), torch.from_numpy(weights))

    def samples(self, step: int) -> list[augment.Sample]:
        """The augmented people of a step."""
        chance = np.random.default_rng(np.random.SeedSequence((self.options.seed, step)))
        people, size = self.people, self.options.size_at(step)
        parts = {source: people.rows(held_back=False, source=source) for source in _SHARES}
        shares = np.array([_SHARES[source] if len(rows) else 0 for source, rows in parts.items()])
        counts = chance.multinomial(self.options.batch_size, shares / shares.sum())
        rows = np.concatenate([chance.choice(p, n) for p, n in zip(parts.values(), counts, strict=True) if n])
        samples = []
        for row in rows:
            background = None
            if self._backgrounds and people.sources[row] == LSPET and chance.random() < _BACKGROUND_SHARE:
                background = self._backgrounds[chance.integers(len(self._backgrounds))]
            samples.append(
                augment.augmented_sample(
                    people.image(row),
                    people.boxes[row],
                    people.keypoints[row],
                    people.weights[row],
                    people.present[row],
                    size,
                    chance,
                    background,
                )
            )
        return samples

    def _batches(self, stopped: Callable[[], bool]) -> Iterator[PoseBatch]:
        """The batches of the steps to come, the next one made while the network learns from the last."""
        with ThreadPoolExecutor(1) as pool:
            coming = None if self.finished else pool.submit(self.batch, self.step)
            while coming is not None and not stopped():
                batch = coming.result()
                following = self.step + 1
                coming = pool.submit(self.batch, following) if following < self.options.steps else None
                yield batch

    def _restore(self) -> None:
        state = load_checkpoint(self.checkpoint, self._configuration)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self._seconds, self._loss_sum = state["step"], state["seconds"], state["loss_sum"]
        self.log = [PoseEpoch(**row) for row in state["log"]]

    def _train_step(self, batch: PoseBatch) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.options)
        self.network.train()
        heatmaps = self._forward(self.network, batch.crops)
        loss = heatmap_loss(heatmaps, batch.targets.to(self._device), batch.weights.to(self._device))
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        # The average follows quickly at first, or it would remember the random weights.
        average_into(self.averaged, self.network, min(self.options.ema, (1 + self.step) / (10 + self.step)))
        self.step += 1
        self._loss_sum += loss.item()

    def _forward(self, network: nn.Module, crops: Tensor) -> Tensor:
        crops = crops.to(self._device, memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            heatmaps: Tensor = network(crops)
        return heatmaps.float()

    def _end_epoch(self) -> None:
        size = self.options.size_at(self.step - 1)
        lspet, nothing = self.validate(self.people.rows(True, LSPET), size), float("nan")
        frames = self.validate(self.people.rows(True, FRAMES), size)
        self.log.append(
            PoseEpoch(
                epoch=len(self.log) + 1,
                step=self.step,
                seconds=round(self._seconds, 1),
                width=size[0],
                learning_rate=learning_rate(self.step - 1, self.options),
                loss=self._loss_sum / self.options.steps_per_epoch,
                pckh_lspet=lspet if lspet is not None else nothing,
                pckh_frames=frames if frames is not None else nothing,
            )
        )
        self._loss_sum = 0.0
        write_pose_log(self.folder / "log.csv", self.log)

    def validate(self, rows: IntArray, size: tuple[int, int]) -> float | None:
        """PCKh@0.5 of the averaged network on the limbs of some people; None where no head is known.

        The head's size is the distance of head_bottom and head_top.
        """
        right = asked = 0
        for begin in range(0, len(rows), _CHUNK):
            part = rows[begin : begin + _CHUNK]
            people = self.people
            samples = [
                augment.plain_sample(
                    people.image(r), people.boxes[r], people.keypoints[r], people.weights[r], people.present[r], size
                )
                for r in part
            ]
            with torch.no_grad():
                maps = self._forward(self.averaged, network_crops([s.crop for s in samples])).cpu().numpy()
            points = (decode(maps, "quarter", 0.0)[0] + augment.OFFSET) * augment.STRIDE
            found, known = pckh_hits(
                points,
                np.stack([s.keypoints for s in samples]),
                np.stack([s.present & (s.weights > 0) for s in samples]),
            )
            right, asked = right + int(found[:, _LIMBS].sum()), asked + int(known[:, _LIMBS].sum())
        return right / asked if asked else None

    def _progress(self) -> PoseProgress:
        in_epoch = (self.step - 1) % self.options.steps_per_epoch + 1
        whole = in_epoch == self.options.steps_per_epoch and self.log
        return PoseProgress(
            step=self.step,
            epoch=(self.step - 1) // self.options.steps_per_epoch + 1,
            loss=self.log[-1].loss if whole else self._loss_sum / in_epoch,
            people_per_second=self.step * self.options.batch_size / max(self._seconds, 1e-9),
            pckh=self.log[-1].pckh_lspet if self.log else None,
        )


def heatmap_loss(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Squared error, summed over a heatmap's pixels, weighted mean over keypoints.

    Args:
        heatmaps, targets: [B, 15, h, w].
        weights: [B, 15].
    """
    error = (heatmaps - targets).square().sum((2, 3))
    return (error * weights).sum() / weights.sum().clamp_min(1e-6)


def pckh_hits(points: FloatArray, truth: FloatArray, known: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Which keypoints lie within half a head size of the truth (PCKh@0.5), and which could be asked for.

    Args:
        points, truth: [N, 15, 2].
        known: [N, 15] bool; people whose head is not known are left out.

    Returns two [N, 15] bool arrays.
    """
    head = np.linalg.norm(truth[:, _HEAD_BOTTOM] - truth[:, _HEAD_TOP], axis=1)
    asked = known & (known[:, _HEAD_BOTTOM] & known[:, _HEAD_TOP] & (head > 0))[:, None]
    return asked & (np.linalg.norm(points - truth, axis=2) <= 0.5 * head[:, None]), asked


def network_crops(crops: list[ImageArray]) -> Tensor:
    """B crops [h, w, 3] uint8 BGR as the network's input [B, 3, h, w] float32."""
    rgb = torch.from_numpy(np.stack(crops)).flip(3).float()
    return rgb.sub_(torch.tensor(MEAN)).div_(torch.tensor(STD)).permute(0, 3, 1, 2)


def learning_rate(step: int, options: PoseTrainOptions) -> float:
    """Of step 0, 1, …: linear warm-up, then a cosine down to 1 % of the highest."""
    warm = round(options.warm_up * options.steps)
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    done = (step - warm) / max(options.steps - warm, 1)
    return options.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def average_into(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """averaged = decay · averaged + (1 − decay) · network, of all weights and batch statistics."""
    with torch.no_grad():
        mine, theirs = averaged.state_dict(), network.state_dict()
        floats = [key for key, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[k] for k in floats], [theirs[k] for k in floats], 1 - decay)


def _averaged_weights(file: Path) -> dict[str, Tensor]:
    content = read_checkpoint(file)
    if "averaged" not in content:
        raise DataError(f"{file}: not a checkpoint of a pose network's training")
    weights: dict[str, Tensor] = content["averaged"]
    return weights
