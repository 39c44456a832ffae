import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keytrack_ros.estimation.crops import crop_image, crop_transforms, to_image

SIZE = (192, 256)


def test_hand_worked_transform():
    # Box 100 x 200 about (150, 200): padded to the aspect 3 : 4 it is 150 x 200, times 1.25: 187.5 x 250;
    # 192 / 187.5 = 1.024
    (transform,) = crop_transforms(np.array([[100, 100, 200, 300]]), SIZE, 1.25)
    np.testing.assert_allclose(transform, [[1.024, 0, 96 - 1.024 * 150], [0, 1.024, 128 - 1.024 * 200]])


@pytest.mark.parametrize(
    ("box", "points"),
    [
        # HRNet draws three points onto (w/2, h/2), (w/2, h/2 − w/2) and (0, h/2 − w/2): the centre, half of the padded
        # width above it, and as far to the left of that.
        # 100 x 200 about (150, 200): 150 x 200 has the aspect, times 1.25: 187.5, half of it 93.75
        ([100, 100, 200, 300], [(150, 200), (150, 106.25), (56.25, 106.25)]),
        # 200 x 40 about (100, 20): 200 x 266.67, times 1.25: 250, half of it 125
        ([0, 0, 200, 40], [(100, 20), (100, -105), (-25, -105)]),
        # 30 x 40, an aspect of 0.75 already, about (−5, 10): 37.5, half of it 18.75
        ([-20, -10, 10, 30], [(-5, 10), (-5, -8.75), (-23.75, -8.75)]),
    ],
)
def test_the_three_points_that_hrnet_maps(box, points):
    (transform,) = crop_transforms(np.array([box]), SIZE, 1.25)
    mapped = np.array(points) @ transform[:, :2].T + transform[:, 2]
    np.testing.assert_allclose(mapped, [(96, 128), (96, 32), (0, 32)], atol=1e-9)
    np.testing.assert_allclose(to_image(mapped[None], transform[None])[0], points, atol=1e-4)


def test_heatmap_pixels_are_four_crop_pixels():
    # Pixel (24, 32) of a 48 x 64 heatmap is the middle of the crop, so the centre of the box; (0, 0) is 96 and 128 crop
    # pixels off, 1 / 1.024 image pixels each.
    (transform,) = crop_transforms(np.array([[100, 100, 200, 300]]), SIZE, 1.25)
    places = to_image(np.array([[[24, 32], [0, 0]]]) * 4, transform[None])
    np.testing.assert_allclose(places, [[[150, 200], [56.25, 75]]], atol=1e-4)


def test_cut_interpolates_bilinearly():
    # A crop twice the box's size: crop pixel 2 k lies on image pixel k, crop pixel 2 k + 1 between k and k + 1.
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 1:, 0] = 100
    transforms = crop_transforms(np.array([[0, 0, 4, 4]]), (8, 8), 1.0)
    (crop,) = crop_image(image, transforms, (8, 8))
    assert crop[2, :5, 0].tolist() == [0, 50, 100, 100, 100]


def test_a_wide_box_is_padded_above_and_below():
    # 300 x 100 → 300 x 400
    (transform,) = crop_transforms(np.array([[0, 0, 300, 100]]), SIZE, 1.0)
    np.testing.assert_allclose(transform[0, 0], 192 / 300)


def test_cut_shows_what_the_transform_says_and_black_outside():
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:60, 40:60] = 200
    box = np.array([[-50, 0, 150, 100]])  # reaches 50 px beyond the image on both sides
    transforms = crop_transforms(box, (200, 100), 1.0)
    (crop,) = crop_image(image, transforms, (200, 100))
    assert (crop[:, :50] == 0).all()
    assert (crop[:, 150:] == 0).all()
    assert (crop[42:58, 92:108] == 200).all()


@given(st.floats(-100, 1000), st.floats(-100, 1000), st.floats(1, 800), st.floats(1, 800), st.integers(0, 2**32 - 1))
def test_to_image_inverts_the_transform(x, y, width, height, seed):
    boxes = np.array([[x, y, x + width, y + height]])
    transforms = crop_transforms(boxes, SIZE, 1.25)
    points = np.random.default_rng(seed).uniform(0, 200, (1, 15, 2))
    image_points = to_image(points, transforms).astype(np.float64)
    back = image_points * transforms[:, None, [0, 1], [0, 1]] + transforms[:, None, :, 2]
    np.testing.assert_allclose(back, points, atol=0.05)
