import cv2
import numpy as np
import pytest

from keytrack_ros.errors import InputError
from keytrack_ros.training.common.images import ImageCache, ImageFiles


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(3)]
    for k, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((10, 20, 3), k, np.uint8))
    return paths


def test_images_that_fit_the_memory_are_decoded_once(files):
    images = ImageFiles(files, ImageCache(max_bytes=2 * 600))  # two images of 10 × 20 × 3 bytes
    first = [images[k] for k in range(3)]
    assert [int(image[0, 0, 0]) for image in first] == [0, 1, 2]
    assert images[0] is first[0]
    assert images[1] is first[1]
    assert images[2] is not first[2]
    assert np.array_equal(images[2], first[2])


def test_parts_share_the_memory(files):
    images = ImageFiles(files, ImageCache(10_000))
    assert images.subset([2, 0])[0] is images[2]
    assert images[1:][0] is images[1]
    assert len(images[1:]) == 2


def test_a_file_that_is_no_image_is_named(files):
    files[1].write_text("text")
    with pytest.raises(InputError, match=r"1\.png: not an image that can be read"):
        ImageFiles(files, ImageCache(0))[1]
