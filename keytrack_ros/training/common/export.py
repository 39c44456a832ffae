"""From a torch network to an ONNX file that computes the same."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from torch import nn

from keytrack_ros.errors import ModelError
from keytrack_ros.poses import FloatArray

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference between the FP32 graph and torch, as a part of the output's largest value (at least 1)."""

ROUNDED_TOLERANCE = {32: 0.0, 16: 2e-2, 8: 0.2}
"""The same between the graph with weights of so many bits and the FP32 graph."""

NO_LICENCE = "not stated by its trainer; the terms of the data and of the teachers that were used apply"
"""Licence in the model file of a run that names none."""

MIN_HALF_SIZE = 256
"""Smaller arrays (most biases) stay FP32."""

MIN_BYTE_SIZE = 1024
"""Smaller kernels (output layers) are not rounded to 8 bits."""

_LARGEST_BYTE = 127

Batch = Mapping[str, npt.NDArray[Any]]
"""Arrays by name of the input, all of the same first dimension."""


def traced_graph(network: nn.Module, batch: Batch, output: str, free_size: bool = False) -> bytes:
    """The network as an ONNX graph with a free first dimension; with `free_size` also free height and width.

    Args:
        network: in evaluation mode; takes the tensors of a batch in their order.
        batch: example input by name; values do not matter unless the network branches on them.
        output: name of the output.
    """
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is chosen on purpose: it folds batch normalisation into the convolutions, and the
        # graph of its successor cannot be quantised.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.onnx.export(
            network,
            tuple(torch.from_numpy(array) for array in batch.values()),
            stream,  # type: ignore[arg-type]
            input_names=list(batch),
            output_names=[output],
            dynamic_axes={
                **{name: {0: "batch", **({2: "height", 3: "width"} if free_size else {})} for name in batch},
                output: {0: "batch"},
            },
            opset_version=OPSET,
            dynamo=False,
        )
    return stream.getvalue()


def checked_graph(
    network: nn.Module,
    file: Path,
    batches: Sequence[Batch],
    output: str,
    tolerance: float = TOLERANCE,
    free_size: bool = False,
) -> bytes:
    """`traced_graph` of the first batch, compared with torch on all of them.

    `file` is named in the error. Raises ModelError if the graph computes something else than the network.
    """
    graph = traced_graph(network, batches[0], output, free_size)
    with torch.no_grad():
        expected = [network(*(torch.from_numpy(array) for array in batch.values())).numpy() for batch in batches]
    _compare(file, "FP32 graph", outputs(graph, batches), expected, tolerance)
    return graph


def export_onnx(
    network: nn.Module,
    file: Path,
    input_name: str,
    input_shape: tuple[int, int, int],
    output_name: str,
    weight_bits: int = 16,
    samples: Sequence[FloatArray] = (),
    free_size: bool = False,
) -> None:
    """Writes a network of one image input and one output as ONNX, compared with torch first.

    The number of images is free; input, output and all computation are FP32. Weights may be stored as FP16, or those of
    convolutions in 8 bits with a factor for each output channel, and are made FP32 when the file is loaded (ONNX
    Runtime folds that): a half or a quarter of the size, the same speed.

    Args:
        network: [N, *input_shape] float32 → [N, …] float32; it is not changed.
        file: the ONNX file; it is written atomically.
        input_name: name of the input.
        input_shape: channels, height, width.
        output_name: name of the output.
        weight_bits: of stored weights: 32, 16 or 8.
        samples: batches [N, *input_shape] float32 on which the graph is compared, beside random ones.
        free_size: whether height and width are free, too; the samples may then have others.

    Raises:
        ModelError: the graph computes something else than the network; nothing was written.
    """
    network = copy.deepcopy(network).to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    random = [np.random.default_rng(n).normal(size=(n, *input_shape)).astype(np.float32) for n in (1, 3)]
    batches = [{input_name: images} for images in (np.zeros((2, *input_shape), np.float32), *random, *samples)]
    graph = checked_graph(network, file, batches, output_name, free_size=free_size)
    if weight_bits < 32:
        found = outputs(graph, batches)
        graph = with_half_weights(graph) if weight_bits == 16 else with_byte_weights(graph)
        rounded = outputs(graph, batches)
        _compare(file, f"graph with weights of {weight_bits} bits", rounded, found, ROUNDED_TOLERANCE[weight_bits])
    write_graph(graph, file)


def write_graph(graph: bytes, file: Path) -> None:
    """Writes an ONNX file atomically; its folder is created."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_bytes(graph)
    part.replace(file)


def round_to_half(network: nn.Module) -> None:
    """Rounds the parameters that `with_half_weights` stores as FP16, so that nothing is lost when they are stored."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() >= MIN_HALF_SIZE:
                parameter.copy_(parameter.half())


def with_half_weights(graph: bytes) -> bytes:
    """An ONNX graph whose FP32 weights are stored as FP16, each followed by a cast back to FP32."""
    model = onnx.load_from_string(graph)
    casts = []
    for index, weights in enumerate(model.graph.initializer):
        values = numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < MIN_HALF_SIZE:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            continue  # too large for FP16
        name = weights.name
        model.graph.initializer[index].CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def with_byte_weights(graph: bytes) -> bytes:
    """An ONNX graph whose weights of convolutions are stored in 8 bits, each followed by a cast and a multiplication.

    Symmetric, with a factor for each output channel: the rounding of `inference.quantization`, so that an INT8 network
    made from it has the same weights. Small arrays stay FP32, output layers among them.
    """
    model = onnx.load_from_string(graph)
    kernels = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    nodes = []
    for weights in list(model.graph.initializer):
        name, values = weights.name, numpy_helper.to_array(weights)
        if name not in kernels or values.dtype != np.float32 or values.size < MIN_BYTE_SIZE:
            continue
        largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
        factors = (np.where(largest > 0, largest, 1) / _LARGEST_BYTE).astype(np.float32)
        stored, scale, cast = (f"{name}.{part}" for part in ("byte", "factor", "cast"))
        rounded = np.rint(values / factors).astype(np.int8)
        weights.CopyFrom(numpy_helper.from_array(rounded, stored))
        model.graph.initializer.append(numpy_helper.from_array(factors, scale))
        nodes.append(onnx.helper.make_node("Cast", [stored], [cast], to=onnx.TensorProto.FLOAT))
        nodes.append(onnx.helper.make_node("Mul", [cast, scale], [name]))
    rest = [*nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(rest)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def outputs(graph: bytes, batches: Sequence[Batch]) -> list[FloatArray]:
    """What ONNX Runtime computes for each batch; inputs that the graph does not use are passed over."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    used = {item.name for item in session.get_inputs()}
    return [session.run(None, {k: v for k, v in batch.items() if k in used})[0] for batch in batches]


def relative_error(found: FloatArray, expected: FloatArray) -> float:
    """Largest difference, as a part of the largest expected magnitude (at least 1)."""
    return float(np.abs(found - expected).max()) / max(float(np.abs(expected).max()), 1.0)


def _compare(file: Path, what: str, found: list[FloatArray], expected: list[FloatArray], tolerance: float) -> None:
    error = max(relative_error(a, b) for a, b in zip(found, expected, strict=True))
    if not error <= tolerance:
        raise ModelError(f"{file}: the {what} differs by {error:.1e} of its range; nothing was written")
