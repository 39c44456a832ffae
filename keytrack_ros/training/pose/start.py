"""Weights to start a pose training from: runs, exported networks, and the published HRNet checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from keytrack_ros.errors import DataError, ModelError
from keytrack_ros.estimation.checkpoints import read_weights
from keytrack_ros.training.common.setup import trained_weights

HEAD = "final_layer."


def start_weights(file: Path, network: nn.Module) -> dict[str, Tensor]:
    """A complete set of weights for an HRNet.

    Args:
        file: a run's checkpoint.pt or an exported .pt, of this network or a narrower one of the same depth (see
            `widened`); or a published checkpoint (.pth), whose entries replace those of `network`, apart from a last
            layer for other joints and a classifier of ImageNet.
        network: the HRNet; it is not changed.

    Raises DataError if the file is missing, damaged or of another network.
    """
    if file.suffix != ".pth":
        return widened(trained_weights(file), network, file)
    own = network.state_dict()
    try:
        given = read_weights(file)
    except ModelError as error:
        raise DataError(str(error)) from None
    fitting = {name: value for name, value in given.items() if name in own and value.shape == own[name].shape}
    counters = ".num_batches_tracked"
    missing = [
        name for name in own if name not in fitting and not name.startswith(HEAD) and not name.endswith(counters)
    ]
    if missing:
        raise DataError(
            f"{file}: not the backbone of this network: '{missing[0]}' and {len(missing) - 1} more do not fit"
        )
    return {name: fitting.get(name, value).to(value.dtype) for name, value in own.items()}


def widened(weights: Mapping[str, Tensor], network: nn.Module, file: Path) -> dict[str, Tensor]:
    """Weights of a narrower network for a wider one that computes the same (Chen et al., Net2Net, 2016, in spirit).

    The new channels are as in `network`; the old ones do not read them.

    Raises DataError, which names `file`, if the networks differ in more than their widths.
    """
    own = network.state_dict()
    if own.keys() != weights.keys() or any(
        len(value.shape) != len(own[name].shape)
        or any(old > new for old, new in zip(value.shape, own[name].shape, strict=True))
        for name, value in weights.items()
    ):
        raise DataError(
            f"{file}: holds no averaged weights of such a network or a narrower one; name the checkpoint of a run like "
            "this"
        )
    for name, value in weights.items():
        own[name] = own[name].clone()
        if value.dim() > 1:
            own[name][: len(value)] = 0
        own[name][tuple(slice(side) for side in value.shape)] = value
    return own
