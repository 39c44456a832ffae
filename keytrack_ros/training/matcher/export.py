"""From a trained matcher to the files that a tracker loads: ONNX and its model file; and the weights for torch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from keytrack_ros import skeleton
from keytrack_ros.inference.cards import MatcherCard, file_sha256, write_card
from keytrack_ros.matching.entailment import OUTPUT
from keytrack_ros.matching.histories import SUMMARY_WIDTH, TOKEN_WIDTH
from keytrack_ros.matching.network import EntailmentNetwork
from keytrack_ros.matching.tokens import INPUTS, RELATIVE, segment_rows
from keytrack_ros.matching.track_entailment import TRACK_INPUTS
from keytrack_ros.matching.track_network import MatcherNetwork, TrackNetwork
from keytrack_ros.training.common.export import (
    NO_LICENCE,
    checked_graph,
    round_to_half,
    with_half_weights,
    write_graph,
)

TOLERANCE = 1e-5
"""Largest difference of a logit between the exported graph and torch, as a part of the largest logit (at least 1)."""

SOURCE = "keytrack train matcher"
LEAST_SHARED = 1024
"""Numbers of a matrix from which on it is not stored twice."""


def export_matcher(
    network: MatcherNetwork,
    folder: Path,
    prior: float = 0.5,
    name: str = "pose_entailment",
    licence: str = NO_LICENCE,
    half: bool = False,
) -> list[Path]:
    """Writes NAME.pt, NAME.onnx and NAME.yaml; the graph is compared with torch first.

    A network of pairs was trained on balanced pairs with hard negatives. Where a tracker must decide, most pairs are
    one person: better candidates have gone to others already. Its logits are therefore moved to that prior (Saerens et
    al., 2002). A network of tracks learns from scenes as they are, and `prior` is not used.

    With `half` the weights are rounded to FP16 and stored so; all arithmetic is FP32. Matrices stand in the graph
    alone; the .pt names them.

    Returns the three paths. Raises ModelError if the graph computes something else than the network.
    """
    network = copy.deepcopy(network).to("cpu").eval()
    if isinstance(network, EntailmentNetwork):
        move_prior(network, 0.5, prior)
    if half:
        round_to_half(network)
    weights_file, onnx_file, card_file = (folder / f"{name}{suffix}" for suffix in (".pt", ".onnx", ".yaml"))
    batches = [random_pairs(network, count) for count in (2, 1, 3, 200)]
    graph = checked_graph(network, onnx_file, batches, OUTPUT, TOLERANCE)
    state = network.state_dict()
    shared = in_graph(state, graph)
    write_graph(with_half_weights(graph) if half else graph, onnx_file)
    own = {key: value for key, value in state.items() if key not in shared}
    in_file = {"sha256": file_sha256(onnx_file), "places": shared}
    torch.save({"network": asdict(network.options), "weights": own, "graph": in_file}, weights_file)
    card = MatcherCard(
        name=name,
        file=onnx_file.name,
        sha256=file_sha256(onnx_file),
        licence=licence,
        source=SOURCE,
        weights=weights_file.name,
        input="tracks",
    )
    if isinstance(network, EntailmentNetwork):
        options = network.options
        card = replace(
            card, input="pairs", grid=options.grid, memory_frames=options.memory_frames, segments=options.segments
        )
    write_card(card, card_file)
    return [weights_file, onnx_file, card_file]


def in_graph(state: Mapping[str, Tensor], graph: bytes) -> dict[str, tuple[str, bool]]:
    """Of the matrices of a state_dict that a graph holds: name there, and whether it is transposed."""
    arrays = {item.name: numpy_helper.to_array(item) for item in onnx.load_from_string(graph).graph.initializer}
    found: dict[str, tuple[str, bool]] = {}
    for key, value in state.items():
        if value.dim() != 2 or value.numel() < LEAST_SHARED:
            continue
        for name, array in arrays.items():
            for transposed, matrix in ((False, array), (True, array.T)):
                if key not in found and np.array_equal(matrix, value.numpy()):
                    found[key] = name, transposed
    return found


def move_prior(network: EntailmentNetwork, before: float, after: float) -> None:
    """Moves the logits from one share of pairs that are one person to another (Saerens et al., 2002)."""
    with torch.no_grad():
        network.classifier.bias[1] += math.log(after / (1 - after)) - math.log(before / (1 - before))


def random_pairs(network: MatcherNetwork, count: int) -> dict[str, npt.NDArray[Any]]:
    """Random input of `count` pairs for a network, by name."""
    rng = np.random.default_rng(count)
    if isinstance(network, TrackNetwork):
        tokens = rng.normal(size=(count, skeleton.COUNT, TOKEN_WIDTH)).astype(np.float32)
        tokens[:, :, 1] = rng.random(tokens.shape[:2]) < 0.8
        summary = rng.normal(size=(count, SUMMARY_WIDTH)).astype(np.float32)
        return dict(zip(TRACK_INPUTS, (tokens, summary), strict=True))
    options, shape = network.options, (count, 2 * skeleton.COUNT)
    cells, segments = options.grid[0] * options.grid[1], segment_rows(options.memory_frames, options.segments)
    arrays = (
        rng.integers(0, cells, shape),
        np.tile(np.arange(skeleton.COUNT), (count, 2)),
        rng.integers(0, segments, shape),
        rng.random(shape) < 0.8,
    )
    relative = {RELATIVE: rng.integers(0, cells, shape)} if "relative" in options.embeddings else {}
    return {**dict(zip(INPUTS, arrays, strict=True)), **relative}
