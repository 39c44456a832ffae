from __future__ import annotations

import numpy as np
import pytest
import torch

from keytrack_ros.estimation import heatmaps as arrays
from keytrack_ros.gpu.heatmaps import Decoder, average_flipped


def hills(count: int, seed: int = 0) -> np.ndarray:
    """[count, 5, 32, 24] float32: Gaussians anywhere, also at and beyond the border, with noise."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-2, 26, (count, 5, 1, 1)), rng.uniform(-2, 34, (count, 5, 1, 1))
    rows, columns = np.mgrid[:32, :24]
    maps = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2 / rng.uniform(1, 3, (count, 5, 1, 1)) ** 2)
    return np.asarray(maps + rng.normal(0, 0.02, maps.shape), np.float32)


@pytest.mark.parametrize("blur_sigma", [0.0, 1.0])
@pytest.mark.parametrize(("decoder", "kernel"), [("argmax", 11), ("quarter", 11), ("dark", 11), ("dark", 17)])
def test_decoders_are_those_of_the_arrays(device, decoder, kernel, blur_sigma):
    maps = hills(20)
    maps[0, 0] = 0  # flat: the first pixel, score 0
    maps[0, 1] = -1
    maps[0, 2] = 0
    maps[0, 2, 10, 10:12] = 0.7  # two maxima: the first one
    maps[0, 3] = 0
    maps[0, 3, 12, 9] = 5.0  # a lone pixel, and more than 1
    points, scores = arrays.decode(maps, decoder, blur_sigma, kernel)
    found = Decoder(decoder, blur_sigma, kernel, device)(torch.from_numpy(maps).to(device))
    np.testing.assert_allclose(found[0].cpu(), points, atol=2e-3 if decoder == "dark" else 0)
    np.testing.assert_allclose(found[1].cpu(), scores, atol=1e-6)


def test_nobody_has_no_keypoints(device):
    for decoder in ("argmax", "quarter", "dark"):
        points, scores = Decoder(decoder, 1.0, 11, device)(torch.zeros(0, 15, 8, 8, device=device))
        assert points.shape == (0, 15, 2)
        assert scores.shape == (0, 15)


@pytest.mark.parametrize("shift", [0, 1])
def test_flip_test_is_that_of_the_arrays(device, shift):
    maps, flipped, mirrored = hills(3), hills(3, seed=1), [0, 2, 1, 4, 3]
    found = average_flipped(*(torch.from_numpy(m).to(device) for m in (maps, flipped, np.array(mirrored))), shift)
    np.testing.assert_array_equal(found.cpu(), arrays.average_flipped(maps, flipped, mirrored, shift))
