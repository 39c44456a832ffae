"""Trains the person detector: collages, SimOTA, Muon with warm-up and a cosine, an average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from keytrack_ros.detection import yolox
from keytrack_ros.detection.nano import STRIDES, NanoDetector, to_rows
from keytrack_ros.errors import DataError
from keytrack_ros.inference.cards import DetectorCard
from keytrack_ros.inference.registry import find_model
from keytrack_ros.inference.torch_session import fold_batch_norms
from keytrack_ros.poses import FloatArray, ImageArray
from keytrack_ros.training.common.ahead import BatchesAhead
from keytrack_ros.training.common.export import NO_LICENCE
from keytrack_ros.training.common.log import Panel
from keytrack_ros.training.common.run import Part, Progress, TrainingRun
from keytrack_ros.training.common.setup import (
    average_into,
    averaged_weights,
    cosine_rate,
    exported_weights,
    open_optimiser,
)
from keytrack_ros.training.detector.data import LabelledImage, fingerprint, load_images
from keytrack_ros.training.detector.export import export_detector
from keytrack_ros.training.detector.loss import Targets, Taught, decode_maps, detector_loss
from keytrack_ros.training.detector.options import DetectorTrainOptions
from keytrack_ros.training.detector.samples import FILL, INPUT_MEAN, INPUT_STD, Sample, SampleMaker, draw_samples
from keytrack_ros.training.detector.scores import matched
from keytrack_ros.training.detector.teacher import DenseTeacher

LARGEST_GRADIENT = 10.0
NMS_IOU = 0.6
LOWEST_SCORE = 0.05
WORKING_SCORE = 0.4
"""Score from which on recall and precision are logged."""


@dataclass(frozen=True)
class DetectorEpoch:
    """One line of the log. Losses are means over the epoch; recall, precision and AP (IoU 0.5) of held-back images."""

    epoch: int
    step: int
    seconds: float
    size: int
    learning_rate: float
    score_loss: float
    box_loss: float
    recall: float
    precision: float
    average_precision: float


@dataclass(frozen=True)
class DetectorBatch:
    """The images of a step: [N, 3, S, S] float32 as the network takes them, labels, a teacher's answers."""

    images: Tensor
    targets: Targets
    taught: Taught | None


class DetectorTraining(TrainingRun[DetectorEpoch]):
    """One training run: network, average, optimiser, log and checkpoint in a run folder.

    Args:
        training: images to train on.
        validation: images of other scenes.
        folder: run folder; `checkpoint.pt` and `log.csv` are written there.
        options: see `DetectorTrainOptions`.
        resume: continue from the folder's checkpoint.
        teacher: detectors whose mean score and box of every cell are learned beside the labels; None = labels alone.

    Raises:
        DataError: no image to train or validate on shows a person, the checkpoint is missing or belongs to another
            run, or the one to start from is of another network.
        OptionError: CUDA on a machine without it.
    """

    epoch_class = DetectorEpoch
    panels = (
        Panel("loss", {"score_loss": "score", "box_loss": "box"}),
        Panel(
            "held-back images",
            {
                "average_precision": "AP at IoU 0.5",
                "recall": f"recall, score ≥ {WORKING_SCORE}",
                "precision": f"precision, score ≥ {WORKING_SCORE}",
            },
            percent=True,
        ),
    )
    stage = "size"

    def __init__(
        self,
        training: Sequence[LabelledImage],
        validation: Sequence[LabelledImage],
        folder: Path,
        options: DetectorTrainOptions,
        resume: bool = False,
        teacher: DenseTeacher | None = None,
    ) -> None:
        if not any(image.sure.any() for image in training) or not any(image.sure.any() for image in validation):
            raise DataError("no image to train on, or none to validate on, shows a person")
        data = {"training data": fingerprint(list(training)), "validation data": fingerprint(list(validation))}
        super().__init__(folder, options, {**data, "teacher": teacher is not None})
        self.options, self._teacher = options, teacher
        self.maker = SampleMaker(training, options.source_shares)
        chosen = np.linspace(0, len(validation) - 1, min(options.validation_images, len(validation)))
        self._validation = [validation[i] for i in chosen.round().astype(int)]
        torch.manual_seed(options.seed)
        network = NanoDetector()
        if not options.batch_norm:  # trains about a third faster, from good weights on
            fold_batch_norms(network.eval()).requires_grad_(True)  # the new biases, too
        if options.start.endswith(".onnx") and not resume:
            network.load_state_dict(exported_weights(Path(options.start), network))
        elif options.start and not resume:
            network.load_state_dict(averaged_weights(Path(options.start), network))
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part in [self.network.stem, *self.network.stages][: options.frozen_stages]:
            part.requires_grad_(False)
        self.averaged = copy.deepcopy(self.network).eval()
        self._optimiser = open_optimiser(options.optimiser, self.network, options.weight_decay)
        self._data = (training, validation)
        if resume:
            self.restore()

    @classmethod
    def open(cls, data: Path, folder: Path, options: DetectorTrainOptions, resume: bool = False) -> DetectorTraining:
        """A run on the images of the folder `data`; see `load_images`."""
        teacher = None
        if options.teacher:
            cards = [find_model(DetectorCard, name) for name in options.teacher.split(",")]
            teacher = DenseTeacher(cards, STRIDES, options.threads)
        return cls(*load_images(data), folder, options, resume, teacher)

    @property
    def data_summary(self) -> str:
        (images, people), (held_back, others) = (
            (len(part), sum(int(image.sure.sum()) for image in part)) for part in self._data
        )
        return f"{images} images with {people} people to train on; {held_back} images with {others} people held back"

    def sample_sheet(self) -> ImageArray:
        return draw_samples(self.maker, self.options.input_size, self.options.seed)

    def export(self) -> list[Path]:
        size = self.options.export_width, self.options.export_height
        licence = self.options.licence or NO_LICENCE
        return export_detector(self.averaged, self.folder, size, licence=licence, weight_bits=self.options.weight_bits)

    def parts(self) -> Mapping[str, Part]:
        return {"network": self.network, "averaged": self.averaged, "optimiser": self._optimiser}

    def run(self, report: Callable[[Progress], None], stopped: Callable[[], bool] = lambda: False) -> None:
        """As `TrainingRun.run`; the next batches are prepared while the network trains on the last."""
        with BatchesAhead(self.batch, self.step, self.options.steps, self.options.loaders) as self._batches:
            super().run(report, stopped)

    def batch(self, step: int) -> DetectorBatch:
        """The batch of a step, with the teacher's answers, on the CPU."""
        size = image_size(step, self.options)
        samples = [
            self.maker.sample(size, np.random.default_rng((self.options.seed, step, number)))
            for number in range(self.options.batch_size)
        ]
        pixels = [sample.pixels for sample in samples]
        taught = None
        if self._teacher is not None:
            taught = Taught(*(torch.from_numpy(part) for part in self._teacher(pixels)))
        return DetectorBatch(network_images(pixels, torch.device("cpu")), padded(samples), taught)

    def train_step(self) -> Mapping[str, float]:
        batch = self._batches.take()
        for group in self._optimiser.param_groups:
            group["lr"] = cosine_rate(self.step, self.options)
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            maps = self.network.maps(batch.images.to(self.device))
        targets, taught = batch.targets.to(self.device), batch.taught and batch.taught.to(self.device)
        score_loss, box_loss = detector_loss(decode_maps(maps, STRIDES), targets, taught, self.options.teacher_share)
        self._optimiser.zero_grad(set_to_none=True)
        (score_loss + box_loss).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self._optimiser.step()
        # A short memory at first, or the average would keep the random weights.
        memory = min(self.options.average_steps, 1 + (1 + self.step) / 5)
        average_into(self.averaged, self.network, 1 - 1 / memory)
        return {"score_loss": score_loss.item(), "box_loss": box_loss.item()}

    def validated(self, means: Mapping[str, float], seconds: float) -> DetectorEpoch:
        recall, precision, average_precision = self.validate()
        return DetectorEpoch(
            epoch=len(self.log) + 1,
            step=self.step,
            seconds=seconds,
            size=image_size(self.step - 1, self.options),
            learning_rate=cosine_rate(self.step - 1, self.options),
            score_loss=means["score_loss"],
            box_loss=means["box_loss"],
            recall=recall,
            precision=precision,
            average_precision=average_precision,
        )

    def validate(self) -> tuple[float, float, float]:
        """Recall and precision at `WORKING_SCORE`, and AP, of the averaged weights on the held-back images."""
        found = [self._detect(image.pixels) for image in self._validation]
        result = matched(found, [(image.boxes, image.sure) for image in self._validation])
        recall, precision, _ = result.at(WORKING_SCORE)
        return recall, precision, result.average_precision()

    @torch.no_grad()
    def _detect(self, pixels: ImageArray) -> tuple[FloatArray, FloatArray]:
        side = self.options.input_size
        boxed, scale = yolox.letterbox(pixels, (side, side), FILL)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            maps = self.averaged.maps(network_images([boxed], self.device))
        rows = to_rows([level.float() for level in maps])[0].cpu().numpy()
        boxes, scores = yolox.decode(rows, *yolox.cell_grid((side, side), STRIDES), person_class=0)
        height, width = pixels.shape[:2]
        boxes = np.clip(boxes / scale, 0, [width, height, width, height])
        kept = np.flatnonzero((scores >= LOWEST_SCORE) & ((boxes[:, 2:] - boxes[:, :2]).min(1) >= 1))
        boxes, scores = boxes[kept], scores[kept]
        rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        best = np.ravel(cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0.0, NMS_IOU)).astype(int)
        return boxes[best], scores[best]


def network_images(images: Sequence[ImageArray], device: torch.device) -> Tensor:
    """N BGR images [S, S, 3] uint8 → [N, 3, S, S] float32 RGB, channels last in memory, normalised."""
    batch = torch.from_numpy(np.stack(images)[..., ::-1].copy()).to(device)  # [N, S, S, 3]
    return ((batch.float() - INPUT_MEAN) / INPUT_STD).permute(0, 3, 1, 2)


def padded(samples: Sequence[Sample]) -> Targets:
    """The boxes of a batch, padded to the largest number in it."""
    largest = max(len(sample.boxes) for sample in samples)
    boxes = np.zeros((len(samples), largest, 4), np.float32)
    people, doubtful = np.zeros((2, len(samples), largest), bool)
    for row, sample in enumerate(samples):
        count = len(sample.boxes)
        boxes[row, :count] = sample.boxes
        people[row, :count] = sample.sure
        doubtful[row, :count] = ~sample.sure
    return Targets(*(torch.from_numpy(array) for array in (boxes, people, doubtful)))


def image_size(step: int, options: DetectorTrainOptions) -> int:
    """Side of the images of a step: `first_size` for half of the run, `input_size` for the last 15 % of it, and in
    steps of 32 from one to the other in between."""
    growth = min(max((step / options.steps - 0.5) / 0.35, 0.0), 1.0)
    return options.first_size + 32 * math.floor(growth * (options.input_size - options.first_size) / 32)
