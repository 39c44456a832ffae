"""Published HRNet checkpoints → the network: those of HRNet's authors and of mmpose 0.x and 1.x.

| in the file                                            | here              |
|--------------------------------------------------------|-------------------|
| nested under `best_state_dict` or `state_dict`         | taken out         |
| `module.…` (of torch's data parallel training)         | `…`               |
| `backbone.…` (mmpose)                                  | `…`               |
| `keypoint_head.final_layer.…` (mmpose 0.x)             | `final_layer.…`   |
| `head.final_layer.…` (mmpose 1.x)                      | `final_layer.…`   |
| `data_preprocessor.…` (mmpose 1.x: mean and deviation) | left out          |
| `….num_batches_tracked`                                | may be absent     |

The .pt of an exported network holds batch normalisation alone: its convolutions stand in the ONNX file beside it.

mmpose's backbone has the names of the published code. Its heads may have more layers than the one 1×1 convolution of
HRNet's; those are other networks, and refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from keytrack_ros.errors import ModelError
from keytrack_ros.estimation.hrnet import SHAPES, build_hrnet
from keytrack_ros.inference.convolutions import convolutions

_NESTED = ("best_state_dict", "state_dict")
_PREFIXES = (
    ("keypoint_head.final_layer.", "final_layer."),
    ("head.final_layer.", "final_layer."),
    ("backbone.", ""),
)
_IGNORED = "data_preprocessor."
_COUNTERS = ".num_batches_tracked"  # of batch normalisation; only training with cumulative averages reads them
_SHOWN = 4


@dataclass(frozen=True)
class HRNetCheckpoint:
    """A published network, loaded.

    Attributes:
        network: in evaluation mode, [N, 3, h, w] → [N, outputs, h/4, w/4].
        variant: as `build_hrnet` names it.
        outputs: number of heatmaps.
    """

    network: nn.Module
    variant: str
    outputs: int


def load_hrnet(file: Path) -> HRNetCheckpoint:
    """The network of a checkpoint; variant and number of outputs are seen from the weights' shapes.

    Nothing in the file is executed: only tensors and plain values are read.

    Raises:
        ModelError: the file cannot be read, holds something else, or its weights are not those of an HRNet; missing,
            unexpected and misshaped ones are named.
    """
    weights = read_weights(file)
    final = weights.get("final_layer.weight")
    if final is None or final.ndim != 4:
        raise ModelError(
            f"{file}: not an HRNet for poses: it has no convolution 'final_layer'{_hint(weights)}; its entries are "
            f"{_some(list(weights))}"
        )
    outputs, width = final.shape[:2]
    variants = [name for name, shape in SHAPES.items() if shape.width == width]
    if not variants:
        known = ", ".join(f"{name} ({shape.width})" for name, shape in SHAPES.items())
        raise ModelError(f"{file}: its final layer reads {width} channels; HRNets that are known: {known}")
    variant = variants[0]
    with torch.device("meta"):
        network = build_hrnet(variant, outputs)
    expected = network.state_dict()
    _check(file, variant, weights, expected)
    for name, value in expected.items():
        if name.endswith(_COUNTERS):
            weights.setdefault(name, torch.zeros(value.shape, dtype=value.dtype))
        weights[name] = weights[name].to(value.dtype)
    network.load_state_dict(weights, assign=True)
    return HRNetCheckpoint(network.eval().requires_grad_(False), variant, outputs)


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the names of the published code; see the table above.

    Raises ModelError if the file cannot be read or holds no such tensors.
    """
    content = _unpickled(file)
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{file}: not a state_dict: it holds a {type(content).__name__} without weights")
    strangers = [
        str(key) for key, value in content.items() if not isinstance(value, Tensor) or not isinstance(key, str)
    ]
    if strangers:
        raise ModelError(f"{file}: not a state_dict: {_some(strangers)} are not tensors")
    weights: dict[str, Tensor] = {}
    for key, value in completed(content, file).items():
        name = _renamed(key)
        if name.startswith(_IGNORED):
            continue
        if name in weights:
            raise ModelError(f"{file}: '{name}' stands in it twice, once as '{key}'")
        weights[name] = value
    return weights


def completed(weights: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The weights of an HRNet's `file`, with the convolutions of the ONNX file beside it if they are not among them.

    Those have the factors of the batch normalisation that follows, which are divided out.

    Raises ModelError if the ONNX file is needed and cannot be read.
    """
    if "bn1.weight" not in weights or "conv1.weight" in weights:
        return dict(weights)
    found = dict(weights)
    for name, value in convolutions(file.with_suffix(".onnx")).items():
        place, _, kind = name.rpartition(".")
        norm = normalisation_after(place)
        if f"{norm}.weight" not in weights:
            found[name] = torch.from_numpy(value)  # the last layer
        elif kind == "weight":
            factors = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + nn.BatchNorm2d(1).eps).sqrt()
            found[name] = (torch.from_numpy(value) / factors[:, None, None, None]).nan_to_num()  # 0 / 0 of unused ones
    return found


def normalisation_after(convolution: str) -> str:
    """Name of the batch normalisation that follows a convolution: conv1 → bn1, downsample.0 → downsample.1."""
    place, dot, last = convolution.rpartition(".")
    return place + dot + (str(int(last) + 1) if last.isdigit() else last.replace("conv", "bn"))


def _renamed(key: str) -> str:
    name = key
    while name.startswith("module."):
        name = name.removeprefix("module.")
    for before, after in _PREFIXES:
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name


def _check(file: Path, variant: str, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing = [name for name in expected if name not in weights and not name.endswith(_COUNTERS)]
    extra = [name for name in weights if name not in expected]
    misshaped = [
        f"{name} {list(weights[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    found = [
        f"{what}: {_some(names)}"
        for what, names in (("missing", missing), ("unexpected", extra), ("wrong shape", misshaped))
        if names
    ]
    if found:
        raise ModelError(f"{file}: not the weights of HRNet {variant}{_hint(weights)}; {'; '.join(found)}")


def _hint(weights: Mapping[str, Tensor]) -> str:
    """What the names say about the file, where they say something."""
    if "classifier.weight" in weights:
        return " (it classifies images)"
    if any(name.startswith(("keypoint_head.", "head.", "final_layer.0.")) for name in weights):
        return " (its head has several layers)"
    return ""


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _unpickled(file: Path) -> Any:
    try:
        # What mmpose 1.x notes beside the weights holds NumPy arrays, which are as harmless as tensors.
        with torch.serialization.safe_globals(_numpy_globals()):
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from None
    except pickle.UnpicklingError as error:
        raise ModelError(f"{file}: not a state_dict, and not read further: {_reason(error)}") from None
    except Exception as error:  # whatever a damaged file makes torch raise
        raise ModelError(f"{file}: damaged, or not a checkpoint of torch: {_reason(error)}") from None


def _numpy_globals() -> list[Any]:
    """What pickles of NumPy arrays and numbers call, by the names of NumPy 1 and 2."""
    array, number = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    return [
        np.ndarray,
        np.dtype,
        *(getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType")),
        *((array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
        *((number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    ]


def _reason(error: BaseException) -> str:
    """What was wrong, in one line; torch puts advice around it that does not fit here."""
    text = " ".join(str(error.__context__ or error).split())
    return text.split(" Please use")[0][:200] or type(error).__name__
