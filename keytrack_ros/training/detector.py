"""Trains the person detector: collages, SimOTA, AdamW with warm-up and a cosine, an average of the weights.

All chance of step k comes from (seed, k) alone, so that a resumed run walks the same curve as one never stopped.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from keytrack_ros.detection import yolox
from keytrack_ros.detection.nano import STRIDES, NanoDetector, to_rows
from keytrack_ros.errors import DataError
from keytrack_ros.poses import FloatArray, ImageArray
from keytrack_ros.training.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from keytrack_ros.training.detector_data import LabelledImage, fingerprint
from keytrack_ros.training.detector_log import DetectorEpoch, write_detector_log
from keytrack_ros.training.detector_loss import Targets, Taught, decode_maps, detector_loss
from keytrack_ros.training.detector_options import FIT_FOR_ANY_DETECTOR_RUN, DetectorTrainOptions
from keytrack_ros.training.detector_samples import FILL, INPUT_MEAN, INPUT_STD, Sample, SampleMaker
from keytrack_ros.training.detector_scores import matched
from keytrack_ros.training.detector_teacher import DenseTeacher
from keytrack_ros.training.setup import parameter_groups, training_device

LARGEST_GRADIENT = 10.0
NMS_IOU = 0.6
LOWEST_SCORE = 0.05
WORKING_SCORE = 0.4
"""Score from which on recall and precision are logged."""


@dataclass(frozen=True)
class DetectorProgress:
    """State of a run after a step; losses are means since the epoch began."""

    step: int
    epoch: int
    score_loss: float
    box_loss: float
    images_per_second: float


class DetectorTraining:
    """One training run: network, average, optimiser, log and checkpoint in a run folder.

    Args:
        training: images to learn from.
        validation: images of other clips.
        folder: run folder; `checkpoint.pt` and `log.csv` go there.
        options: see `DetectorTrainOptions`.
        resume: continue from the folder's checkpoint.
        teacher: whose score and box of every cell are learned beside the labels; None = labels alone.

    Raises:
        DataError: there is nothing to train or validate on, the checkpoint is missing or belongs to another run, or the
            one to start from is none of such a network.
        OptionError: CUDA was asked for and there is none.
    """

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
        self.options, self.folder, self._teacher = options, folder, teacher
        self.device = training_device(options.device)
        if options.threads:
            torch.set_num_threads(options.threads)
            cv2.setNumThreads(options.threads)
        self.maker = SampleMaker(training)
        chosen = np.linspace(0, len(validation) - 1, min(options.validation_images, len(validation)))
        self._validation = [validation[i] for i in chosen.round().astype(int)]
        torch.manual_seed(options.seed)
        self.network = NanoDetector().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if options.start:
            self.network.load_state_dict(_averaged_weights(Path(options.start)))
        self.average = copy.deepcopy(self.network).eval()
        self._optimiser = torch.optim.AdamW(parameter_groups(self.network, options.weight_decay), fused=True)
        self.step = 0
        self.log: list[DetectorEpoch] = []
        self._seconds = 0.0
        self._score_loss = self._box_loss = 0.0
        self._configuration = {
            **{key: value for key, value in asdict(options).items() if key not in FIT_FOR_ANY_DETECTOR_RUN},
            "teacher": teacher is not None,
            "training data": fingerprint(list(training)),
            "validation data": fingerprint(list(validation)),
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

    def run(self, report: Callable[[DetectorProgress], None], stopped: Callable[[], bool] = lambda: False) -> None:
        """Trains to the end, or until `stopped()` is true after a step; saves a checkpoint in either case.

        `report` is called after every step.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = time.monotonic()
        while not self.finished and not stopped():
            began = time.monotonic()
            self._train_step()
            self._seconds += time.monotonic() - began
            progress = self._progress(time.monotonic() - began)
            if self.step % self.options.steps_per_epoch == 0:
                self._end_epoch()
                self.save()
                saved = time.monotonic()
            elif time.monotonic() - saved > 60 * self.options.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
            report(progress)
        self.save()

    def save(self) -> None:
        """Writes the checkpoint, all of it or none."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "seconds": self._seconds,
            "losses": [self._score_loss, self._box_loss],
            "log": [asdict(epoch) for epoch in self.log],
        }
        save_checkpoint(self.checkpoint, self._configuration, state)

    def _restore(self) -> None:
        state = load_checkpoint(self.checkpoint, self._configuration)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self._seconds = state["step"], state["seconds"]
        self._score_loss, self._box_loss = state["losses"]
        self.log = [DetectorEpoch(**row) for row in state["log"]]

    def _train_step(self) -> None:
        size = image_size(self.step, self.options)
        samples = [
            self.maker.sample(size, np.random.default_rng((self.options.seed, self.step, number)))
            for number in range(self.options.batch_size)
        ]
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.options)
        self.network.train()
        pixels = [sample.pixels for sample in samples]
        images = network_images(pixels, self.device)
        taught = None
        if self._teacher is not None:
            taught = Taught(*(torch.from_numpy(part).to(self.device) for part in self._teacher(pixels)))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            maps = self.network.maps(images)
        score_loss, box_loss = detector_loss(decode_maps(maps, STRIDES), padded(samples, self.device), taught)
        self._optimiser.zero_grad(set_to_none=True)
        (score_loss + box_loss).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self._optimiser.step()
        self.step += 1
        self._average_weights()
        self._score_loss += score_loss.item()
        self._box_loss += box_loss.item()

    @torch.no_grad()
    def _average_weights(self) -> None:
        # A short memory at first: the weights of the beginning are worth nothing.
        keep = 1 - 1 / min(self.options.average_steps, 1 + self.step / 5)
        for mean, now in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - keep)
            else:
                mean.copy_(now)

    def _end_epoch(self) -> None:
        recall, precision, average_precision = self.validate()
        steps = self.options.steps_per_epoch
        self.log.append(
            DetectorEpoch(
                epoch=len(self.log) + 1,
                step=self.step,
                seconds=round(self._seconds, 1),
                size=image_size(self.step - 1, self.options),
                learning_rate=learning_rate(self.step - 1, self.options),
                score_loss=self._score_loss / steps,
                box_loss=self._box_loss / steps,
                recall=recall,
                precision=precision,
                average_precision=average_precision,
            )
        )
        self._score_loss = self._box_loss = 0.0
        write_detector_log(self.folder / "log.csv", self.log)

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
            maps = self.average.maps(network_images([boxed], self.device))
        rows = to_rows([level.float() for level in maps])[0].cpu().numpy()
        boxes, scores = yolox.decode(rows, *yolox.cell_grid((side, side), STRIDES), person_class=0)
        height, width = pixels.shape[:2]
        boxes = np.clip(boxes / scale, 0, [width, height, width, height])
        kept = np.flatnonzero((scores >= LOWEST_SCORE) & ((boxes[:, 2:] - boxes[:, :2]).min(1) >= 1))
        boxes, scores = boxes[kept], scores[kept]
        rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        best = np.ravel(cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0.0, NMS_IOU)).astype(int)
        return boxes[best], scores[best]

    def _progress(self, seconds: float) -> DetectorProgress:
        in_epoch = (self.step - 1) % self.options.steps_per_epoch + 1
        return DetectorProgress(
            step=self.step,
            epoch=(self.step - 1) // self.options.steps_per_epoch + 1,
            score_loss=self._score_loss / in_epoch,
            box_loss=self._box_loss / in_epoch,
            images_per_second=self.options.batch_size / max(seconds, 1e-9),
        )


def network_images(images: Sequence[ImageArray], device: torch.device) -> Tensor:
    """N BGR images [S, S, 3] uint8 → [N, 3, S, S] float32 RGB, channels last in memory, normalised."""
    batch = torch.from_numpy(np.stack(images)[..., ::-1].copy()).to(device)  # [N, S, S, 3]
    return ((batch.float() - INPUT_MEAN) / INPUT_STD).permute(0, 3, 1, 2)


def padded(samples: Sequence[Sample], device: torch.device) -> Targets:
    """The boxes of a batch, padded to the largest number in it."""
    most = max(len(sample.boxes) for sample in samples)
    boxes = np.zeros((len(samples), most, 4), np.float32)
    people, doubtful = np.zeros((2, len(samples), most), bool)
    for row, sample in enumerate(samples):
        count = len(sample.boxes)
        boxes[row, :count] = sample.boxes
        people[row, :count] = sample.sure
        doubtful[row, :count] = ~sample.sure
    return Targets(*(torch.from_numpy(array).to(device) for array in (boxes, people, doubtful)))


def _averaged_weights(file: Path) -> dict[str, Tensor]:
    content = read_checkpoint(file)
    if "average" not in content:
        raise DataError(f"{file}: not a checkpoint of a detector's training")
    weights: dict[str, Tensor] = content["average"]
    return weights


def learning_rate(step: int, options: DetectorTrainOptions) -> float:
    """Of step 0, 1, …: linear warm-up to `options.learning_rate`, then half a cosine to a hundredth of it."""
    warm = round(options.warm_up * options.steps)
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    part = (step - warm) / max(options.steps - warm, 1)
    return options.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2)


def image_size(step: int, options: DetectorTrainOptions) -> int:
    """Side of the images of a step: `first_size` for half of the run, `input_size` for the last 15 % of it, and in
    steps of 32 from one to the other in between."""
    growth = min(max((step / options.steps - 0.5) / 0.35, 0.0), 1.0)
    return options.first_size + 32 * math.floor(growth * (options.input_size - options.first_size) / 32)
