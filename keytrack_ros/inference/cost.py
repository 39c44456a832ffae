"""What a network costs: parameters and multiply-adds, counted from its ONNX graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.precision import folded


@dataclass(frozen=True)
class Cost:
    """Size of a network.

    Attributes:
        parameters: numbers in the file; where batch normalisation is folded into convolutions, these are fewer.
        multiply_adds: of convolutions and matrix products, for one image, or one of whatever the batch counts.
    """

    parameters: int
    multiply_adds: int


def network_cost(file: Path, image_size: tuple[int, int] = (1, 1)) -> Cost:
    """Counts one ONNX file. Needs the package onnx.

    Axes of free length count as 1, height and width of images as in `image_size` (width, height).

    Raises ModelError if onnx is not installed, the file is no network, or a shape in it cannot be worked out.
    """
    try:
        import onnx
    except ImportError:
        raise ModelError("counting needs the package onnx: pip install onnx") from None
    model = folded(file)  # weights that are stored in 16 or 8 bits are counted as what they stand for
    try:
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            for number, axis in enumerate(dims):
                if not axis.dim_value:
                    axis.dim_value = image_size[3 - number] if len(dims) == 4 and number > 1 else 1
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        del model.graph.value_info[:]  # shapes that were noted for a free batch
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # whatever protobuf and onnx raise for a foreign file
        raise ModelError(f"{file}: not a network: {' '.join(str(error).split())[:200]}") from None
    if not graph.node:
        raise ModelError(f"{file}: not a network: it has no nodes")
    constants = {item.name: tuple(item.dims) for item in graph.initializer}
    shapes = dict(constants)
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if all(axis.HasField("dim_value") for axis in dims):
            shapes[value.name] = tuple(axis.dim_value for axis in dims)
    try:
        total = sum(_multiply_adds(node, shapes) for node in graph.node)
    except KeyError as error:
        raise ModelError(f"{file}: the shape of {error} cannot be worked out") from None
    kinds = {onnx.TensorProto.DataType.Value(name) for name in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")}
    return Cost(sum(math.prod(item.dims) for item in graph.initializer if item.data_type in kinds), total)


def _multiply_adds(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type == "Conv":  # weights [out, in / groups, *kernel]: each output number is one product of a row
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":  # weights [in, out / groups, *kernel]: each input number is spread once
        return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        turned = any(item.name == "transA" and item.i for item in node.attribute)
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if turned else 1]
    return 0
