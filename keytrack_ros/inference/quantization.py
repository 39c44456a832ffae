"""INT8 networks with explicit quantise and dequantise nodes (QDQ), calibrated on sample inputs.

Two schemes, since the runtimes differ: ONNX Runtime's CPU kernels want unsigned activations and every operator in INT8;
TensorRT wants symmetric signed ones, and fuses the rest by itself. Weights are signed and per channel in both.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.precision import folded
from keytrack_ros.inference.session import Array


@dataclass(frozen=True)
class Scheme:
    """How a runtime wants its INT8 networks.

    Attributes:
        symmetric: signed activations with zero point 0; otherwise unsigned ones with any zero point.
        operators: that compute in INT8; None = all that ONNX Runtime's quantiser knows.
        quantize_bias: biases as INT32; otherwise FP32.
    """

    symmetric: bool
    operators: tuple[str, ...] | None
    quantize_bias: bool


CPU = Scheme(symmetric=False, operators=None, quantize_bias=True)
TENSORRT = Scheme(symmetric=True, operators=("Conv", "ConvTranspose", "MatMul", "Gemm"), quantize_bias=False)


def quantize(
    network: Path, batches: Sequence[Mapping[str, Array]], scheme: Scheme, fp32_nodes: Collection[str] = ()
) -> bytes:
    """The network's ONNX graph in INT8; inputs and outputs stay FP32. Ranges are the extremes over `batches`.

    Args:
        network: an ONNX file.
        batches: inputs by name, as the network gets them.
        scheme: of the runtime.
        fp32_nodes: names of nodes that stay FP32.

    Raises:
        BackendError: the package onnx is missing.
        ModelError: the file is not a network, or cannot be quantised.
    """
    model = folded(network)
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(batches)

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self._rest, None)

    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "int8.onnx"
        try:
            root.setLevel(logging.ERROR)  # it recommends preprocessing that our graphs do not need
            quantize_static(
                model,
                result,
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(scheme.operators) if scheme.operators else None,
                nodes_to_exclude=list(fp32_nodes),
                per_channel=True,
                activation_type=QuantType.QInt8 if scheme.symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={
                    "ActivationSymmetric": scheme.symmetric,
                    "WeightSymmetric": True,
                    "QuantizeBias": scheme.quantize_bias,
                },
            )
        except Exception as error:  # onnx and onnxruntime have no common exception
            raise ModelError(f"{network}: cannot be quantised: {' '.join(str(error).split())[:200]}") from None
        finally:
            root.setLevel(level)
        return result.read_bytes()


def output_nodes(network: Path) -> list[str]:
    """Names of the convolutions that end in an output without another convolution, and of all nodes behind them.

    They hold numbers of different ranges side by side (a detector's coordinates and scores), are cheap, and have no
    later layer that could make up for rounding.

    Raises as `quantize`.
    """
    graph = folded(network).graph
    consumers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    before_convolution: set[str] = set()  # tensors from which a convolution can be reached
    for node in reversed(graph.node):  # nodes are in topological order
        reaches = any(name in before_convolution for name in node.output)
        if reaches or node.op_type == "Conv":
            before_convolution.update(node.input)
    return [node.name for node in graph.node if not before_convolution & set(node.output)]
