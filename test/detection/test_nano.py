"""The detector's network: shapes, size, and rows that the decoder understands."""

import numpy as np
import pytest
import torch

from keytrack_ros.detection import yolox
from keytrack_ros.detection.nano import ROW, STRIDES, NanoDetector, to_rows


@pytest.fixture(scope="module")
def network() -> NanoDetector:
    torch.manual_seed(0)
    return NanoDetector().eval()


def test_it_has_less_than_a_million_parameters(network: NanoDetector) -> None:
    assert sum(p.numel() for p in network.parameters()) == 976_783


@pytest.mark.parametrize(("width", "height"), [(416, 416), (96, 64), (32, 32)])
def test_any_multiple_of_32_gives_a_row_a_cell(network: NanoDetector, width: int, height: int) -> None:
    with torch.no_grad():
        rows = network(torch.zeros(2, 3, height, width))
    corners, _ = yolox.cell_grid((width, height), STRIDES)
    assert rows.shape == (2, len(corners), ROW)
    assert ((rows[..., 4] >= 0) & (rows[..., 4] <= 1)).all()
    assert (rows[..., 5] == 1).all()


def test_a_new_network_says_little_and_places_boxes_around_its_cells(network: NanoDetector) -> None:
    with torch.no_grad():
        rows = network(torch.zeros(1, 3, 64, 64))[0].numpy()
    boxes, scores = yolox.decode(rows, *yolox.cell_grid((64, 64), STRIDES), person_class=0)
    assert scores.max() < 0.05
    sizes = (boxes[:, 2:] - boxes[:, :2]).mean(1)
    assert np.median(sizes[:64]) == pytest.approx(32, rel=0.5)  # four strides of 8


def test_rows_stand_in_the_order_of_the_cells() -> None:
    maps = [torch.zeros(1, 5, 32 // stride, 64 // stride) for stride in STRIDES]
    maps[0][0, 4, 1, 2] = 20.0
    rows = to_rows(maps)[0].numpy()
    corners, strides = yolox.cell_grid((64, 32), STRIDES)
    best = rows[:, 4].argmax()
    assert corners[best].tolist() == [2, 1]
    assert strides[best] == 8
