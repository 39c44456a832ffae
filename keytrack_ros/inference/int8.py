"""Which network runs on the CPU: the FP32 one, or the INT8 one that `keytrack models quantize` made from it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import ModelCard, file_sha256
from keytrack_ros.inference.cpu import has_int8_instructions
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import find_model

logger = logging.getLogger(__name__)


def int8_name(name: str) -> str:
    """Name of the INT8 network made from the network `name`."""
    return f"{name}_int8"


@dataclass(frozen=True)
class CpuNetwork:
    """The ONNX file that runs on the CPU.

    Attributes:
        path: of the file.
        warning: why it is not the INT8 network that the options ask for; "" if it is, or if they do not.
    """

    path: Path
    warning: str = ""


def cpu_network(card: ModelCard, options: InferenceOptions) -> CpuNetwork:
    """The file to run on the CPU in place of the card's network.

    With precision `auto` the INT8 network if the CPU has VNNI or AMX and the network exists; with `int8` the same, and
    a warning otherwise. An INT8 network that was made from another FP32 file is never used.
    """
    fp32 = CpuNetwork(card.path)
    if options.precision not in ("auto", "int8") or card.fp32_sha256:
        return fp32
    if not has_int8_instructions():
        reason = "this CPU has neither VNNI nor AMX, without which INT8 is slow and saturates"
        return fp32 if options.precision == "auto" else CpuNetwork(card.path, f"{reason}; FP32 runs")
    name = int8_name(card.name)
    try:
        found = find_model(type(card), name, [card.path.parent, *options.folders])
    except ModelError as error:
        return fp32 if options.precision == "auto" else CpuNetwork(card.path, f"{error}; FP32 runs")
    if found.fp32_sha256 != (card.sha256 or file_sha256(card.path)):
        return CpuNetwork(
            card.path,
            f"{found.path} was made from another network than {card.path} (SHA-256 of the FP32 file is "
            f"{found.fp32_sha256[:12] or 'missing'}…); FP32 runs; `keytrack models quantize {card.name}` renews it",
        )
    return CpuNetwork(found.path)
