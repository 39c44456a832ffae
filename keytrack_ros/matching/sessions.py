"""Matcher networks behind `Session`: opened as the other networks are, and inputs to try them on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.opening import open_session
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.session import Array, Session
from keytrack_ros.inference.torch_session import TorchLoader, TorchNetwork
from keytrack_ros.matching.histories import SUMMARY_WIDTH, TOKEN_WIDTH
from keytrack_ros.matching.tokens import pair_tokens, pose_tokens

if TYPE_CHECKING:
    from torch import nn

PAIRS = 128
"""Most pairs in one call: bounds the memory in a crowd and sizes engines; larger calls are not faster."""


def open_matcher_session(
    card: MatcherCard, options: InferenceOptions, rows: Mapping[str, tuple[int, ...]], output: str
) -> Session:
    """The card's network, on the backend that the options allow; see `open_session`.

    Args:
        card: of the network.
        options: how it runs.
        rows: shape of one pair's part of each input, by name, in the order of the torch network's arguments; the graph
            has those of them that the network looks at.
        output: name of the output.

    Raises ModelError if it cannot be loaded; whether it has these inputs is for the caller to see.
    """
    loader = _torch_network(card)
    # In torch in FP32: so small a network waits for its launches, not for its arithmetic.
    in_torch = None if loader is None else TorchNetwork(loader, rows, output, fp32=True)
    return open_session(card.path, replace(options, precision=matcher_precision(options)), PAIRS, in_torch)


def matcher_precision(options: InferenceOptions) -> str:
    """That of the options, but fp16 in the place of int8, which saves nothing on a network of this size."""
    return "fp16" if options.gpu_precision == "int8" else options.gpu_precision


def example_inputs(card: MatcherCard, pairs: int) -> dict[str, Array]:
    """Random inputs of a matcher, the same at every call; a fifth of the keypoints is missing.

    All that `tokens.PairTokens` has, of which a network of pairs may not want every one.
    """
    rng = np.random.default_rng(0)
    if card.input == "tracks":
        tokens = rng.normal(0, 0.3, (pairs, skeleton.COUNT, TOKEN_WIDTH)).astype(np.float32)
        tokens[..., 1] = rng.random(tokens.shape[:2]) < 0.8  # whether the pose shows the keypoint
        return {"tokens": tokens, "summary": rng.normal(0, 0.3, (pairs, SUMMARY_WIDTH)).astype(np.float32)}
    current, past = (
        pose_tokens(keypoints, rng.random(keypoints.shape[:2]) < 0.8, (1, 1), card.grid)
        for keypoints in rng.random((2, pairs, skeleton.COUNT, 2))
    )
    made = pair_tokens(current, past, rng.integers(1, card.memory_frames + 1, pairs), card.segments)
    return {item.name: np.ascontiguousarray(getattr(made, item.name)) for item in fields(made)}


def _torch_network(card: MatcherCard) -> TorchLoader | None:
    """Loads the network that the card's ONNX file was made from, if its weights lie beside it."""
    weights = card.path.parent / card.weights
    if not card.weights or not weights.is_file():
        return None

    def load() -> nn.Module:
        from keytrack_ros.matching.track_network import TrackNetwork
        from keytrack_ros.matching.weights import load_weights

        network = load_weights(weights)
        kind = "tracks" if isinstance(network, TrackNetwork) else "pairs"
        if kind != card.input:
            raise ModelError(f"{weights}: weights of a network of {kind}; {card.name} is one of {card.input}")
        return network

    return load
