"""From a trained matcher to the files that a tracker loads: ONNX and its model file; and the weights for torch."""

from __future__ import annotations

import copy
import io
import math
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
import yaml

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import file_sha256
from keytrack_ros.matching.entailment import OUTPUT
from keytrack_ros.matching.histories import SUMMARY_WIDTH, TOKEN_WIDTH
from keytrack_ros.matching.network import EntailmentNetwork
from keytrack_ros.matching.tokens import INPUTS, RELATIVE, segment_rows
from keytrack_ros.matching.track_entailment import TRACK_INPUTS
from keytrack_ros.matching.track_network import MatcherNetwork, TrackNetwork
from keytrack_ros.matching.weights import load_weights as load_weights

OPSET = 17
TOLERANCE = 1e-5
"""Largest difference of a logit between the exported graph and torch; of one above 1, in parts of it."""

LICENCE = (
    "weights: non-commercial research use, as the tracks they were trained on come from PoseTrack and Penn Action "
    "annotations for which no other licence is stated"
)
SOURCE = "keytrack train matcher; see docs/models/pose_entailment.md"


def export_matcher(
    network: MatcherNetwork, folder: Path, prior: float = 0.5, name: str = "pose_entailment"
) -> list[Path]:
    """Writes NAME.pt, NAME.onnx and NAME.yaml; the graph is compared with torch first.

    A network of pairs was trained on balanced pairs with hard negatives. Where a tracker must decide, most pairs are
    one person: better candidates have gone to others already. Its logits are therefore moved to that prior (Saerens et
    al., 2002). A network of tracks learns from scenes as they are, and `prior` is not used.

    Returns the three paths. Raises ModelError if the graph computes something else than the network.
    """
    network = copy.deepcopy(network).to("cpu").eval()
    if isinstance(network, EntailmentNetwork):
        move_prior(network, 0.5, prior)
    graph = onnx_bytes(network)
    error = largest_difference(network, graph)
    if error > TOLERANCE:
        raise ModelError(f"{name}: the exported graph differs from torch by {error:.1e}; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    weights, onnx_file, card = (folder / f"{name}{suffix}" for suffix in (".pt", ".onnx", ".yaml"))
    torch.save({"network": asdict(network.options), "weights": network.state_dict()}, weights)
    onnx_file.write_bytes(graph)
    content: dict[str, Any] = {
        "name": name,
        "task": "matching",
        "file": onnx_file.name,
        "sha256": file_sha256(onnx_file),
        "licence": LICENCE,
        "source": SOURCE,
        "weights": weights.name,
    }
    if isinstance(network, EntailmentNetwork):
        content |= {
            "input": "pairs",
            "grid": list(network.options.grid),
            "memory_frames": network.options.memory_frames,
            "segments": network.options.segments,
        }
    else:
        content["input"] = "tracks"
    card.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
    return [weights, onnx_file, card]


def move_prior(network: EntailmentNetwork, before: float, after: float) -> None:
    """Moves the logits from one share of pairs that are one person to another (Saerens et al., 2002)."""
    with torch.no_grad():
        network.classifier.bias[1] += math.log(after / (1 - after)) - math.log(before / (1 - before))


def onnx_bytes(network: MatcherNetwork) -> bytes:
    """The network as ONNX with a free number of pairs."""
    stream = io.BytesIO()
    names = _inputs(network)
    with warnings.catch_warnings():
        # The TorchScript exporter is chosen on purpose: the graph of its successor cannot be quantised.
        warnings.simplefilter("ignore", DeprecationWarning)
        # How many tokens ask is the same in every call.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.onnx.export(
            network,
            _random_pairs(network, 2),
            stream,  # type: ignore[arg-type]
            input_names=list(names),
            output_names=[OUTPUT],
            dynamic_axes={name: {0: "pairs"} for name in (*names, OUTPUT)},
            opset_version=OPSET,
            dynamo=False,
        )
    return stream.getvalue()


def largest_difference(network: MatcherNetwork, graph: bytes) -> float:
    """Difference between the graph on ONNX Runtime and torch over several batch sizes, as `TOLERANCE` counts it."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    used = {item.name for item in session.get_inputs()}  # an input is left out if the network does not look at it
    worst = 0.0
    for count in (1, 3, 200):
        tensors = _random_pairs(network, count)
        with torch.no_grad():
            expected = network(*tensors).numpy()
        given = {name: t.numpy() for name, t in zip(_inputs(network), tensors, strict=True) if name in used}
        off = np.abs(session.run([OUTPUT], given)[0] - expected) / np.maximum(np.abs(expected), 1)
        worst = max(worst, float(off.max()))
    return worst


def _inputs(network: MatcherNetwork) -> tuple[str, ...]:
    if isinstance(network, TrackNetwork):
        return TRACK_INPUTS
    return (*INPUTS, RELATIVE) if "relative" in network.options.embeddings else INPUTS


def _random_pairs(network: MatcherNetwork, count: int) -> tuple[torch.Tensor, ...]:
    chance = np.random.default_rng(count)
    if isinstance(network, TrackNetwork):
        tokens = chance.normal(size=(count, skeleton.COUNT, TOKEN_WIDTH))
        tokens[:, :, 1] = chance.random(tokens.shape[:2]) < 0.8
        summary = chance.normal(size=(count, SUMMARY_WIDTH))
        return torch.from_numpy(tokens.astype(np.float32)), torch.from_numpy(summary.astype(np.float32))
    options, shape = network.options, (count, 2 * skeleton.COUNT)
    cells, segments = options.grid[0] * options.grid[1], segment_rows(options.memory_frames, options.segments)
    tensors = (
        torch.from_numpy(chance.integers(0, cells, shape)),
        torch.arange(skeleton.COUNT).repeat(2).expand(shape).contiguous(),
        torch.from_numpy(chance.integers(0, segments, shape)),
        torch.from_numpy(chance.random(shape) < 0.8),
        torch.from_numpy(chance.integers(0, cells, shape)),
    )
    return tensors[: len(_inputs(network))]
