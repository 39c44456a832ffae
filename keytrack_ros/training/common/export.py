"""From a trained image network to the files that a tracker loads: ONNX and its model file."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from torch import nn

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import write_card as write_card  # whoever exports writes a model file, too
from keytrack_ros.poses import FloatArray

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference between the FP32 graph and torch, as a part of the output's largest value (at least 1)."""

HALF_TOLERANCE = 2e-2
"""The same between the graph with FP16 weights and the FP32 graph."""

FEWEST_WEIGHTS = 256
"""Smaller arrays (biases) stay FP32."""


def export_onnx(
    network: nn.Module,
    file: Path,
    input_name: str,
    input_shape: tuple[int, int, int],
    output_name: str,
    half_weights: bool = True,
    samples: Sequence[FloatArray] = (),
) -> None:
    """Writes a network of one image input and one output as ONNX, compared with torch first.

    The number of images is free; input, output and all computation are FP32. With `half_weights` the weights are
    stored as FP16 and cast when the file is loaded (ONNX Runtime folds the casts): half the size, the same speed.

    Args:
        network: [N, *input_shape] float32 → [N, …] float32; it is left as it is.
        file: the ONNX file; it is written whole or not at all.
        input_name: name of the input.
        input_shape: channels, height, width.
        output_name: name of the output.
        half_weights: whether weights are stored as FP16.
        samples: batches [N, *input_shape] float32 on which the graph is compared, beside random ones.

    Raises:
        ModelError: the graph computes something else than the network; nothing was written.
    """
    network = copy.deepcopy(network).to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is chosen on purpose: it folds batch normalisation into the convolutions.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(2, *input_shape),),
            stream,  # type: ignore[arg-type]
            input_names=[input_name],
            output_names=[output_name],
            dynamic_axes={input_name: {0: "images"}, output_name: {0: "images"}},
            opset_version=OPSET,
            dynamo=False,
        )
    images = [np.random.default_rng(count).normal(size=(count, *input_shape)).astype(np.float32) for count in (1, 3)]
    images += samples
    with torch.no_grad():
        expected = [network(torch.from_numpy(batch)).numpy() for batch in images]
    graph = stream.getvalue()
    found = _outputs(graph, images)
    _compare(file, "FP32 graph", found, expected, TOLERANCE)
    if half_weights:
        graph = with_half_weights(graph)
        _compare(file, "graph with FP16 weights", _outputs(graph, images), found, HALF_TOLERANCE)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_bytes(graph)
    part.replace(file)


def with_half_weights(graph: bytes) -> bytes:
    """An ONNX graph whose FP32 weights are stored as FP16, each followed by a cast back to FP32."""
    model = onnx.load_from_string(graph)
    casts = []
    for index, weights in enumerate(model.graph.initializer):
        values = numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < FEWEST_WEIGHTS:
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


def _outputs(graph: bytes, images: list[FloatArray]) -> list[FloatArray]:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return [session.run(None, {name: batch})[0] for batch in images]


def _compare(file: Path, what: str, found: list[FloatArray], expected: list[FloatArray], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        error = float(np.abs(a - b).max()) / max(float(np.abs(b).max()), 1.0)
        if not error <= tolerance:
            raise ModelError(f"{file}: the {what} differs by {error:.1e} of its range; nothing was written")
