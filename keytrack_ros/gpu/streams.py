"""CUDA streams, events and downloads, with the same interface on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any

import torch
from torch import Tensor


class Stream:
    """A CUDA stream; on the CPU, where work is done at the call, nothing."""

    def __init__(self, device: torch.device) -> None:
        # torch's CUDA classes carry no types, hence Any here and below
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def work(self) -> AbstractContextManager[Any]:
        """Work launched in the block belongs to this stream."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def wait_for(self, other: Stream) -> None:
        """Work launched here from now on waits for all work launched there so far."""
        if self._stream is not None:
            self._stream.wait_stream(other._stream)


class Timer:
    """Times of marks in the device's work: CUDA events, which do not synchronise; the clock on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        self._marks: dict[str, Any] = {}

    def mark(self, name: str) -> None:
        """Marks the point that the work of the current stream has reached."""
        if self._on_cuda:
            self._marks[name] = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            self._marks[name].record()
        else:
            self._marks[name] = perf_counter()

    def between(self, begin: str, end: str) -> float:
        """Seconds between two marks; the work up to both must be complete."""
        if self._on_cuda:
            return float(self._marks[begin].elapsed_time(self._marks[end])) / 1e3
        return float(self._marks[end] - self._marks[begin])


class Download:
    """A tensor on its way to the host, through page-locked memory."""

    def __init__(self, tensor: Tensor) -> None:
        self._host = tensor
        self._arrived: Any = None
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def wait(self) -> Tensor:
        """The tensor on the host; all work launched before it in its stream is complete then."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host
