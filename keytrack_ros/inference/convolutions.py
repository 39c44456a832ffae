"""The convolutions of an ONNX file by their names in torch, so that their weights need not be kept twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.session import BackendError
from keytrack_ros.poses import FloatArray


def convolutions(file: Path) -> dict[str, FloatArray]:
    """Weights and biases, float32, of all convolutions; batch normalisation is folded into them.

    torch's exporter names a node by the modules it came from, '/heads.2/box/box.0/box.0.0/Conv': each part is a child
    of the one before, and the indices of sequences stand beside their names, so this is heads.2.box.0.0.

    Raises:
        BackendError: the package onnx is missing.
        ModelError: the file cannot be read, or is no graph.
    """
    try:
        import onnx
    except ImportError:
        raise BackendError(f"{file}: reading its weights needs the package onnx: pip install onnx") from None
    try:
        graph = onnx.load(file).graph
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror or error}") from None
    except Exception as error:  # whatever protobuf raises for a damaged file
        raise ModelError(f"{file}: not an ONNX file: {' '.join(str(error).split())[:150]}") from None
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:  # weights may be stored as FP16, or in 8 bits with factors; equal ones are stored once
        if node.op_type in ("Cast", "Identity", "Mul") and all(name in arrays for name in node.input):
            values = [arrays[name].astype(np.float32) for name in node.input]
            arrays[node.output[0]] = values[0] if len(values) == 1 else values[0] * values[1]
    found: dict[str, FloatArray] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            *modules, _ = node.name.strip("/").split("/")
            path = [
                part
                for part, following in zip(modules, [*modules[1:], ""], strict=True)
                if not following.startswith(part + ".")
            ]
            for kind, value in zip(("weight", "bias"), node.input[1:], strict=False):
                if value in arrays:
                    found[".".join([*path, kind])] = arrays[value].astype(np.float32)
    return found
