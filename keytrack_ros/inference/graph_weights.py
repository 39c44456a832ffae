"""The weights that an ONNX file holds, so that they need not be kept twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.session import BackendError
from keytrack_ros.poses import FloatArray


def read_graph(file: Path) -> tuple[Any, dict[str, FloatArray]]:
    """The graph (onnx.GraphProto) and its constant arrays by name, those of weights in FP16 or 8 bits as float32.

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
    return graph, arrays
