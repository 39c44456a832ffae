"""Uploads, downloads and times on a device, with the same interface on the CPU."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from keytrack_ros.poses import FloatArray, ImageArray


class Upload:
    """Copies the frames of one camera to the device.

    On CUDA through page-locked memory, so that the copy overlaps with computation. Two buffers alternate: one is filled
    while the other may still be in transfer.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: list[Tensor] = [torch.empty(0, dtype=torch.uint8)] * 2
        self._sent: list[Any] = [None, None]  # torch.cuda.Event, which carries no types
        self._turn = 0

    def __call__(self, image_bgr: ImageArray) -> Tensor:
        """[H, W, 3] uint8 on the host → [3, H, W] float32 on the device, 0..255, channels in the same order."""
        self._turn = 1 - self._turn
        sent = self._sent[self._turn]
        if sent is not None:
            sent.synchronize()
        if self._buffers[self._turn].shape != image_bgr.shape:
            on_cuda = self._device.type == "cuda"
            self._buffers[self._turn] = torch.empty(image_bgr.shape, dtype=torch.uint8, pin_memory=on_cuda)
        buffer = self._buffers[self._turn]
        np.copyto(buffer.numpy(), image_bgr)
        frame = buffer.to(self._device, non_blocking=True)
        if self._device.type == "cuda":
            self._sent[self._turn] = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._sent[self._turn].record()
        return frame.permute(2, 0, 1).float()


def download(tensor: Tensor) -> FloatArray:
    """The tensor on the host, once all work before it is complete."""
    return tensor.cpu().numpy()


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
