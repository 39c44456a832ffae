"""How the matcher is trained: every option with its default, range and description."""

from __future__ import annotations

from dataclasses import dataclass

from keytrack_ros.matching.tokens import SEGMENT_VARIANTS
from keytrack_ros.options import Options, option

FIT_FOR_ANY_RUN = ("threads", "device", "checkpoint_minutes", "prior")
"""Options that a resumed run may change: they say how fast and where, or what is done after the last step."""


@dataclass(frozen=True)
class TrainOptions(Options):
    """How the matcher is trained.

    The defaults are meant for a 2-core CPU: about 80 minutes on one core (780 pairs a second), and half of that with
    bfloat16 where the processor has it.
    """

    epochs: int = option(14, "epochs; each ends with a validation and a checkpoint", at_least=1, at_most=10_000)
    steps_per_epoch: int = option(1000, "batches in an epoch", at_least=1, at_most=1_000_000)
    batch_size: int = option(256, "pairs in a batch, half of them one person", at_least=2, at_most=65_536)
    learning_rate: float = option(1e-3, "highest learning rate", at_least=1e-7, at_most=1.0)
    warm_up: float = option(0.05, "part of all steps in which the learning rate rises", at_least=0.0, at_most=0.9)
    weight_decay: float = option(0.01, "AdamW's, on matrices only", at_least=0.0, at_most=1.0)
    dropout: float = option(0.1, "dropout of the network", at_least=0.0, at_most=0.9)
    memory_frames: int = option(4, "δ: largest gap between two poses", at_least=1, at_most=16)
    segments: str = option("distinct", "variant of the segment tokens", choices=SEGMENT_VARIANTS)
    prior: float = option(
        0.9,
        "how often the pair that a tracker is left with is one person; half of the training pairs are",
        at_least=0.5,
        at_most=0.99,
    )
    validation_pairs: int = option(4096, "pairs of held-back videos in a validation", at_least=2, at_most=1_000_000)
    seed: int = option(1, "of weights, pairs and dropout", at_least=0, at_most=2**31 - 1)
    precision: str = option(
        "float32",
        "of matrix products; bfloat16 is twice as fast where the processor knows it",
        choices=("float32", "bfloat16"),
    )
    threads: int = option(0, "cores that torch may use; 0 = all", at_least=0, at_most=1024)
    device: str = option("auto", "auto takes a GPU where there is one", choices=("auto", "cpu", "cuda"))
    checkpoint_minutes: float = option(2.0, "time between checkpoints", at_least=0.01, at_most=1440.0)

    @property
    def steps(self) -> int:
        """Batches of the whole run."""
        return self.epochs * self.steps_per_epoch
