"""ONNX graphs in FP32 or FP16, for strongly typed TensorRT engines, which have the types of the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.session import BackendError


def graph_in(network: Path, precision: str) -> bytes:
    """The network's ONNX graph in fp32 or fp16; inputs and outputs keep their types.

    Weights that are stored as FP16 and cast are folded, since TensorRT needs constants there.

    Raises:
        BackendError: the package onnx is missing, or the precision is int8, which needs images.
        ModelError: the file is no network, or cannot be converted.
    """
    if precision == "int8":
        raise BackendError("an int8 engine needs images to calibrate on: `keytrack build-engines --precision int8`")
    model = folded(network)
    if precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        try:
            model = convert_float_to_float16(model, keep_io_types=True)
        except Exception as error:  # onnx and onnxruntime have no common exception
            raise ModelError(f"{network}: cannot be converted to FP16: {' '.join(str(error).split())[:200]}") from None
    return bytes(model.SerializeToString())


def folded(network: Path) -> Any:
    """The network as onnx.ModelProto, with casts and factors of stored weights carried out."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise BackendError("converting a network needs the package onnx: pip install onnx") from None
    try:
        model = onnx.load(network)
    except Exception as error:  # whatever protobuf raises for a foreign file
        raise ModelError(f"{network}: not a network: {' '.join(str(error).split())[:200]}") from None
    stored = {item.name: item for item in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type not in ("Cast", "Mul") or not all(name in stored for name in node.input):
            continue
        values = [numpy_helper.to_array(stored[name]) for name in node.input]
        if node.op_type == "Cast":
            to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
            result = values[0].astype(onnx.helper.tensor_dtype_to_np_dtype(to))
        else:
            result = values[0] * values[1]
        stored[node.output[0]] = numpy_helper.from_array(np.ascontiguousarray(result), node.output[0])
        model.graph.initializer.append(stored[node.output[0]])
        model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    for item in list(model.graph.initializer):
        if item.name not in used:
            model.graph.initializer.remove(item)
    return model
