"""Options that all networks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keytrack_ros.options import Options, option

DEVICES = ("auto", "cpu", "cuda")
BACKENDS = ("auto", "onnxruntime", "tensorrt", "torch")
PRECISIONS = ("fp16", "fp32", "int8")


@dataclass(frozen=True)
class InferenceOptions(Options):
    """Where networks are found and how they run."""

    models: str = option(
        "",
        "folders with networks, separated by ':', searched before $KEYTRACK_MODELS, the user's cache and the package",
        live=False,
    )
    device: str = option(
        "auto",
        "where networks run; auto = on the NVIDIA GPU if something installed can use it, otherwise on the CPU",
        choices=DEVICES,
        live=False,
    )
    backend: str = option(
        "auto",
        "what runs networks; where it cannot, the next one takes over with a warning; auto = tensorrt, onnxruntime, "
        "torch, in this order; torch runs detection, poses and TOKS as one piece",
        choices=BACKENDS,
        live=False,
    )
    precision: str = option(
        "fp16",
        "of networks on the GPU with TensorRT or torch; int8 is TensorRT's alone, and its engines are made by "
        "`keytrack build-engines` alone",
        choices=PRECISIONS,
        live=False,
    )
    allow_engine_build: bool = option(
        False,
        "build TensorRT engines that are missing, which takes minutes; until then the next backend runs",
        live=False,
    )
    threads: int = option(
        0,
        "cores that one network may use at a time; 0 = all",
        at_least=0,
        at_most=256,
        live=False,
    )

    @property
    def folders(self) -> Sequence[Path]:
        """The folders of `models`."""
        return [Path(folder) for folder in self.models.split(":") if folder]
