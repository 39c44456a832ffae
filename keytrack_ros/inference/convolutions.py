"""The convolutions of an ONNX file by their names in torch, so that their weights need not be kept twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keytrack_ros.inference.graph_weights import read_graph
from keytrack_ros.poses import FloatArray


def convolutions(file: Path) -> dict[str, FloatArray]:
    """Weights and biases, float32, of all convolutions; batch normalisation is folded into them.

    torch's exporter names a node by the modules it came from, '/heads.2/box/box.0/box.0.0/Conv': each part is a child
    of the one before, and the indices of sequences stand beside their names, so this is heads.2.box.0.0.

    Raises:
        BackendError: the package onnx is missing.
        ModelError: the file cannot be read, or is no graph.
    """
    graph, arrays = read_graph(file)
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
