"""How the detector is trained: every option with its default, range and description."""

from __future__ import annotations

from dataclasses import dataclass

from keytrack_ros.errors import OptionError
from keytrack_ros.options import Options, option
from keytrack_ros.training.common.shares import parsed_shares


@dataclass(frozen=True)
class DetectorTrainOptions(Options):
    """How the person detector is trained.

    The defaults are meant for one core of a CPU with bfloat16: about an hour where the core is free.
    """

    epochs: int = option(23, "epochs; each ends with a validation and a checkpoint", at_least=1, at_most=10_000)
    steps_per_epoch: int = option(500, "batches in an epoch", at_least=1, at_most=1_000_000)
    batch_size: int = option(16, "images in a batch", at_least=1, at_most=4096)
    first_size: int = option(256, "side of the training images in the first half, pixels", at_least=64, at_most=2048)
    input_size: int = option(416, "side of the training images at the end, pixels", at_least=64, at_most=2048)
    export_width: int = option(
        608,
        "width of the exported network's input, pixels; width times height is what cameras of other shapes get, too",
        at_least=64,
        at_most=4096,
    )
    export_height: int = option(448, "its height, pixels", at_least=64, at_most=4096)
    optimiser: str = option("muon", "optimiser; muon needs the fewest examples", choices=("adamw", "muon", "adam"))
    learning_rate: float = option(1.5e-3, "highest learning rate", at_least=1e-7, at_most=1.0)
    warm_up: float = option(0.03, "part of all steps in which the learning rate rises", at_least=0.0, at_most=0.9)
    weight_decay: float = option(0.03, "on convolutions only", at_least=0.0, at_most=1.0)
    average_steps: int = option(
        1000, "steps over which the weights are averaged for validation and export", at_least=1, at_most=10_000_000
    )
    shares: str = option(
        "", "SOURCE=SHARE,… how often images of a source are drawn; other sources share the rest by their size"
    )
    teacher: str = option(
        "",
        "NAME,… detectors (names or model files) whose mean score and box of every cell are targets beside the labels; "
        "the network itself may be one; empty = labels alone",
    )
    teacher_share: float = option(0.6, "of the targets that is the teachers'", at_least=0.0, at_most=1.0)
    loaders: int = option(1, "batches that are prepared ahead, in as many threads", at_least=1, at_most=64)
    batch_norm: bool = option(
        True, "no: batch normalisation is folded into the convolutions, for fine-tuning; a third faster"
    )
    frozen_stages: int = option(
        0,
        "first parts of the backbone that keep their weights (1 = the stem); fine-tuning is faster",
        at_least=0,
        at_most=5,
    )
    start: str = option(
        "",
        "checkpoint.pt of a run whose averaged weights this one begins with, or an exported .onnx (with "
        "--no-batch-norm); empty = random weights",
    )
    validation_images: int = option(
        400, "images in a validation, evenly spaced among those held back", at_least=1, at_most=1_000_000
    )
    seed: int = option(1, "of weights, images and augmentation", at_least=0, at_most=2**31 - 1)
    precision: str = option(
        "float32",
        "of convolutions; bfloat16 is faster where the processor knows it",
        choices=("float32", "bfloat16"),
    )
    threads: int = option(0, "cores that torch may use; 0 = all", at_least=0, at_most=1024)
    device: str = option("auto", "auto takes a GPU where there is one", choices=("auto", "cpu", "cuda"))
    licence: str = option("", "terms of the weights, for the model file; those of the data and teachers that were used")
    weight_bits: int = option(
        16,
        "bits of a stored weight, 8, 16 or 32; 8 halves the file, with a factor for each channel",
        at_least=8,
        at_most=32,
    )
    checkpoint_minutes: float = option(2.0, "time between checkpoints", at_least=0.01, at_most=1440.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("first_size", "input_size", "export_width", "export_height"):
            if getattr(self, name) % 32:
                raise OptionError(f"{name}: {getattr(self, name)} is not a multiple of 32")
        if self.first_size > self.input_size:
            raise OptionError(f"first_size: {self.first_size} is larger than input_size, {self.input_size}")

        if self.start.endswith(".onnx") and self.batch_norm:
            raise OptionError("start: an exported network has no batch normalisation; add --no-batch-norm")
        if self.weight_bits not in (8, 16, 32):
            raise OptionError(f"weight_bits: {self.weight_bits} is none of 8, 16 and 32")
        self.source_shares  # noqa: B018, raises for what it cannot read

    @property
    def source_shares(self) -> dict[str, float]:
        """`shares` by source. Raises OptionError for what it cannot read."""
        return parsed_shares(self.shares)

    @property
    def steps(self) -> int:
        """Batches of the whole run."""
        return self.epochs * self.steps_per_epoch
