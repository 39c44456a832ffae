"""An image network in torch: the reference for other backends, and the way to a GPU where only torch is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.session import Array, BackendError, DeviceMemoryError

if TYPE_CHECKING:
    from torch import nn

TorchLoader = Callable[[], "nn.Module"]
"""Gives a torch network, [N, C, H, W] float32 → [N, …]; imports torch only when called."""


@dataclass(frozen=True)
class TorchNetwork:
    """The torch network that an ONNX file was made from.

    Attributes:
        load: gives it.
        input: name of the input in the ONNX file.
        shape: channels, height, width.
        output: name of the output in the ONNX file.
    """

    load: TorchLoader
    input: str
    shape: tuple[int, int, int]
    output: str


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
        self._dtype = torch.float16 if half and device == "cuda" else torch.float32
        module = network.load().eval().requires_grad_(False)
        try:
            moved = module.to(self._device, self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(f"torch: {_line(error)}") from None
        self._network: nn.Module | None = moved

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        return {self._about.input: (None, *self._about.shape)}

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
        batch = inputs.get(self._about.input)
        if batch is None or batch.shape[1:] != self._about.shape or batch.dtype != np.float32:
            given = {name: (array.shape, str(array.dtype)) for name, array in inputs.items()}
            raise ModelError(
                f"inputs are {given}; '{self._about.input}' of (N, *{self._about.shape}) float32 is needed"
            )
        try:
            with self._torch.inference_mode():
                images = self._torch.from_numpy(np.ascontiguousarray(batch)).to(self._device, self._dtype)
                output = self._network(images.contiguous(memory_format=self._torch.channels_last))
                return {self._about.output: output.float().contiguous().cpu().numpy()}
        except self._torch.OutOfMemoryError as error:
            raise DeviceMemoryError(f"torch: {_line(error)}") from None

    def close(self) -> None:
        self._network = None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
