"""Frames overlap only if the host launches work without asking for results: once boxes are known, nothing may wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from keytrack_ros.estimation import EstimatorOptions
from keytrack_ros.gpu.batches import BatchedNetwork
from keytrack_ros.gpu.boxes import suppress
from keytrack_ros.gpu.estimation import DeviceEstimator
from keytrack_ros.gpu.toks import Candidates, carried_boxes, keep_best
from keytrack_ros.inference.cards import PoseCard
from keytrack_ros.inference.registry import find_model
from keytrack_ros.toks import ToksOptions
from test import toy
from test.gpu.toy_torch import ToyPose

ASKING = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "is_nonzero", "unique", "_unique2"}
"""Operators whose result, or whose result's shape, the host has to know."""


class Refusing(TorchDispatchMode):
    """Refuses operators that would make the host wait, if the tensors were on a GPU."""

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        mask = name == "index" and any(index is not None and index.dtype == torch.bool for index in args[1])
        assert name not in ASKING, name
        assert not mask, "indexed with a mask"
        return func(*args, **(kwargs or {}))


@contextmanager
def nothing_waits(device: torch.device) -> Iterator[None]:
    """On CUDA torch itself watches, copies to the device included."""
    if device.type == "cpu":
        with Refusing():
            yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("decoder", ["quarter", "dark"])
def test_from_crops_to_what_stays_nothing_waits(device: torch.device, decoder: str, tmp_path: Path) -> None:
    card = replace(find_model(PoseCard, toy.ESTIMATOR, [toy.write_networks(tmp_path)]), decoder=decoder, blur_sigma=1.0)
    options = EstimatorOptions(flip_test=True, batch_size=4)
    estimator = DeviceEstimator(card, BatchedNetwork(ToyPose(card.path), (3, 64, 48), device, False), options)
    frame = torch.rand(3, 200, 300, device=device) * 255
    boxes = torch.tensor([[10.0, 20, 80, 150], [100, 30, 180, 190], [12, 20, 80, 150]], device=device)

    def work() -> None:
        keypoints, scores = estimator.estimate([frame], [boxes], options)
        poses = Candidates(keypoints, scores, boxes, torch.ones_like(boxes[:, 0]), boxes[:, 0] > 50)
        stay = keep_best(poses, ToksOptions())
        carried_boxes(keypoints, torch.where(stay[:, None], scores, 0), (300, 200), ToksOptions())

    work()  # constants go to the device at the first call
    with torch.inference_mode(), nothing_waits(device):
        work()


@pytest.mark.parametrize("ask", [lambda x: x[x > 0], lambda x: x.sum().item(), lambda x: suppress(x[None] > 0, x)])
def test_asking_is_noticed(device: torch.device, ask: Callable[[torch.Tensor], object]) -> None:
    values = torch.ones(1, device=device)
    with pytest.raises((AssertionError, RuntimeError)), nothing_waits(device):
        ask(values)
