"""How the pose network is trained: every option with its default, range and description."""

from __future__ import annotations

from dataclasses import dataclass

from keytrack_ros.errors import OptionError
from keytrack_ros.options import Options, option
from keytrack_ros.training.common.shares import parsed_shares


@dataclass(frozen=True)
class PoseTrainOptions(Options):
    """How an HRNet is trained.

    The defaults are meant for a 2-core CPU with bfloat16: the small network sees about 120 people a second at
    256×192, and 400 at the half resolution with which it begins.
    """

    variant: str = option("w16_small", "network", choices=("w16_small", "w24_small", "w32", "w48"))
    width: int = option(192, "width of the crop, pixels; a multiple of 32", at_least=32, at_most=768)
    height: int = option(256, "height of the crop, pixels; a multiple of 32", at_least=32, at_most=1024)
    half_size_epochs: int = option(14, "first epochs, at half width and height", at_least=0, at_most=10_000)
    epochs: int = option(25, "epochs in all; each ends with a validation and a checkpoint", at_least=1, at_most=10_000)
    samples_per_epoch: int = option(16_384, "people in an epoch", at_least=1, at_most=10_000_000)
    batch_size: int = option(64, "people in a batch", at_least=2, at_most=65_536)
    optimiser: str = option(
        "muon",
        "optimiser; muon needs the fewest examples, adam is that of the HRNet papers",
        choices=("adamw", "muon", "adam"),
    )
    learning_rate: float = option(2e-3, "highest learning rate", at_least=1e-7, at_most=1.0)
    milestones: str = option(
        "", "epochs, comma-separated, after which the learning rate is a tenth of what it was; empty = a cosine"
    )
    warm_up: float = option(0.02, "part of all steps in which the learning rate rises", at_least=0.0, at_most=0.9)
    weight_decay: float = option(0.01, "on convolutions only", at_least=0.0, at_most=1.0)
    sigma: float = option(2.0, "of the target's Gaussian, heatmap pixels at 256×192", at_least=0.5, at_most=10.0)
    ema: float = option(0.999, "decay per step of the averaged weights, which are validated and kept", at_most=0.99999)
    shares: str = option(
        "", "SOURCE=SHARE,… how often people of a source are drawn; other sources share the rest by their size"
    )
    negatives: float = option(0.08, "part of a batch that shows no person", at_least=0.0, at_most=0.9)
    occluders: float = option(
        0.2,
        "part of the crops over which somebody else is pasted, whose joints are background",
        at_least=0.0,
        at_most=1.0,
    )
    augmentation: str = option(
        "strong",
        "hrnet = turn by up to 90°, scale by up to 35 %, mirror, half body, as HRNet was trained; strong = other "
        "ranges, and shift, truncation, occlusion, blur, colour besides",
        choices=("strong", "hrnet"),
    )
    loaders: int = option(1, "batches that are prepared ahead, in as many threads", at_least=1, at_most=64)
    frozen_stem: bool = option(
        False, "the layers before the first branch keep their weights; fine-tuning is a third faster"
    )
    start: str = option(
        "",
        "checkpoint.pt of a run, whose averaged weights are used, the .pt of an exported network (either may be of a "
        "narrower one), or an HRNet checkpoint (.pth, of ImageNet, COCO or PoseTrack), whose backbone is used; empty = "
        "random weights",
    )
    teacher: str = option(
        "",
        "name or model file of a pose network whose answers, in three sizes of the box and mirrored, are targets "
        "beside the labels; it may be the network itself; empty = only answers that the annotations hold, if any",
    )
    teacher_share: float = option(0.5, "of the targets that is the teachers'", at_least=0.0, at_most=1.0)
    seed: int = option(1, "of weights, samples and augmentation", at_least=0, at_most=2**31 - 1)
    precision: str = option(
        "float32",
        "of convolutions; bfloat16 is three times as fast where the processor knows it",
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
    checkpoint_minutes: float = option(3.0, "time between checkpoints", at_least=0.01, at_most=1440.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        multiple = 64 if self.half_size_epochs else 32
        for name, value in (("width", self.width), ("height", self.height)):
            if value % multiple:
                raise OptionError(f"{name}: {value} is not a multiple of {multiple}, which the network's strides need")

        if self.weight_bits not in (8, 16, 32):
            raise OptionError(f"weight_bits: {self.weight_bits} is none of 8, 16 and 32")
        self.source_shares  # noqa: B018, raises for what it cannot read
        self.milestone_steps  # noqa: B018, the same

    @property
    def milestone_steps(self) -> list[int]:
        """Steps after which the learning rate falls. Raises OptionError for what cannot be read."""
        try:
            return [int(epoch) * self.steps_per_epoch for epoch in filter(None, self.milestones.split(","))]
        except ValueError:
            raise OptionError(f"milestones: '{self.milestones}' is not a list of epochs, as in 170,200") from None

    @property
    def source_shares(self) -> dict[str, float]:
        """`shares` by source. Raises OptionError for what it cannot read."""
        return parsed_shares(self.shares)

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.samples_per_epoch // self.batch_size)

    @property
    def steps(self) -> int:
        """Batches of the whole run."""
        return self.epochs * self.steps_per_epoch

    def size_at(self, step: int) -> tuple[int, int]:
        """Width and height of the crops of a step."""
        if step < self.half_size_epochs * self.steps_per_epoch:
            return self.width // 2, self.height // 2
        return self.width, self.height
