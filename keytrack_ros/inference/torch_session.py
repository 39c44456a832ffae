"""A network in torch: the reference for other backends, and the way to a GPU where only torch is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.session import Array, BackendError, DeviceMemoryError

if TYPE_CHECKING:
    from torch import Tensor, nn

_Network = TypeVar("_Network", bound="nn.Module")
_DTYPES = ("float32", "int64", "bool")

TorchLoader = Callable[[], "nn.Module"]
"""Gives a torch network; imports torch only when called."""


@dataclass(frozen=True)
class TorchNetwork:
    """The torch network that an ONNX file was made from.

    Attributes:
        load: gives it.
        inputs: shape of one row of each input by its name in the ONNX file, in the order of the network's arguments.
        output: name of the output in the ONNX file.
        fp32: computes in FP32 even where FP16 is asked for.
    """

    load: TorchLoader
    inputs: Mapping[str, tuple[int, ...]]
    output: str
    fp32: bool = False


class TorchSession:
    """Runs a torch network: FP32 on the CPU; on CUDA channels-last, and FP16 if `half`.

    Args:
        network: what to run.
        device: `cpu` or `cuda`.
        half: whether CUDA computes in FP16.

    Raises:
        BackendError: torch is not installed, or cannot use the GPU.
        DeviceMemoryError: the GPU has not the memory for the weights.
    """

    def __init__(self, network: TorchNetwork, device: str, half: bool) -> None:
        try:
            import torch
        except ImportError:
            raise BackendError("torch is not installed: pip install torch") from None
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendError(f"torch {torch.__version__} cannot use the GPU; install the build for its CUDA version")
        self._torch = torch
        self._about = network
        self._device = torch.device(device)
        self._dtype = torch.float16 if half and device == "cuda" and not network.fp32 else torch.float32
        module = network.load().eval().requires_grad_(False)
        try:
            moved = module.to(self._device, self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(f"torch: {_line(error)}") from None
        self._network: nn.Module | None = moved

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        return {name: (None, *shape) for name, shape in self._about.inputs.items()}

    @property
    def output_names(self) -> Sequence[str]:
        return [self._about.output]

    @property
    def runs_on(self) -> str:
        numbers = "FP16" if self._dtype == self._torch.float16 else "FP32"
        return f"torch {self._torch.__version__} ({str(self._device).upper()}, {numbers})"

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._network is None:
            raise ModelError("the torch session is closed")
        wanted = self._about.inputs
        fits = inputs.keys() == wanted.keys() and all(
            array.shape[1:] == wanted[name] and array.dtype in _DTYPES for name, array in inputs.items()
        )
        if not fits:
            given = {name: (array.shape, str(array.dtype)) for name, array in inputs.items()}
            needed = ", ".join(f"'{name}' of (N, *{shape})" for name, shape in wanted.items())
            raise ModelError(f"inputs are {given}; {needed} of {', '.join(_DTYPES)} are needed")
        try:
            with self._torch.inference_mode():
                output = self._network(*(self._on_device(inputs[name]) for name in wanted))
                return {self._about.output: output.float().contiguous().cpu().numpy()}
        except self._torch.OutOfMemoryError as error:
            raise DeviceMemoryError(f"torch: {_line(error)}") from None

    def close(self) -> None:
        self._network = None

    def _on_device(self, array: Array) -> Tensor:
        tensor = self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
        if tensor.is_floating_point():
            tensor = tensor.to(self._dtype)
        images = tensor.ndim == 4
        return tensor.contiguous(memory_format=self._torch.channels_last) if images else tensor


def fold_batch_norms(network: _Network) -> _Network:
    """Folds each batch normalisation into the convolution before it, in place; returns the network.

    The network is in evaluation mode. In ours, as in the published HRNet, normalisation is declared right after its
    convolution.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in network.modules():
        children = list(module.named_children())
        for (name, before), (next_name, after) in pairwise(children):
            if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(before, after))
                setattr(module, next_name, nn.Identity())
    return network


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
