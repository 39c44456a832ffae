"""Weights of an exported network back in torch, so that training can go on from what ships."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from keytrack_ros.errors import DataError


def load_exported(network: nn.Module, file: Path, size: int = 64) -> None:
    """Fills the convolutions of a network of one image input from an ONNX file that `export_onnx` wrote for it.

    Convolutions are matched in the order in which they run. The network must have biases and no normalisation, as the
    file has none.

    Args:
        network: is changed.
        file: the ONNX file; its weights may be FP16.
        size: side of the image, pixels, with which the order is found.

    Raises DataError if the file is missing or damaged, or has other convolutions.
    """
    try:
        graph = onnx.load(file).graph
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from None
    except Exception as error:  # whatever protobuf raises
        raise DataError(f"{file}: not an ONNX file: {error}") from None
    stored = {item.name: item for item in graph.initializer}
    stored |= {n.output[0]: stored[n.input[0]] for n in graph.node if n.op_type == "Cast" and n.input[0] in stored}
    there = [
        [torch.from_numpy(numpy_helper.to_array(stored[name]).copy()).float() for name in node.input[1:]]
        for node in graph.node
        if node.op_type == "Conv"
    ]
    here = _in_order(network, size)
    shapes = [[list(value.shape) for value in parts] for parts in there]
    if shapes != [[list(value.shape) for value in parts] for parts in here]:
        raise DataError(f"{file}: its convolutions are not those of {type(network).__name__}")
    with torch.no_grad():
        for parts, values in zip(here, there, strict=True):
            for part, value in zip(parts, values, strict=True):
                part.copy_(value)


def _in_order(network: nn.Module, size: int) -> list[list[Tensor]]:
    """Weights (and biases) of all convolutions in the order in which they run."""
    order: list[list[Tensor]] = []

    def note(module: nn.Module, *_: object) -> None:
        order.append(list(module.parameters()))

    hooks = [m.register_forward_pre_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return order
