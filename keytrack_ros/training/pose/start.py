"""Weights to start a pose training from: runs, exported networks, and the published HRNet checkpoints."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from keytrack_ros.errors import DataError, ModelError
from keytrack_ros.estimation.checkpoints import read_weights
from keytrack_ros.training.common.setup import averaged_weights

HEAD = "final_layer."


def start_weights(file: Path, network: nn.Module) -> dict[str, Tensor]:
    """A complete set of weights for an HRNet.

    Args:
        file: a run's checkpoint.pt or an exported .pt, see `averaged_weights`; or a published checkpoint (.pth), whose
            entries replace those of `network`, apart from a last layer for other joints and a classifier of ImageNet.
        network: the HRNet; it is not changed.

    Raises DataError if the file is missing, damaged or of another network.
    """
    if file.suffix != ".pth":
        return averaged_weights(file, network)
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
