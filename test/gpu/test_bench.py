from __future__ import annotations

import pytest
import torch
from rich.console import Console
from torch import nn

from test.evaluation.test_bench import script


def test_the_benchmark_runs_with_one_missed_and_all_carried_over(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = script("gpu")
    console = Console(record=True, width=110)
    monkeypatch.setattr(gpu, "console", console)
    gpu.measure(
        device="cpu",
        frames=3,
        pose="w16_small",
        width=64,
        height=96,
        flip_test=True,
        people=3,
        cameras=2,
        frame_width=320,
        frame_height=240,
        detector_side=64,
        batch_size=4,
    )
    text = console.export_text()
    assert "CPU, torch " in text
    assert "FP32: HRNet w16_small 96×64 with flip test, 10 crops a frame of 320×240, 2 cameras, 3 frames" in text
    assert "from image to ids: " in text
    for stage in gpu.STAGES:
        assert stage in text


def test_the_floor_of_a_convolution_is_the_longer_of_arithmetic_and_traffic() -> None:
    gpu = script("gpu")
    # 8 → 4 channels, 3×3, on 2 images of 10×10: 2·4·100·72 multiply-adds; 2·8·100 + 2·4·100 + 4·8·9 numbers
    layer = nn.Conv2d(8, 4, 3, padding=1, bias=False)
    assert gpu.floor(layer, 2, (8, 10, 10), (57_600.0, 1e12), 2) == pytest.approx(1.0)
    assert gpu.floor(layer, 2, (8, 10, 10), (1e12, 2 * 2688.0), 2) == pytest.approx(1.0)


def test_rates_are_those_of_the_device() -> None:
    gpu = script("gpu")
    products, moved = gpu.rates(torch.device("cpu"), torch.float32)
    assert 1e8 < products < 1e13
    assert 1e7 < moved < 1e12
