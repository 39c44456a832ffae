from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from keytrack_ros.gpu.batches import BatchedNetwork, bucket
from keytrack_ros.inference.session import DeviceMemoryError


class Mean(nn.Module):
    """Mean of each image; notes the sizes of batches, and has memory for `room` images."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__()
        self.room, self.sizes = room, list[int]()
        self.factor = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError(f"CUDA out of memory.\nTried to allocate {len(images)} GiB")
        return images.mean((2, 3)) * self.factor


def test_sizes_are_powers_of_two_up_to_the_largest_that_is_allowed():
    assert [bucket(n, 32) for n in (1, 2, 3, 4, 5, 8, 9, 16, 17, 26, 32)] == [1, 2, 4, 4, 8, 8, 16, 16, 32, 32, 32]
    assert [bucket(n, 12) for n in (1, 7, 9, 12)] == [1, 8, 12, 12]


def test_each_image_has_its_own_result_however_many_there_are(device):
    network = Mean()
    batched = BatchedNetwork(network, (3, 4, 5), device, half=False)
    for count in (5, 1, 8, 3, 21):
        images = torch.randn(count, 3, 4, 5, device=device)
        network.sizes.clear()
        torch.testing.assert_close(batched(images, 8), images.mean((2, 3)))
        if device.type == "cpu":
            assert network.sizes == {5: [8], 1: [1], 8: [8], 3: [4], 21: [8, 8, 8]}[count]


def test_earlier_results_stay_when_the_next_batch_is_run(device):
    batched = BatchedNetwork(Mean(), (3, 4, 5), device, half=False)
    first = batched(torch.ones(2, 3, 4, 5, device=device), 8)
    batched(torch.zeros(2, 3, 4, 5, device=device), 8)
    assert first.tolist() == [[1.0] * 3] * 2


def test_with_too_little_memory_batches_become_smaller_and_stay_so(device, caplog):
    network = Mean(room=3)
    batched = BatchedNetwork(network, (3, 4, 5), device, half=False)
    images = torch.randn(11, 3, 4, 5, device=device)
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(batched(images, 16), images.mean((2, 3)))
    assert [record.getMessage() for record in caplog.records] == [
        "torch: CUDA out of memory. Tried to allocate 16 GiB; from now on at most 5 images at a time",
        "torch: CUDA out of memory. Tried to allocate 5 GiB; from now on at most 2 images at a time",
    ]
    network.sizes.clear()
    torch.testing.assert_close(batched(images, 16), images.mean((2, 3)))
    assert max(network.sizes, default=0) <= 2


def test_memory_for_not_even_one_image_is_an_error_with_the_way_out(device):
    batched = BatchedNetwork(Mean(room=0), (3, 4, 5), device, half=False)
    with pytest.raises(
        DeviceMemoryError, match=r"Tried to allocate 1 GiB; not enough memory for a single image.*device to"
    ):
        batched(torch.zeros(4, 3, 4, 5, device=device), 4)


def test_half_precision_computes_in_fp16_and_gives_fp32(device):
    batched = BatchedNetwork(Mean(), (3, 4, 5), device, half=True)
    found = batched(torch.full((2, 3, 4, 5), 1 + 2**-12, device=device), 2)  # FP16 has 10 bits behind the point
    assert found.dtype == torch.float32
    assert found.tolist() == [[1.0] * 3] * 2
