"""People pasted over people: who may be cut out, where they land, and what becomes of those whom they cover."""

import numpy as np
import pytest

from keytrack_ros.training.detector.data import LabelledImage
from keytrack_ros.training.detector.paste import (
    HIDDEN,
    Donor,
    covered,
    cut_decoy,
    find_donors,
    paste_decoy,
    paste_person,
    silhouette,
)


def test_donors_are_whole_upright_and_alone() -> None:
    boxes = np.array(
        [
            [10, 10, 40, 90],  # 30 × 80: a donor
            [100, 0, 130, 80],  # touches the border
            [150, 10, 230, 80],  # wider than high
            [300, 10, 330, 90],  # overlaps the next
            [315, 10, 345, 90],
            [400, 10, 415, 50],  # 40 pixels high: too small
            [450, 10, 480, 90],  # doubtful
        ],
        np.float32,
    )
    sure = np.array([True] * 6 + [False])
    image = LabelledImage("x", "street", [np.arange(100 * 500 * 3, dtype=np.uint8).reshape(100, 500, 3)], boxes, sure)
    (donor,) = find_donors([image])
    assert np.array_equal(donor.pixels, image.pixels[10:90, 10:40])
    assert donor.opacity.shape == (80, 30, 1)


def test_a_silhouette_is_opaque_in_the_middle_and_nothing_in_the_corners() -> None:
    opacity = silhouette(20, 60)[..., 0]
    assert opacity[30, 10] == 1
    assert opacity[0, 0] == opacity[-1, -1] == 0
    assert (opacity == opacity[:, ::-1]).all()
    assert 0.7 < opacity.mean() < 0.95


def test_the_covered_part_of_a_box() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    assert covered(boxes, np.array([0, 0, 10, 10], np.float32)).tolist() == pytest.approx([1, 0.5, 0])


def test_the_pasted_person_stands_beside_a_host_at_about_its_size() -> None:
    donor = Donor(np.full((90, 30, 3), 255, np.uint8), silhouette(30, 90))
    host = np.array([[80, 40, 120, 160]], np.float32)
    centres = []
    for seed in range(60):
        canvas = np.zeros((200, 200, 3), np.uint8)
        boxes, sure = paste_person(canvas, host, np.array([True]), donor, np.random.default_rng(seed))
        assert boxes.shape == (2, 4)
        assert sure[1]
        assert sure[0] == (covered(host, boxes[1])[0] <= HIDDEN)
        columns = np.flatnonzero((canvas[..., 0] > 128).any(0))
        left, top, right, bottom = boxes[1]
        assert left - 1 <= columns.min() <= left + 4
        assert right - 5 <= columns.max() <= right
        assert 0.8 * 120 <= bottom - top <= 1.25 * 120
        centres.append((left + right) / 2)
    # Offsets of 0.25 to 0.85 of the half sum of the widths (40 and 34 to 48), on both sides.
    assert np.abs(np.array(centres) - 100).min() >= 8
    assert np.abs(np.array(centres) - 100).max() <= 38
    assert min(centres) < 90 < 110 < max(centres)


def test_without_a_person_nothing_is_pasted() -> None:
    donor = Donor(np.full((90, 30, 3), 255, np.uint8), silhouette(30, 90))
    canvas = np.zeros((200, 200, 3), np.uint8)
    for boxes, sure in (
        (np.zeros((0, 4), np.float32), np.zeros(0, bool)),
        (np.array([[0, 0, 50, 100]], np.float32), np.array([False])),  # doubtful
        (np.array([[0, 0, 10, 20]], np.float32), np.array([True])),  # too small
    ):
        after, _ = paste_person(canvas, boxes, sure, donor, np.random.default_rng(0))
        assert len(after) == len(boxes)
    assert not canvas.any()


def test_a_decoy_has_no_box_and_hides_people_who_are_mostly_under_it() -> None:
    decoy = Donor(np.full((90, 30, 3), 255, np.uint8), np.ones((90, 30, 1), np.float32))
    boxes = np.array([[80, 40, 120, 160]], np.float32)
    hidden = pasted = 0
    for seed in range(80):
        canvas = np.zeros((200, 200, 3), np.uint8)
        sure = paste_decoy(canvas, boxes, np.array([True]), decoy, np.random.default_rng(seed))
        part = (canvas[40:160, 80:120, 0] > 128).mean()
        assert sure.tolist() == [part <= HIDDEN]
        hidden, pasted = hidden + (not sure[0]), pasted + canvas.any()
    assert 0 < hidden < 30
    assert 50 < pasted <= 80


def test_decoys_are_cut_from_the_image_in_a_persons_proportions() -> None:
    image = np.full((120, 160, 3), 100, np.uint8)
    shapes = set()
    for seed in range(40):
        decoy = cut_decoy(image, np.random.default_rng(seed))
        h, w = decoy.pixels.shape[:2]
        assert decoy.opacity.shape == (h, w, 1)
        assert 1.25 <= h / w <= 4.8
        assert 30 <= decoy.pixels[0, 0, 0] <= 130
        shapes.add(round(float(decoy.opacity.mean()), 1))
    assert len(shapes) > 2  # full rectangles, cones, posts
