"""The torch network that a matcher's ONNX file was made from. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import file_sha256
from keytrack_ros.inference.graph_weights import read_graph
from keytrack_ros.matching.network import EntailmentNetwork, NetworkOptions
from keytrack_ros.matching.track_network import MatcherNetwork, TrackNetwork, TrackNetworkOptions


def load_weights(file: Path) -> MatcherNetwork:
    """The torch network of a NAME.pt that `keytrack train matcher` wrote, in evaluation mode.

    Its matrices stand in the NAME.onnx beside it.

    Raises:
        ModelError: it is not one, or the graph is missing or of another export.
        BackendError: the package onnx, which reads the graph, is missing.
    """
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
        options = content["network"]
        network: MatcherNetwork
        if "grid" in options:
            network = EntailmentNetwork(NetworkOptions(**{**options, "grid": tuple(options["grid"])}))
        else:
            network = TrackNetwork(TrackNetworkOptions(**options))
        weights = content["weights"]
        if "graph" in content:
            weights |= _shared(file.with_suffix(".onnx"), **content["graph"])
        network.load_state_dict(_widened(weights, network))
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from None
    except Exception as error:  # whatever unpickling of a foreign file may raise
        raise ModelError(f"{file}: not weights of a matcher: {str(error).splitlines()[0]}") from None
    return network.eval()


def _shared(file: Path, sha256: str, places: Mapping[str, tuple[str, bool]]) -> dict[str, Tensor]:
    """The weights that stand in a graph, by their names in torch; see `training.matcher.export.in_graph`."""
    weights = file.with_suffix(".pt").name
    if not file.is_file():
        raise ModelError(f"{file}: No such file; the weights of {weights} stand in it")
    if file_sha256(file) != sha256:
        raise ModelError(f"{file}: not the graph that was exported with {weights}; put both files of one export there")
    _, arrays = read_graph(file)
    found = {key: torch.from_numpy(arrays[name].copy()) for key, (name, _) in places.items()}
    return {key: value.T.contiguous() if places[key][1] else value for key, value in found.items()}


def _widened(weights: dict[str, Tensor], network: MatcherNetwork) -> dict[str, Tensor]:
    """Weights of a track network with fewer features, as before boxes were evidence: the new ones have no effect."""
    if not isinstance(network, TrackNetwork):
        return weights
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    for name in ("keypoints.weight", "summary.weight"):
        missing = shapes[name][1] - weights[name].shape[1]
        if missing > 0:
            weights = {**weights, name: pad(weights[name], (0, missing))}
    return weights
