# ruff: noqa: ARG001, N801, N802, N803, N815  (names and parameters are those of the real module)
"""Stands in for `cuda.bindings.runtime`: the host's memory as a device's, with a limit that a test may set.

test_gpu.py holds its functions against the real module, which is installed for development and needs no GPU to be
looked at.
"""

from __future__ import annotations

import ctypes
import enum
from typing import Any

limit = 1 << 40
"""Bytes that the device has."""
devices = 1
driver = 12090
memory: dict[int, Any] = {}
"""What was allocated and not freed, by address."""


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaDeviceProp:
    name = b"Stand-in GPU"
    major = 8
    minor = 7


def cudaGetErrorString(error: Any) -> tuple[Any, bytes]:
    return cudaError_t.cudaSuccess, error.name.encode()


def cudaGetDeviceCount() -> tuple[Any, Any]:
    return (cudaError_t.cudaSuccess, devices) if driver >= 12000 else (cudaError_t.cudaErrorInsufficientDriver, None)


def cudaGetDeviceProperties(device: int) -> tuple[Any, Any]:
    return cudaError_t.cudaSuccess, cudaDeviceProp()


def cudaDriverGetVersion() -> tuple[Any, int]:
    return cudaError_t.cudaSuccess, driver


def cudaRuntimeGetVersion() -> tuple[Any, int]:
    return cudaError_t.cudaSuccess, 12090


def cudaMalloc(size: int) -> tuple[Any, Any]:
    if size + sum(len(block) for block in memory.values()) > limit:
        return cudaError_t.cudaErrorMemoryAllocation, None
    block = (ctypes.c_ubyte * size)()
    memory[ctypes.addressof(block)] = block
    return cudaError_t.cudaSuccess, ctypes.addressof(block)


def cudaFree(devPtr: int) -> tuple[Any]:
    del memory[devPtr]
    return (cudaError_t.cudaSuccess,)


def cudaMallocHost(size: int) -> tuple[Any, Any]:
    return cudaMalloc(size)


def cudaFreeHost(ptr: int) -> tuple[Any]:
    return cudaFree(ptr)


def cudaMemcpyAsync(dst: int, src: int, count: int, kind: Any, stream: Any) -> tuple[Any]:
    ctypes.memmove(dst, src, count)
    return (cudaError_t.cudaSuccess,)


def cudaStreamCreate() -> tuple[Any, Any]:
    return cudaError_t.cudaSuccess, 7


def cudaStreamDestroy(stream: Any) -> tuple[Any]:
    return (cudaError_t.cudaSuccess,)


def cudaStreamSynchronize(stream: Any) -> tuple[Any]:
    return (cudaError_t.cudaSuccess,)
