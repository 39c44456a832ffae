"""Networks in torch: the detector from its ONNX file, HRNet from its checkpoint."""

from __future__ import annotations

import torch
from torch import nn

from keytrack_ros.detection.nano import STRIDES, NanoDetector
from keytrack_ros.errors import ModelError
from keytrack_ros.estimation.checkpoints import load_hrnet
from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.inference.convolutions import convolutions
from keytrack_ros.inference.session import BackendError
from keytrack_ros.inference.torch_session import fold_batch_norms


def load_detector(card: DetectorCard) -> nn.Module:
    """The detector of an ONNX file that `keytrack train detector` wrote, in evaluation mode.

    Widths and depths follow from the shapes of its weights.

    Raises:
        BackendError: it is another detector, or the package onnx is missing.
    """
    try:
        weights = {name: torch.from_numpy(value) for name, value in convolutions(card.path).items()}
        widths = [weights["stem.0.weight"].shape[0]]
        widths += [weights[f"stages.{stage}.0.0.weight"].shape[0] for stage in range(4)]
        depths = [
            len({name.split(".")[4] for name in weights if name.startswith(f"stages.{stage}.1.units.")})
            for stage in range(4)
        ]
        with torch.device("meta"):
            network = NanoDetector(tuple(widths), tuple(depths), weights["laterals.0.0.weight"].shape[0])  # type: ignore[arg-type]
            fold_batch_norms(network.eval())
        network.load_state_dict(weights, assign=True)
    except ModelError as error:
        raise BackendError(str(error)) from None
    except (KeyError, RuntimeError) as error:
        raise BackendError(
            f"{card.path} is not a graph of keytrack's own detector, the only one that torch runs "
            f"({' '.join(str(error).split())[:150]})"
        ) from None
    if card.strides != STRIDES:
        raise BackendError(f"the model file of {card.name} names strides {card.strides}; the network has {STRIDES}")
    return network.requires_grad_(False)


def load_pose(card: PoseCard) -> nn.Module:
    """The HRNet whose checkpoint lies beside the card's ONNX file, batch normalisation folded, in evaluation mode.

    Raises:
        BackendError: there is no checkpoint, or it is not that network's.
    """
    checkpoint = card.path.parent / card.weights
    if not card.weights or not checkpoint.is_file():
        raise BackendError(f"{card.path}: its torch weights are not beside it")
    try:
        network = load_hrnet(checkpoint).network
    except ModelError as error:  # the ONNX file may be good all the same
        raise BackendError(str(error)) from None
    return fold_batch_norms(network)
