from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from keytrack_ros.detection import yolox
from keytrack_ros.geometry import box_iou as box_iou_of_arrays
from keytrack_ros.gpu.boxes import box_iou, decode, suppress


def boxes_of(rng: np.random.Generator, count: int) -> np.ndarray:
    low = rng.uniform(0, 60, (count, 2))
    return np.concatenate([low, low + rng.uniform(5, 40, (count, 2))], 1).astype(np.float32)


@settings(deadline=None)  # torch takes its time at the first call
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.floats(0, 1))
def test_who_stays_is_who_stays_one_by_one(seed, count, share):
    rng = np.random.default_rng(seed)
    alike = rng.random((count, count)) < share * 0.3
    alike = alike | alike.T
    scores = np.round(rng.random(count), 1).astype(np.float32)  # many are equal
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        if not alike[row, kept].any():
            kept.append(int(row))
    order, stay = suppress(torch.from_numpy(alike), torch.from_numpy(scores))
    assert order[stay].tolist() == kept


def test_chains_of_neighbours_are_settled_to_the_end(device):
    # Each is like its neighbours alone, so that every other one stays; rounds of all at once must reach the end.
    alike = torch.eye(101, dtype=torch.bool, device=device).roll(1, 1)
    alike[-1] = False
    order, stay = suppress(alike | alike.T, torch.linspace(1, 0, 101, device=device))
    assert order[stay].tolist() == list(range(0, 101, 2))


@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_suppressed_as_by_opencv(device, seed):
    rng = np.random.default_rng(seed)
    boxes, scores = boxes_of(rng, 120), rng.random(120).astype(np.float32)
    rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    expected = np.ravel(cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0.0, 0.45)).tolist()
    on_device = torch.from_numpy(boxes).to(device)
    order, stay = suppress(box_iou(on_device, on_device) > 0.45, torch.from_numpy(scores).to(device))
    assert order[stay].tolist() == expected


def test_overlap_is_that_of_the_arrays_also_of_empty_boxes(device):
    rng = np.random.default_rng(0)
    a, b = boxes_of(rng, 7), np.concatenate([boxes_of(rng, 4), np.zeros((1, 4), np.float32)])
    found = box_iou(torch.from_numpy(a).to(device), torch.from_numpy(b).to(device))
    np.testing.assert_allclose(found.cpu(), box_iou_of_arrays(a[:, None], b[None]), atol=1e-6)
    assert box_iou(torch.zeros(1, 4), torch.zeros(1, 4)).tolist() == [[0]]


def test_rows_are_decoded_as_by_the_detector(device):
    corners, strides = yolox.cell_grid((64, 32), (8, 16))
    rows = np.random.default_rng(0).normal(size=(len(corners), 7)).astype(np.float32)
    rows[3, 2] = 100.0  # e¹⁰⁰ would overflow
    expected = yolox.decode(rows, corners, strides, 1)
    given = (torch.from_numpy(array).to(device) for array in (rows, corners, strides))
    for found, wanted in zip(decode(*given, 1), expected, strict=True):
        np.testing.assert_allclose(found.cpu(), wanted, rtol=1e-5, atol=1e-5)
