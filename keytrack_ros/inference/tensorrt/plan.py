"""Which engine a network needs: everything that it depends on, and the key made of it."""

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
from keytrack_ros.inference.tensorrt.library import Library, load_library

RECIPE = 2
"""Counted up when the same network is built differently, so that old engines are not used."""

FLAGS = ("STRONGLY_TYPED",)

Shape = tuple[int, ...]
Sizes = tuple[tuple[int, int], ...]
"""Width and height of the smallest, the usual and the largest images."""


@dataclass(frozen=True)
class Profile:
    """Shapes of one input: the smallest, the one that kernels are optimised for, the largest."""

    smallest: Shape
    best: Shape
    largest: Shape


@dataclass(frozen=True)
class EnginePlan:
    """An engine before it is built.

    Attributes:
        network: the ONNX file.
        precision: fp16, fp32 or int8.
        profiles: of every input with a free axis, by name.
        library: that builds and runs it.
        capability: compute capability of the GPU, such as "8.6".
        made_for: everything that the engine depends on; JSON values.
    """

    network: Path
    precision: str
    profiles: Mapping[str, Profile]
    library: Library
    capability: str
    made_for: Mapping[str, Any]

    @property
    def key(self) -> str:
        """SHA-256 over `made_for`, hex."""
        return hashlib.sha256(json.dumps(self.made_for, sort_keys=True).encode()).hexdigest()

    @property
    def file(self) -> Path:
        """Where the engine is stored."""
        return engines_folder() / f"{self.network.stem}-{self.key}.engine"


def engines_folder() -> Path:
    """`~/.cache/keytrack_ros/engines` (XDG_CACHE_HOME may move it)."""
    return cache_folder().parent / "engines"


def plan_engine(
    network: Path,
    precision: str,
    max_rows: int,
    backend: str = "tensorrt",
    gpu: Gpu | None = None,
    image_sizes: Sizes | None = None,
) -> EnginePlan:
    """The engine for a network on a GPU.

    Args:
        network: an ONNX file.
        precision: fp16, fp32 or int8.
        max_rows: rows (images, crops, pairs) in one call.
        backend: tensorrt or tensorrt_rtx.
        gpu: by default this machine's.
        image_sizes: see `profiles_of`.

    Raises:
        BackendError: the module is missing, there is no GPU, or the network's shapes do not allow an engine.
        ModelError: the file is not a network.
    """
    profiles = profiles_of(network, max_rows, image_sizes)
    library = load_library(backend)
    gpu = gpu or find_gpu()
    made_for = {
        "network": file_sha256(network),
        **library.target(gpu),
        "precision": precision,
        "profiles": {name: [*map(list, (p.smallest, p.best, p.largest))] for name, p in profiles.items()},
        "flags": list(FLAGS),
        "recipe": RECIPE,
    }
    return EnginePlan(network, precision, profiles, library, gpu.capability, made_for)


def profiles_of(network: Path, max_rows: int, image_sizes: Sizes | None = None) -> dict[str, Profile]:
    """One profile for each input with a free axis: 1 to `max_rows` rows, optimised for `max_rows`.

    Free width and height of images are the smallest, the usual and the largest of `image_sizes`.

    Raises:
        BackendError: other axes are free; the package onnx is missing.
        ModelError: the file is not a network.
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
        if None not in axes:
            continue
        if any(axis is None and (image_sizes is None or k not in (2, 3)) for k, axis in enumerate(axes) if k > 0):
            raise BackendError(
                f"input '{item.name}' is {axes}; for an engine only the first axis may be free, and width and height "
                "of a detector's images"
            )
        shapes = []
        for rows, (width, height) in zip((1, max_rows, max_rows), image_sizes or [(0, 0)] * 3, strict=True):
            sides = {0: rows, 2: height, 3: width}
            shapes.append(tuple(sides[k] if axis is None else axis for k, axis in enumerate(axes)))
        profiles[item.name] = Profile(*shapes)
    return profiles
