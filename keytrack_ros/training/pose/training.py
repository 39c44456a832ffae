"""Trains an HRNet on people: squared error of heatmaps, Muon, warm-up, cosine; small crops first, full ones last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from keytrack_ros import skeleton
from keytrack_ros.estimation.heatmaps import decode
from keytrack_ros.estimation.hrnet import build_hrnet
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray, IntArray
from keytrack_ros.training.common.log import Panel, sheet
from keytrack_ros.training.common.run import Part, Progress, TrainingRun
from keytrack_ros.training.common.setup import average_into, averaged_weights, cosine_rate, open_optimiser
from keytrack_ros.training.pose import augment
from keytrack_ros.training.pose.data import COCO, FRAMES, LSPET, People, backgrounds, load_people
from keytrack_ros.training.pose.export import export_pose
from keytrack_ros.training.pose.options import PoseTrainOptions

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
class PoseEpoch:
    """One line of the log. PCKh@0.5 of held-back people, 0..1, of the averaged weights on crops of `width` pixels."""

    epoch: int
    step: int
    seconds: float
    width: int
    learning_rate: float
    loss: float
    pckh_lspet: float
    pckh_frames: float


class PoseTraining(TrainingRun[PoseEpoch]):
    """One training run: network, averaged network, optimiser, log and checkpoint in a run folder.

    Args:
        people: see `load_people`.
        backgrounds: images without people.
        folder: run folder; `checkpoint.pt` and `log.csv` are written there.
        options: see `PoseTrainOptions`.
        resume: continue from the folder's checkpoint.

    Raises:
        DataError: the checkpoint is missing or belongs to other data or other options, or the one to start from is of
            another network.
        OptionError: CUDA on a machine without it.
    """

    epoch_class = PoseEpoch
    panels = (
        Panel("squared error a heatmap", {"loss": "training"}),
        Panel(
            "PCKh@0.5 of held-back limbs",
            {"pckh_lspet": "LSPET", "pckh_frames": "frames (teachers' labels)"},
            percent=True,
        ),
    )
    stage = "width"

    def __init__(
        self,
        people: People,
        backgrounds: list[ImageArray],
        folder: Path,
        options: PoseTrainOptions,
        resume: bool = False,
    ) -> None:
        super().__init__(folder, options, {"data": people.fingerprint})
        self.options, self.people = options, people
        self._backgrounds = backgrounds
        torch.manual_seed(options.seed)
        layout = torch.channels_last
        self.network = build_hrnet(options.variant, skeleton.COUNT).to(self.device, memory_format=layout)  # type: ignore[call-overload]
        self.averaged = build_hrnet(options.variant, skeleton.COUNT).to(self.device, memory_format=layout)  # type: ignore[call-overload]
        if options.start and not resume:
            self.network.load_state_dict(averaged_weights(Path(options.start), self.network))
        self.averaged.load_state_dict(self.network.state_dict())
        self.averaged.eval()
        self._optimiser = open_optimiser(options.optimiser, self.network, options.weight_decay)
        self._coming: Future[PoseBatch] | None = None
        if resume:
            self.restore()

    @classmethod
    def open(cls, data: Path, folder: Path, options: PoseTrainOptions, resume: bool = False) -> PoseTraining:
        """A run on the people of the folder `data`; see `load_people`."""
        return cls(load_people(data), backgrounds(data), folder, options, resume)

    @property
    def data_summary(self) -> str:
        known, held_back = (len(self.people.rows(part)) for part in (False, True))
        return f"{known} people to train on; {held_back} held back"

    def sample_sheet(self) -> ImageArray:
        return sheet([augment.draw_sample(sample) for sample in self.samples(self.options.steps - 1)], columns=8)

    def export(self) -> list[Path]:
        return export_pose(self.averaged, self.folder, self.options)

    def parts(self) -> Mapping[str, Part]:
        return {"network": self.network, "averaged": self.averaged, "optimiser": self._optimiser}

    def run(self, report: Callable[[Progress], None], stopped: Callable[[], bool] = lambda: False) -> None:
        """As `TrainingRun.run`; the next batch is prepared while the network trains on the last."""
        with ThreadPoolExecutor(1) as self._pool:
            self._coming = None
            super().run(report, stopped)

    def train_step(self) -> Mapping[str, float]:
        batch = self._next_batch()
        for group in self._optimiser.param_groups:
            group["lr"] = cosine_rate(self.step, self.options)
        self.network.train()
        heatmaps = self._forward(self.network, batch.crops)
        loss = heatmap_loss(heatmaps, batch.targets.to(self.device), batch.weights.to(self.device))
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        # A short memory at first, or the average would keep the random weights.
        average_into(self.averaged, self.network, min(self.options.ema, (1 + self.step) / (10 + self.step)))
        return {"loss": loss.item()}

    def validated(self, means: Mapping[str, float], seconds: float) -> PoseEpoch:
        size, nothing = self.options.size_at(self.step - 1), float("nan")
        lspet = self.validate(self.people.rows(True, LSPET), size)
        frames = self.validate(self.people.rows(True, FRAMES), size)
        return PoseEpoch(
            epoch=len(self.log) + 1,
            step=self.step,
            seconds=seconds,
            width=size[0],
            learning_rate=cosine_rate(self.step - 1, self.options),
            loss=means["loss"],
            pckh_lspet=lspet if lspet is not None else nothing,
            pckh_frames=frames if frames is not None else nothing,
        )

    def batch(self, step: int) -> PoseBatch:
        """The batch of a step."""
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
        rng = np.random.default_rng(np.random.SeedSequence((self.options.seed, step)))
        people, size = self.people, self.options.size_at(step)
        parts = {source: people.rows(held_back=False, source=source) for source in _SHARES}
        shares = np.array([_SHARES[source] if len(rows) else 0 for source, rows in parts.items()])
        counts = rng.multinomial(self.options.batch_size, shares / shares.sum())
        rows = np.concatenate([rng.choice(p, n) for p, n in zip(parts.values(), counts, strict=True) if n])
        samples = []
        for row in rows:
            background = None
            if self._backgrounds and people.sources[row] == LSPET and rng.random() < _BACKGROUND_SHARE:
                background = self._backgrounds[rng.integers(len(self._backgrounds))]
            samples.append(
                augment.augmented_sample(
                    people.image(row),
                    people.boxes[row],
                    people.keypoints[row],
                    people.weights[row],
                    people.present[row],
                    size,
                    rng,
                    background,
                )
            )
        return samples

    def _next_batch(self) -> PoseBatch:
        coming = self._coming or self._pool.submit(self.batch, self.step)
        following = self.step + 1
        batch = coming.result()
        self._coming = self._pool.submit(self.batch, following) if following < self.options.steps else None
        return batch

    def _forward(self, network: nn.Module, crops: Tensor) -> Tensor:
        crops = crops.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            heatmaps: Tensor = network(crops)
        return heatmaps.float()

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


def heatmap_loss(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Squared error, summed over a heatmap's pixels, weighted mean over keypoints.

    Args:
        heatmaps, targets: [B, 15, h, w].
        weights: [B, 15].
    """
    error = (heatmaps - targets).square().sum((2, 3))
    return (error * weights).sum() / weights.sum().clamp_min(1e-6)


def pckh_hits(points: FloatArray, ground_truth: FloatArray, known: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Which keypoints lie within half a head size of the ground truth (PCKh@0.5), and which count.

    Args:
        points, ground_truth: [N, 15, 2].
        known: [N, 15] bool; people whose head is not known are left out.

    Returns two [N, 15] bool arrays.
    """
    head = np.linalg.norm(ground_truth[:, _HEAD_BOTTOM] - ground_truth[:, _HEAD_TOP], axis=1)
    counts = known & (known[:, _HEAD_BOTTOM] & known[:, _HEAD_TOP] & (head > 0))[:, None]
    return counts & (np.linalg.norm(points - ground_truth, axis=2) <= 0.5 * head[:, None]), counts


def network_crops(crops: list[ImageArray]) -> Tensor:
    """B crops [h, w, 3] uint8 BGR as the network's input [B, 3, h, w] float32."""
    rgb = torch.from_numpy(np.stack(crops)).flip(3).float()
    return rgb.sub_(torch.tensor(augment.MEAN)).div_(torch.tensor(augment.STD)).permute(0, 3, 1, 2)
