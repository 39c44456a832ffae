import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keytrack_ros.estimation.crops import crop_transforms, cut, to_image

SIZE = (192, 256)


def test_hand_worked_transform():
    # Box 100 x 200 about (150, 200): padded to the aspect 3 : 4 it is 150 x 200, times 1.25: 187.5 x 250;
    # 192 / 187.5 = 1.024
    (transform,) = crop_transforms(np.array([[100, 100, 200, 300]]), SIZE, 1.25)
    np.testing.assert_allclose(transform, [[1.024, 0, 96 - 1.024 * 150], [0, 1.024, 128 - 1.024 * 200]])


def test_a_wide_box_is_padded_above_and_below():
    # 300 x 100 → 300 x 400
    (transform,) = crop_transforms(np.array([[0, 0, 300, 100]]), SIZE, 1.0)
    np.testing.assert_allclose(transform[0, 0], 192 / 300)


def test_cut_shows_what_the_transform_says_and_black_outside():
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:60, 40:60] = 200
    box = np.array([[-50, 0, 150, 100]])  # reaches 50 px beyond the image on both sides
    transforms = crop_transforms(box, (200, 100), 1.0)
    (crop,) = cut(image, transforms, (200, 100))
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
