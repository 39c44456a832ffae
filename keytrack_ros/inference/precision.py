"""ONNX graphs in the precision that an engine is to have: TensorRT takes the types of the graph as they are."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.session import Array, BackendError

QUANTISED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operators that int8 graphs compute in 8 bits."""


def graph_in(network: Path, precision: str) -> bytes:
    """The network's ONNX graph in fp32 or fp16; inputs and outputs keep their types.

    Weights that are stored as FP16 and cast are folded, for TensorRT wants constants there.

    Raises:
        BackendError: the package onnx is missing, or the precision is int8, which needs images.
        ModelError: the file is no network, or cannot be converted.
    """
    if precision == "int8":
        raise BackendError("an int8 engine needs images to calibrate on: `keytrack build-engines --precision int8`")
    model = _folded(network)
    if precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        try:
            model = convert_float_to_float16(model, keep_io_types=True)
        except Exception as error:  # onnx and onnxruntime raise what they like
            raise ModelError(f"{network}: cannot be converted to FP16: {' '.join(str(error).split())[:200]}") from None
    return bytes(model.SerializeToString())


def quantised(network: Path, batches: Sequence[Mapping[str, Array]]) -> bytes:
    """The network's ONNX graph with explicit quantise and dequantise nodes (int8), calibrated on `batches`.

    Symmetric, weights per channel, biases in FP32, as TensorRT demands.

    Args:
        network: an ONNX file.
        batches: inputs by name, as they would be run.

    Raises:
        BackendError: the package onnx is missing.
        ModelError: the file is no network, or cannot be quantised.
    """
    model = _folded(network)
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(batches)

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self._rest, None)

    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                model,
                result,
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
            )
        except Exception as error:  # as above
            raise ModelError(f"{network}: cannot be quantised: {' '.join(str(error).split())[:200]}") from None
        return result.read_bytes()


def _folded(network: Path) -> Any:
    """The network as onnx.ModelProto, with casts of stored weights carried out."""
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
        if node.op_type != "Cast" or node.input[0] not in stored:
            continue
        to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
        values = numpy_helper.to_array(stored[node.input[0]]).astype(onnx.helper.tensor_dtype_to_np_dtype(to))
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), node.output[0]))
        model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    for item in list(model.graph.initializer):
        if item.name not in used:
            model.graph.initializer.remove(item)
    return model
