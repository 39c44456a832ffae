"""Augmentation of the detector's images: boxes follow pixels, and what is asked of cut-off people."""

import cv2
import numpy as np
import pytest

from keytrack_ros.errors import DataError
from keytrack_ros.training.detector.data import LabelledImage
from keytrack_ros.training.detector.samples import (
    CUT_AWAY,
    SampleMaker,
    draw_samples,
    drawn,
    moved,
    placement,
    recoloured,
    source_shares,
)

SURE = np.ones(1, bool)


def image(source: str = "street") -> LabelledImage:
    pixels = np.full((60, 80, 3), 50, np.uint8)
    pixels[10:50, 20:40] = 250
    return LabelledImage("x", source, [pixels], np.array([[20, 10, 40, 50]], np.float32), SURE)


@pytest.mark.parametrize("seed", range(12))
def test_boxes_follow_pixels(seed: int) -> None:
    one, cell = image(), (140, 120)
    matrix = placement(one.pixels.shape[:2], cell, np.random.default_rng(seed))
    bright = drawn(one.pixels, matrix, (cell[1], cell[0]))[..., 0] > 150  # half-way; FILL is darker
    boxes, _ = moved(one.boxes, one.sure, matrix, (cell[1], cell[0]))
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(found, boxes[0], atol=1.0)


def test_the_map_mirrors_half_of_the_time_and_keeps_the_image_in_or_over_the_cell() -> None:
    mirrored = 0
    for seed in range(200):
        matrix = placement((60, 80), (100, 100), np.random.default_rng(seed))
        ends = np.sort(matrix[0, 0] * np.array([0, 80]) + matrix[0, 2])
        assert (ends[0] >= -1e-3 and ends[1] <= 100 + 1e-3) or (ends[0] <= 1e-3 and ends[1] >= 100 - 1e-3)
        mirrored += matrix[0, 0] < 0
    assert 70 < mirrored < 130


def test_what_is_asked_of_people_whom_the_border_cuts() -> None:
    same = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    boxes = np.array(
        [
            [10, 10, 30, 50],  # inside
            [-10, 10, 10, 50],  # half of it is left
            [-15, 10, 5, 50],  # a quarter is left: may be seen, must not
            [-30, 10, -10, 50],  # gone
            [90, 90, 94, 96],  # too small to be asked for
            [40, 40, 60, 80],  # doubtful, stays so
        ],
        np.float32,
    )
    kept, sure = moved(boxes, np.array([True] * 5 + [False]), same, (100, 100))
    assert kept.tolist() == [[10, 10, 30, 50], [0, 10, 10, 50], [0, 10, 5, 50], [90, 90, 94, 96], [40, 40, 60, 80]]
    assert sure.tolist() == [True, True, False, False, False]
    assert 0.25 < CUT_AWAY < 0.5


def test_samples_come_from_the_generator_alone() -> None:
    maker = SampleMaker([image(), image("indoor"), image("sport")])
    a, b, c = (maker.sample(96, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(a.pixels, b.pixels)
    assert np.array_equal(a.boxes, b.boxes)
    assert not np.array_equal(a.pixels, c.pixels)


def test_samples_hold_their_boxes() -> None:
    maker = SampleMaker([image()])
    counts = set()
    for seed in range(40):
        sample = maker.sample(128, np.random.default_rng(seed))
        assert sample.pixels.shape == (128, 128, 3)
        assert sample.boxes.dtype == np.float32
        assert (sample.boxes >= 0).all()
        assert (sample.boxes <= 128).all()
        assert len(sample.boxes) == len(sample.sure)
        counts.add(len(sample.boxes))
    assert max(counts) > 4  # collages of 2 × 2 and 3 × 3


def test_sources_that_are_not_named_share_the_rest_by_their_size() -> None:
    shares = source_shares(["a", "b", "c"], [100, 10, 30], {"a": 0.6})
    assert shares.tolist() == pytest.approx([0.6, 0.1, 0.3])
    assert source_shares(["a", "b"], [1, 99], {"a": 0.2, "b": 0.2}).tolist() == pytest.approx([0.5, 0.5])
    with pytest.raises(DataError, match="there is no source street; the data folder has a, b"):
        source_shares(["a", "b"], [1, 1], {"street": 0.5})


def test_colours_change_and_places_do_not() -> None:
    one = image()
    edges = []
    for seed in range(30):
        changed = recoloured(one.pixels, np.random.default_rng(seed))
        assert changed.shape == one.pixels.shape
        assert changed.dtype == np.uint8
        grey = cv2.cvtColor(changed, cv2.COLOR_BGR2GRAY).astype(float)
        edges.append(np.abs(np.diff(grey[30])).argmax())
    assert set(edges) <= {18, 19, 20, 38, 39, 40}


def test_the_sheet_shows_every_sample() -> None:
    sheet = draw_samples(SampleMaker([image()]), 64, seed=3, count=5)
    assert sheet.shape == (2 * 64, 3 * 64, 3)
