"""Networks in torch: the detector from the weights in its ONNX file, HRNet from its checkpoint."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from keytrack_ros.detection.nano import STRIDES, NanoDetector
from keytrack_ros.errors import ModelError
from keytrack_ros.estimation.checkpoints import load_hrnet
from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.inference.session import BackendError


def load_detector(card: DetectorCard) -> nn.Module:
    """The detector of an ONNX file that `keytrack train detector` wrote, in evaluation mode.

    The file has each convolution's weights with its batch normalisation folded in, under the name of the node; widths
    and depths follow from their shapes.

    Raises:
        BackendError: it is another detector, or the package onnx is missing.
    """
    weights = _convolutions(card.path)
    try:
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


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Folds each batch normalisation into the convolution before it, in place; returns the network.

    In our networks, as in the published HRNet, it is declared right after its convolution.
    """
    for module in network.modules():
        children = list(module.named_children())
        for (name, before), (next_name, after) in pairwise(children):
            if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(before, after))
                setattr(module, next_name, nn.Identity())
    return network


def _convolutions(file: Path) -> dict[str, Tensor]:
    """Weights and biases of the convolutions in an ONNX file, float32, by the names that they had in torch.

    torch's exporter names a node by the modules it came from, '/heads.2/box/box.0/box.0.0/Conv': each part is a child
    of the one before, and the indices of sequences stand beside their names, so this is heads.2.box.0.0.
    """
    try:
        import onnx
    except ImportError:
        raise BackendError("reading the detector's weights needs the package onnx: pip install onnx") from None
    try:
        graph = onnx.load(file).graph
    except Exception as error:  # whatever protobuf raises for a damaged file
        raise BackendError(f"{file}: not an ONNX file: {' '.join(str(error).split())[:150]}") from None
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:  # weights may be stored as FP16 and cast; equal ones are stored once
        if node.op_type in ("Cast", "Identity") and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    found: dict[str, Tensor] = {}
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
                    found[".".join([*path, kind])] = torch.from_numpy(arrays[value].astype(np.float32))
    return found
