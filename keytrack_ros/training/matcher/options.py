"""How the matcher is trained: every option with its default, range and description."""

from __future__ import annotations

from dataclasses import dataclass

from keytrack_ros.errors import OptionError
from keytrack_ros.matching.tokens import EMBEDDINGS, SEGMENT_VARIANTS
from keytrack_ros.options import Options, Value, option

CHANGEABLE = ("threads", "device", "checkpoint_minutes", "prior", "half", "licence")
"""Options that may change when a run is resumed: how fast and where, or what is done after the last step."""

RECIPES: dict[str, dict[str, Value]] = {
    "default": {},
    "pairs": {
        "input": "pairs",
        "epochs": 14,
        "steps_per_epoch": 1000,
        "batch_size": 256,
        "learning_rate": 1e-3,
        "warm_up": 0.05,
        "gradient_limit": 0.0,
    },
    "paper": {
        "input": "pairs",
        "epochs": 25,
        "steps_per_epoch": 3000,
        "batch_size": 32,
        "learning_rate": 1e-4,
        "warm_up": 0.01,
        "gradient_limit": 0.0,
        "largest_stride": 1,
        "augmentation": "views",
    },
}
"""Values in which a recipe differs from the defaults of `TrainOptions`.

`default` trains the track network, `pairs` Pose Entailment of the paper in the same time; `paper` does so as written in
A.4 (AdamW, 1e-4, warm-up 1 %, linear to 0, 25 epochs, batches of 32, balanced classes, N(0, 0.02), dropout 0.1), with
gaps of 1 … δ frames of the videos as they are; an epoch is 96,000 pairs, about one for each two poses of the data.
"""


@dataclass(frozen=True)
class TrainOptions(Options):
    """How the matcher is trained. The defaults are the recipe `default`; see `RECIPES`."""

    recipe: str = option("default", "sets the other options, unless they are named", choices=tuple(RECIPES))
    input: str = option(
        "tracks",
        "what the network compares a pose with: a track, or one pose as in the paper",
        choices=("tracks", "pairs"),
    )
    epochs: int = option(9, "epochs; each ends with a validation and a checkpoint", at_least=1, at_most=10_000)
    steps_per_epoch: int = option(100, "batches in an epoch", at_least=1, at_most=1_000_000)
    batch_size: int = option(48, "scenes in a batch, or pairs, half of them one person", at_least=2, at_most=65_536)
    learning_rate: float = option(1.5e-3, "highest learning rate", at_least=1e-7, at_most=1.0)
    warm_up: float = option(0.15, "part of all steps in which the learning rate rises", at_least=0.0, at_most=0.9)
    weight_decay: float = option(0.01, "AdamW's, on matrices only", at_least=0.0, at_most=1.0)
    gradient_limit: float = option(
        1.0, "longer gradients are cut to this norm; 0 = none are", at_least=0.0, at_most=1e6
    )
    dropout: float = option(0.1, "dropout of the network", at_least=0.0, at_most=0.9)
    memory_frames: int = option(4, "pairs: δ, the largest gap between two poses", at_least=1, at_most=16)
    segments: str = option("distinct", "pairs: variant of the segment tokens", choices=SEGMENT_VARIANTS)
    embeddings: str = option(
        "position,type,segment", f"pairs: what a token is the sum of, among {', '.join(EMBEDDINGS)}; comma-separated"
    )
    columns: int = option(24, "pairs: columns of the position tokens' grid", at_least=1, at_most=1024)
    rows: int = option(18, "pairs: rows of that grid", at_least=1, at_most=1024)
    layers: int = option(4, "pairs: layers of the network", at_least=1, at_most=64)
    width: int = option(128, "pairs: H, width of its tokens", at_least=1, at_most=4096)
    heads: int = option(4, "pairs: attention heads of each layer; width is a multiple of it", at_least=1, at_most=256)
    intermediate: int = option(128, "pairs: width between the two matrices of a layer", at_least=1, at_most=16_384)
    largest_stride: int = option(
        8,
        "pairs: other frame rates are imitated by every 2nd, 4th … frame up to this; 1 = none",
        at_least=1,
        at_most=64,
    )
    native_share: float = option(
        0.0, "pairs: part of them that is taken at the video's own rate; the rest at any", at_least=0.0, at_most=1.0
    )
    shares: str = option(
        "", "pairs: how often sources are drawn, as in street=0.4,shop=0.3; the others share the rest equally"
    )
    augmentation: str = option(
        "detector",
        "pairs: views = mirror images and other frames around the scene; detector = a moving camera and a detector's "
        "errors besides",
        choices=("views", "detector"),
    )
    prior: float = option(
        0.9,
        "pairs: how often the pair that a tracker is left with is one person; half of the training pairs are. The "
        "exported network is moved to it, and that of --start moved back",
        at_least=0.5,
        at_most=0.99,
    )
    start: str = option("", "NAME.pt of an exported network whose weights this one begins with; empty = random weights")
    choose: bool = option(
        False, "keep the validation videos from training too, and validate on them: for choosing between options"
    )
    validation_pairs: int = option(4096, "pairs in a validation", at_least=2, at_most=1_000_000)
    validation_scenes: int = option(512, "scenes in a validation", at_least=2, at_most=1_000_000)
    seed: int = option(1, "of weights, data and dropout", at_least=0, at_most=2**31 - 1)
    precision: str = option(
        "float32",
        "of matrix products; bfloat16 is twice as fast where the processor knows it",
        choices=("float32", "bfloat16"),
    )
    threads: int = option(0, "cores that torch may use; 0 = all", at_least=0, at_most=1024)
    device: str = option("auto", "auto takes a GPU where there is one", choices=("auto", "cpu", "cuda"))
    checkpoint_minutes: float = option(2.0, "time between checkpoints", at_least=0.01, at_most=1440.0)
    half: bool = option(False, "store the exported weights as FP16: half the files, the same arithmetic")
    licence: str = option("", "terms of the weights, for the model file; those of the data that was used")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise OptionError(f"heads: {self.heads} heads cannot share a width of {self.width}")
        unknown = [name for name in self.embedding_names if name not in EMBEDDINGS]
        if unknown:
            raise OptionError(f"embeddings: '{unknown[0]}' is none of {', '.join(EMBEDDINGS)}")

    @property
    def steps(self) -> int:
        """Batches of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def embedding_names(self) -> tuple[str, ...]:
        """`embeddings`, one by one."""
        return tuple(name.strip() for name in self.embeddings.split(","))
