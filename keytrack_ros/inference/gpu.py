"""The NVIDIA GPU: whether there is one that can be used, what it is, and CUDA's calls with their results checked.

CUDA is reached through NVIDIA's own `cuda-bindings` (8 MB, needs nothing but the driver): TensorRT brings no allocator
for Python, and torch with CUDA would weigh gigabytes for a few calls.
"""

from __future__ import annotations

import ctypes
import importlib
from dataclasses import dataclass
from typing import Any

from keytrack_ros.inference.session import BackendError, DeviceMemoryError

DRIVER = "libcuda.so.1"
"""The driver's library; it comes with the driver alone."""


@dataclass(frozen=True)
class Gpu:
    """What an engine depends on.

    Attributes:
        name: as the driver says, such as "NVIDIA H100 80GB HBM3".
        capability: compute capability, such as "9.0".
    """

    name: str
    capability: str


def require_driver() -> None:
    """Raises BackendError if there is no NVIDIA driver."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        raise BackendError(f"there is no NVIDIA driver ({DRIVER})") from None


def cuda_runtime() -> Any:
    """The module `cuda.bindings.runtime`. Raises BackendError if it is not installed."""
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise BackendError(f"cuda-bindings is not installed ({error}): pip install 'keytrack_ros[gpu]'") from None


def call(function: Any, *arguments: Any) -> Any:
    """One call of CUDA's runtime; its result, or None if it has none.

    Raises:
        DeviceMemoryError: the device has not the memory.
        BackendError: CUDA refuses, for whatever other reason; the text is CUDA's own.
    """
    status, *results = function(*arguments)
    if int(status) == 0:
        return results[0] if results else None
    runtime = cuda_runtime()
    text = f"{function.__name__}: {_text(runtime.cudaGetErrorString(status)[1])} ({_text(status.name)})"
    if status.name == "cudaErrorMemoryAllocation":
        raise DeviceMemoryError(text)
    raise BackendError(text)


def find_gpu() -> Gpu:
    """The first GPU that CUDA shows (CUDA_VISIBLE_DEVICES chooses).

    Raises BackendError if there is no driver, no GPU, or the driver is too old for the installed CUDA.
    """
    require_driver()
    runtime = cuda_runtime()
    try:
        count = call(runtime.cudaGetDeviceCount)
        if not count:
            raise BackendError("CUDA shows no GPU")
        properties = call(runtime.cudaGetDeviceProperties, 0)
    except BackendError as error:
        versions = (runtime.cudaDriverGetVersion()[1], runtime.cudaRuntimeGetVersion()[1])
        driver, installed = (f"{version // 1000}.{version % 1000 // 10}" for version in versions)
        raise BackendError(f"{error}; the driver supports CUDA {driver}, installed is CUDA {installed}") from None
    return Gpu(_text(properties.name).rstrip("\0"), f"{properties.major}.{properties.minor}")


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
