"""Options that all networks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keytrack_ros.options import Options, option

DEVICES = ("auto", "cpu", "cuda")
BACKENDS = ("auto", "onnxruntime", "tensorrt", "tensorrt_rtx", "torch")
PRECISIONS = ("auto", "fp16", "fp32", "int8")


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
        "where networks run; auto = on the NVIDIA GPU if an installed runtime can use it, otherwise on the CPU",
        choices=DEVICES,
        live=False,
    )
    backend: str = option(
        "auto",
        "preferred runtime; if it cannot run a network, the next one does, with a warning; auto = tensorrt, "
        "onnxruntime, torch, in this order; tensorrt_rtx is used only when named; torch runs detection, poses and "
        "TOKS on one device",
        choices=BACKENDS,
        live=False,
    )
    precision: str = option(
        "auto",
        "auto = fp16 on the GPU with TensorRT or torch; on the CPU int8 where it has VNNI or AMX and `keytrack models "
        "quantize` has made the network, fp32 otherwise; int8 engines of TensorRT are made by `keytrack build-engines`",
        choices=PRECISIONS,
        live=False,
    )
    allow_engine_build: bool = option(
        False,
        "build missing TensorRT engines in the background, which takes minutes; until then the next backend runs",
        live=False,
    )
    threads: int = option(
        0,
        "cores that one network may use; 0 = all",
        at_least=0,
        at_most=256,
        live=False,
    )

    @property
    def gpu_precision(self) -> str:
        """fp16, fp32 or int8: of TensorRT engines, and of torch on CUDA."""
        return "fp16" if self.precision == "auto" else self.precision

    @property
    def folders(self) -> Sequence[Path]:
        """The folders of `models`."""
        return [Path(folder) for folder in self.models.split(":") if folder]
