"""A network on the device, run in a few batch sizes.

Each size is prepared once: on CUDA the forward pass is recorded as a CUDA graph, whose replay costs the host one call
in place of a thousand. The graph is used where it measures faster than the network itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from keytrack_ros.inference.session import DeviceMemoryError

logger = logging.getLogger(__name__)

_TRIALS = 5
"""Passes by which graph and network are compared."""


class BatchedNetwork:
    """Runs an image network on any number of images, in batches padded to 1, 2, 4, 8, 16, 32 … images.

    After the device ran out of memory, batches have at most half that size.

    Args:
        network: [N, *shape] → [N, …]; it is moved to the device.
        shape: channels, height and width of the images for which `prepare` prepares.
        device: where it runs.
        half: FP16 weights and arithmetic; otherwise FP32.

    Raises:
        DeviceMemoryError: the device has not the memory for the weights.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, int, int], device: torch.device, half: bool) -> None:
        self.shape = shape
        self.device = device
        self.dtype = torch.float16 if half else torch.float32
        try:
            self._network: nn.Module = network.eval().to(device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(f"torch: {_line(error)}") from None
        self._limit: int | None = None
        self._sizes: dict[tuple[int, ...], _Pass] = {}  # by images in the batch, channels, height and width
        self._pool: Any = None  # torch's handle of a memory pool, whose type is private

    @torch.inference_mode()
    def prepare(self, max_images: int) -> Tensor:
        """Prepares every batch size up to `max_images`, on CUDA; returns the output for one image of zeros."""
        sizes = (
            {bucket(count, max_images) for count in range(1, max_images + 1)} if self.device.type == "cuda" else set()
        )
        for size in sorted(sizes, reverse=True):  # smaller ones then find room in the memory of the largest
            self(torch.zeros(size, *self.shape, device=self.device), max_images)
        return self(torch.zeros(1, *self.shape, device=self.device), max_images)

    def close(self) -> None:
        """Frees the network; it is not used afterwards."""
        self._sizes.clear()
        self._network = nn.Identity()

    @torch.inference_mode()
    def __call__(self, images: Tensor, max_images: int) -> Tensor:
        """The outputs [N, …] float32 of N ≥ 1 images [N, C, H, W] float32, at most `max_images` per batch.

        Raises DeviceMemoryError if a single image does not fit into the memory.
        """
        parts: list[Tensor] = []
        begin = 0
        while begin < len(images):
            step = min(self._limit or max_images, max_images, len(images) - begin)
            try:
                parts.append(
                    self._run(images[begin : begin + step], bucket(step, min(self._limit or max_images, max_images)))
                )
            except torch.OutOfMemoryError as error:
                self._make_room(step, error)
                continue
            begin += step
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run(self, images: Tensor, size: int) -> Tensor:
        shape = (size, *images.shape[1:])
        if shape not in self._sizes:
            if self.device.type == "cuda" and self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()  # one for all sizes: they never run side by side
            self._sizes[shape] = _Pass(self._network, shape, self.device, self.dtype, self._pool)
        # float32, and a copy in any case: the next batch of this size will be written over the output of this one
        return self._sizes[shape](images)[: len(images)].to(torch.float32, copy=True)

    def _make_room(self, tried: int, error: torch.OutOfMemoryError) -> None:
        if tried == 1:
            raise DeviceMemoryError(
                f"torch: {_line(error)}; not enough memory for a single image: stop other processes on the GPU, "
                "take a smaller network, or set inference.device to cpu"
            ) from None
        self._limit = tried // 2
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # what is still computed needs its memory until then
        self._sizes.clear()
        self._pool = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        logger.warning("torch: %s; from now on at most %d images at a time", _line(error), self._limit)


def bucket(count: int, max_images: int) -> int:
    """Batch size for `count` images: the next power of two, at most `max_images`."""
    return min(1 << (count - 1).bit_length(), max_images)


class _Pass:
    """The forward pass for one batch size. Its input buffer is fixed; unused rows keep earlier values."""

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype,
        pool: Any,
    ) -> None:
        self._input = torch.zeros(shape, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
        self._forward: Callable[[], Tensor] = lambda: network(self._input)
        if device.type == "cuda":
            self._forward = _faster(self._forward, shape, pool)

    def __call__(self, images: Tensor) -> Tensor:
        self._input[: len(images)].copy_(images)
        return self._forward()


def _faster(forward: Callable[[], Tensor], shape: tuple[int, ...], pool: Any) -> Callable[[], Tensor]:
    """`forward`, or the replay of a CUDA graph of it, whichever takes less time on this machine."""
    tuned = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True  # the shape is fixed: let cuDNN try which algorithm is fastest
    try:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # warm up aside, as capturing demands
            for _ in range(3):
                forward()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            output = forward()
    finally:
        torch.backends.cudnn.benchmark = tuned

    def replay() -> Tensor:
        graph.replay()
        return output

    seconds = {way: _seconds(way) for way in (forward, replay)}
    logger.debug("%s: %.2f ms, as CUDA graph %.2f ms", shape, *(1e3 * value for value in seconds.values()))
    return min(seconds, key=lambda way: seconds[way])


def _seconds(way: Callable[[], Tensor]) -> float:
    """Wall time of a pass, launches included."""
    torch.cuda.synchronize()
    begin = perf_counter()
    for _ in range(_TRIALS):
        way()
    torch.cuda.synchronize()
    return (perf_counter() - begin) / _TRIALS


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
