"""Trains an HRNet on people: squared error of heatmaps, Muon, warm-up, cosine; small crops first, full ones last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from keytrack_ros import skeleton
from keytrack_ros.errors import DataError
from keytrack_ros.estimation.heatmaps import decode
from keytrack_ros.estimation.hrnet import build_hrnet
from keytrack_ros.poses import BoolArray, FloatArray, ImageArray, IntArray
from keytrack_ros.training.common.ahead import BatchesAhead
from keytrack_ros.training.common.export import NO_LICENCE
from keytrack_ros.training.common.log import Panel, sheet
from keytrack_ros.training.common.run import Part, Progress, TrainingRun
from keytrack_ros.training.common.setup import average_into, cosine_rate, open_optimiser, stepped_rate
from keytrack_ros.training.common.shares import source_shares
from keytrack_ros.training.pose import augment
from keytrack_ros.training.pose.data import People, backgrounds, load_people
from keytrack_ros.training.pose.export import export_pose
from keytrack_ros.training.pose.negatives import draw_background
from keytrack_ros.training.pose.options import PoseTrainOptions
from keytrack_ros.training.pose.start import start_weights
from keytrack_ros.training.pose.teacher import ask_teacher, taught_heatmaps, with_annotated

SURROUNDED = 0.9
"""A person whose box is at least this part of its image's width or height stands in a crop without surroundings."""
_BACKGROUND_SHARE = 0.6  # of such crops an image without people is put behind
_NEGATIVE_WEIGHT = 0.3
_NEGATIVES_SEEN = 256
_SCORES_KEPT = 0.95
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
    """One line of the log, of the averaged weights on crops of `width` pixels.

    `pckh`: PCKh@0.5 of held-back limbs, 0..1, mean of the sources. `rejected`: part of the background boxes whose mean
    score is lower than that of 95 % of the held-back people.
    """

    epoch: int
    step: int
    seconds: float
    width: int
    learning_rate: float
    loss: float
    pckh: float
    rejected: float


class PoseTraining(TrainingRun[PoseEpoch]):
    """One training run: network, averaged network, optimiser, log and checkpoint in a run folder.

    Args:
        people: see `load_people`.
        folder: run folder; `checkpoint.pt`, `log.csv` and a teacher's answers, `teacher.npz`, are written there.
        options: see `PoseTrainOptions`.
        resume: continue from the folder's checkpoint.

    Raises:
        DataError: the checkpoint is missing or belongs to other data or other options, or the one to start from is of
            another network.
        OptionError: CUDA on a machine without it.
        ModelError: there is no such teacher.
    """

    epoch_class = PoseEpoch
    panels = (
        Panel("squared error a heatmap", {"loss": "training"}),
        Panel(
            "held back",
            {"pckh": "PCKh@0.5 of limbs, mean of the sources", "rejected": "background below 95 % of the people"},
            percent=True,
        ),
    )
    stage = "width"

    def __init__(
        self,
        people: People,
        folder: Path,
        options: PoseTrainOptions,
        resume: bool = False,
    ) -> None:
        super().__init__(folder, options, {"data": people.fingerprint})
        self.options, self.people = options, people
        self._backgrounds = backgrounds(people)
        rows = people.rows(held_back=False)
        if not len(rows):
            raise DataError("there is nobody to train on")
        sources = sorted(set(people.sources[rows].tolist()))
        self._parts = [people.rows(held_back=False, source=source) for source in sources]
        self._shares = source_shares(sources, [len(part) for part in self._parts], options.source_shares)
        torch.manual_seed(options.seed)
        layout = torch.channels_last
        self.network = build_hrnet(options.variant, skeleton.COUNT).to(self.device, memory_format=layout)  # type: ignore[call-overload]
        self.averaged = build_hrnet(options.variant, skeleton.COUNT).to(self.device, memory_format=layout)  # type: ignore[call-overload]
        if options.start and not resume:
            self.network.load_state_dict(start_weights(Path(options.start), self.network))
        for part in self._frozen():
            part.requires_grad_(False)
        self.averaged.load_state_dict(self.network.state_dict())
        self.averaged.eval()
        self._optimiser = open_optimiser(options.optimiser, self.network, options.weight_decay)
        asked = None
        if options.teacher:
            asked = ask_teacher(people, options.teacher, folder / "teacher.npz", options.threads)
        self._answers = with_annotated(asked, people)
        if resume:
            self.restore()

    @classmethod
    def open(cls, data: Path, folder: Path, options: PoseTrainOptions, resume: bool = False) -> PoseTraining:
        """A run on the people of the folder `data`; see `load_people`."""
        return cls(load_people(data), folder, options, resume)

    @property
    def data_summary(self) -> str:
        known, held_back = (len(self.people.rows(part)) for part in (False, True))
        return f"{known} people to train on; {held_back} held back"

    def sample_sheet(self) -> ImageArray:
        return sheet([augment.draw_sample(sample) for sample in self.samples(self.options.steps - 1)], columns=8)

    def export(self) -> list[Path]:
        return export_pose(self.averaged, self.folder, self.options, self.options.licence or NO_LICENCE)

    def parts(self) -> Mapping[str, Part]:
        return {"network": self.network, "averaged": self.averaged, "optimiser": self._optimiser}

    def run(self, report: Callable[[Progress], None], stopped: Callable[[], bool] = lambda: False) -> None:
        """As `TrainingRun.run`; the next batches are prepared while the network trains on the last."""
        with BatchesAhead(self.batch, self.step, self.options.steps, self.options.loaders) as self._batches:
            super().run(report, stopped)

    def train_step(self) -> Mapping[str, float]:
        batch = self._batches.take()
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate(self.step)
        self.network.train()
        for part in self._frozen():
            part.eval()
        heatmaps = self._forward(self.network, batch.crops)
        loss = heatmap_loss(heatmaps, batch.targets.to(self.device), batch.weights.to(self.device))
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        # A short memory at first, or the average would keep the random weights.
        average_into(self.averaged, self.network, min(self.options.ema, (1 + self.step) / (10 + self.step)))
        return {"loss": loss.item()}

    def _rate(self, step: int) -> float:
        if self.options.milestones:
            return stepped_rate(step, self.options, self.options.milestone_steps)
        return cosine_rate(step, self.options)

    def _frozen(self) -> list[nn.Module]:
        """The parts that keep their weights and statistics."""
        network: Any = self.network
        return (
            [network.conv1, network.bn1, network.conv2, network.bn2, network.layer1] if self.options.frozen_stem else []
        )

    def validated(self, means: Mapping[str, float], seconds: float) -> PoseEpoch:
        size = self.options.size_at(self.step - 1)
        people = self.people
        sources = sorted(set(people.sources[people.rows(held_back=True)].tolist()))
        found = [self.validate(people.rows(True, source), size) for source in sources]
        known = [pckh for pckh, _ in found if pckh is not None]
        return PoseEpoch(
            epoch=len(self.log) + 1,
            step=self.step,
            seconds=seconds,
            width=size[0],
            learning_rate=self._rate(self.step - 1),
            loss=means["loss"],
            pckh=float(np.mean(known)) if known else float("nan"),
            rejected=self.rejected([score for _, scores in found for score in scores], size),
        )

    def rejected(self, scores: list[float], size: tuple[int, int]) -> float:
        """Part of the background boxes whose mean score is below the one that 95 % of the people's exceed."""
        rng = np.random.default_rng(0)
        drawn = [draw_background(self.people, True, rng) for _ in range(_NEGATIVES_SEEN)]
        nobody = [d for d in drawn if d is not None]
        if not scores or not nobody:
            return float("nan")
        nothing = np.zeros((skeleton.COUNT, 2), np.float32), np.zeros(skeleton.COUNT), np.zeros(skeleton.COUNT, bool)
        samples = [augment.plain_sample(d.image, d.box, *nothing, size) for d in nobody]
        limit = np.quantile(scores, 1 - _SCORES_KEPT)
        found = [self._decoded(samples[k : k + _CHUNK])[1] for k in range(0, len(samples), _CHUNK)]
        return float((np.concatenate(found).mean(1) < limit).mean())

    def batch(self, step: int) -> PoseBatch:
        """The batch of a step."""
        samples = self.samples(step)
        size = self.options.size_at(step)
        targets = np.stack([self._target(sample, size) for sample in samples])
        weights = np.stack([s.weights for s in samples])
        return PoseBatch(network_crops([s.crop for s in samples]), torch.from_numpy(targets), torch.from_numpy(weights))

    def _target(self, sample: augment.Sample, size: tuple[int, int]) -> FloatArray:
        """Heatmaps [15, h/4, w/4]: of the labels, or of these and the teacher."""
        sigma = self.options.sigma * size[1] / 256
        own: FloatArray = augment.heatmaps(sample.keypoints[None], sample.present[None], size, sigma)[0]
        if sample.taught is None:
            return own
        points, scores = sample.taught
        present = np.broadcast_to(sample.present, scores.shape)
        taught = taught_heatmaps(scores, augment.heatmaps(points, present, size, sigma))
        mixed = own + self.options.teacher_share * (taught - own)
        return np.where(np.isnan(taught), own, mixed).astype(np.float32)

    def samples(self, step: int) -> list[augment.Sample]:
        """The augmented people of a step, and crops without a person."""
        rng = np.random.default_rng(np.random.SeedSequence((self.options.seed, step)))
        negatives = int(rng.binomial(self.options.batch_size, self.options.negatives))
        counts = rng.multinomial(self.options.batch_size - negatives, self._shares)
        rows = np.concatenate([rng.choice(part, n) for part, n in zip(self._parts, counts, strict=True)])
        samples = [self._person(int(row), step, rng) for row in rows]
        return samples + [self._nobody(step, rng) for _ in range(negatives)]

    def _person(self, row: int, step: int, rng: np.random.Generator) -> augment.Sample:
        people, size = self.people, self.options.size_at(step)
        background = occluder = None
        image, box = people.image(row), people.boxes[row]
        labels = people.keypoints[row], people.weights[row], people.present[row]
        if self.options.augmentation == "hrnet":
            sample = augment.hrnet_sample(image, box, *labels, size, rng)
        else:
            alone = ((box[2:] - box[:2]) / image.shape[1::-1]).max() >= SURROUNDED
            if self._backgrounds and alone and rng.random() < _BACKGROUND_SHARE:
                background = self._backgrounds[int(rng.integers(len(self._backgrounds)))]
            if rng.random() < self.options.occluders:
                occluder = self._cut_out(rng)
            sample = augment.augmented_sample(image, box, *labels, size, rng, background, occluder)
        if self._answers is None or occluder is not None:  # the teacher has not seen the pasted person
            return sample
        return sample.with_answers(self._answers.points[row], self._answers.scores[row])

    def _nobody(self, step: int, rng: np.random.Generator) -> augment.Sample:
        """A crop without a person, augmented like others; a person without weight where none was found."""
        drawn = draw_background(self.people, False, rng)
        keypoints, present = np.zeros((skeleton.COUNT, 2), np.float32), np.zeros(skeleton.COUNT, bool)
        weights = np.full(skeleton.COUNT, _NEGATIVE_WEIGHT, np.float32)
        if drawn is None:
            row = int(self._parts[0][0])
            image, box, weights = self.people.image(row), self.people.boxes[row], 0 * weights
        else:
            image, box = drawn.image, drawn.box
        return augment.augmented_sample(image, box, keypoints, weights, present, self.options.size_at(step), rng)

    def _cut_out(self, rng: np.random.Generator) -> ImageArray | None:
        """Another person's box of the image; None where it is too small."""
        part = self._parts[int(rng.choice(len(self._parts), p=self._shares))]
        row = int(rng.choice(part))
        image = self.people.image(row)
        left, top, right, bottom = np.clip(self.people.boxes[row].astype(int), 0, [image.shape[1], image.shape[0]] * 2)
        return image[top:bottom, left:right] if min(right - left, bottom - top) >= 16 else None

    def _forward(self, network: nn.Module, crops: Tensor) -> Tensor:
        crops = crops.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            heatmaps: Tensor = network(crops)
        return heatmaps.float()

    def validate(self, rows: IntArray, size: tuple[int, int]) -> tuple[float | None, list[float]]:
        """PCKh@0.5 of the averaged network on the limbs of some people (None where no head is known), and mean scores.

        The head's size is the distance of head_bottom and head_top.
        """
        right = asked = 0
        scores: list[float] = []
        people = self.people
        for begin in range(0, len(rows), _CHUNK):
            samples = [
                augment.plain_sample(
                    people.image(r), people.boxes[r], people.keypoints[r], people.weights[r], people.present[r], size
                )
                for r in rows[begin : begin + _CHUNK]
            ]
            points, values = self._decoded(samples)
            scores += values.mean(1).tolist()
            found, known = pckh_hits(
                points,
                np.stack([s.keypoints for s in samples]),
                np.stack([s.present & (s.weights > 0) for s in samples]),
            )
            right, asked = right + int(found[:, _LIMBS].sum()), asked + int(known[:, _LIMBS].sum())
        return right / asked if asked else None, scores

    @torch.no_grad()
    def _decoded(self, samples: list[augment.Sample]) -> tuple[FloatArray, FloatArray]:
        """Keypoints [B, 15, 2], pixels of the crops, and scores [B, 15] of the averaged network."""
        maps = self._forward(self.averaged, network_crops([s.crop for s in samples])).cpu().numpy()
        points, scores = decode(maps, "quarter", 0.0)
        return (points + augment.OFFSET) * augment.STRIDE, scores


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
