"""Which engine a network needs on this machine: everything that it depends on, and the key made of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import file_sha256
from keytrack_ros.inference.gpu import Gpu, find_gpu
from keytrack_ros.inference.registry import cache_folder
from keytrack_ros.inference.session import BackendError
from keytrack_ros.inference.tensorrt.library import load_tensorrt

RECIPE = 1
"""Counted up when engines come to be made differently from the same network, so that old ones are not taken."""

FLAGS = ("STRONGLY_TYPED",)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """The shapes that one input may have: the smallest, the one it is made fastest for, the largest."""

    smallest: Shape
    best: Shape
    largest: Shape


@dataclass(frozen=True)
class EnginePlan:
    """An engine before it is made.

    Attributes:
        network: the ONNX file.
        precision: fp16, fp32 or int8.
        profiles: of every input whose first axis is free, by name.
        made_for: all that the engine depends on; JSON values.
    """

    network: Path
    precision: str
    profiles: Mapping[str, Profile]
    made_for: Mapping[str, Any]

    @property
    def key(self) -> str:
        """SHA-256 over `made_for`, hex."""
        return hashlib.sha256(json.dumps(self.made_for, sort_keys=True).encode()).hexdigest()

    @property
    def file(self) -> Path:
        """Where the engine is kept."""
        return engines_folder() / f"{self.network.stem}-{self.key}.engine"


def engines_folder() -> Path:
    """`~/.cache/keytrack_ros/engines` (XDG_CACHE_HOME may move it)."""
    return cache_folder().parent / "engines"


def plan_engine(network: Path, precision: str, most: int) -> EnginePlan:
    """The engine for `network` on this machine's GPU.

    Args:
        network: an ONNX file.
        precision: fp16, fp32 or int8.
        most: rows (images, people, pairs) in one call.

    Raises:
        BackendError: no TensorRT, no GPU, or the network's shapes do not allow it.
        ModelError: the file is no network.
    """
    profiles = profiles_of(network, most)
    return EnginePlan(
        network, precision, profiles, _made_for(network, precision, profiles, load_tensorrt(), find_gpu())
    )


def _made_for(network: Path, precision: str, profiles: Mapping[str, Profile], trt: Any, gpu: Gpu) -> Mapping[str, Any]:
    return {
        "network": file_sha256(network),
        "tensorrt": trt.__version__,
        "gpu": gpu.name,
        "compute_capability": gpu.capability,
        "precision": precision,
        "profiles": {name: [*map(list, (p.smallest, p.best, p.largest))] for name, p in profiles.items()},
        "flags": list(FLAGS),
        "recipe": RECIPE,
    }


def profiles_of(network: Path, most: int) -> dict[str, Profile]:
    """One profile for each input with a free first axis: 1 to `most` rows, fastest at `most`.

    Raises:
        BackendError: another axis is free; the package onnx is missing.
        ModelError: the file is no network.
    """
    try:
        import onnx
    except ImportError:
        raise BackendError("planning an engine needs the package onnx: pip install onnx") from None
    try:
        graph = onnx.load(network, load_external_data=False).graph
    except Exception as error:  # whatever protobuf raises for a foreign file
        raise ModelError(f"{network}: not a network: {' '.join(str(error).split())[:200]}") from None
    constants = {item.name for item in graph.initializer}
    profiles = {}
    for item in graph.input:
        if item.name in constants:
            continue
        axes = [axis.dim_value or None for axis in item.type.tensor_type.shape.dim]
        rest = tuple(axis for axis in axes[1:] if axis is not None)
        if len(rest) != len(axes[1:]):
            raise BackendError(f"input '{item.name}' is {axes}; for an engine only the first axis may be free")
        if axes and axes[0] is None:
            profiles[item.name] = Profile((1, *rest), (most, *rest), (most, *rest))
    return profiles
