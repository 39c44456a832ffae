"""The torch network that a matcher's ONNX file was made from. Needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from keytrack_ros.errors import ModelError
from keytrack_ros.matching.network import EntailmentNetwork, NetworkOptions
from keytrack_ros.matching.track_network import MatcherNetwork, TrackNetwork, TrackNetworkOptions


def load_weights(file: Path) -> MatcherNetwork:
    """The torch network of a NAME.pt that `keytrack train matcher` wrote, in evaluation mode.

    Raises ModelError if it is not one.
    """
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
        options = content["network"]
        network: MatcherNetwork
        if "grid" in options:
            network = EntailmentNetwork(NetworkOptions(**{**options, "grid": tuple(options["grid"])}))
        else:
            network = TrackNetwork(TrackNetworkOptions(**options))
        network.load_state_dict(_widened(content["weights"], network))
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from None
    except Exception as error:  # whatever unpickling of a foreign file may raise
        raise ModelError(f"{file}: not weights of a matcher: {str(error).splitlines()[0]}") from None
    return network.eval()


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
