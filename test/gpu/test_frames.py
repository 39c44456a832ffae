"""What the networks see is what OpenCV would have shown them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from keytrack_ros.detection import yolox
from keytrack_ros.estimation import crops
from keytrack_ros.gpu.frames import NetworkInput, crop_image, crop_transforms, letterbox, to_frame
from keytrack_ros.gpu.transfer import Upload
from keytrack_ros.inference.cards import ImageInput
from keytrack_ros.inference.images import network_input

LEVELS = 1 if int(cv2.__version__.split(".")[0]) >= 5 else 5
"""Grey levels by which a crop may differ: OpenCV 4 rounds places to 1/32 px."""


def picture(width: int, height: int) -> np.ndarray:
    """Noise with some structure: the hardest case for interpolation that a camera may give."""
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (3, 3), 0), np.uint8)


@pytest.mark.parametrize("size", [(1280, 720), (768, 576), (417, 1000), (416, 416), (3, 500)])
def test_letterbox_of_larger_frames_is_that_of_opencv_bit_by_bit(device, size):
    image = picture(*size)
    expected, scale = yolox.letterbox(image, (416, 320), 114)
    boxed, found_scale = letterbox(Upload(device)(image), (416, 320), 114)
    assert found_scale == scale
    np.testing.assert_array_equal(boxed.permute(1, 2, 0).cpu().numpy(), expected)


@pytest.mark.parametrize("size", [(300, 200), (64, 48), (1, 1)])
def test_letterbox_of_smaller_frames_differs_by_a_grey_level_at_most(device, size):
    image = picture(*size)
    expected, _ = yolox.letterbox(image, (416, 416), 0)
    difference = np.abs(letterbox(Upload(device)(image), (416, 416), 0)[0].permute(1, 2, 0).cpu().numpy() - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 5e-3


@pytest.mark.parametrize("size", [(192, 256), (288, 384)])
def test_crops_are_those_of_opencv(device, size):
    image = picture(640, 480)
    rng = np.random.default_rng(0)
    centre, extent = rng.uniform((0, 0), (640, 480), (12, 2)), rng.uniform(20, 400, (12, 2))  # some reach outside
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], 1).astype(np.float32)
    transforms = crops.crop_transforms(boxes, size, 1.25)
    found_transforms = crop_transforms(torch.from_numpy(boxes).to(device), size, 1.25)
    np.testing.assert_allclose(
        found_transforms.cpu(), np.stack([transforms[:, 0, 0], *transforms[:, :, 2].T], 1), rtol=1e-12, atol=1e-9
    )
    expected = np.stack(crops.crop_image(image, transforms, size)).astype(np.float32)
    found = crop_image(Upload(device)(image), found_transforms, size).permute(0, 2, 3, 1).cpu().numpy()
    difference = np.abs(found - expected)
    assert difference.max() <= LEVELS
    if LEVELS == 1:
        assert (difference > 0).mean() < 1e-3
    points = rng.uniform(0, 200, (12, 15, 2)).astype(np.float32)
    back = to_frame(torch.from_numpy(points).to(device), found_transforms)
    np.testing.assert_allclose(back.cpu(), crops.to_image(points, transforms), atol=1e-3)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_channels_mean_and_deviation_are_those_of_the_model_file(device, color):
    about = ImageInput("image", (32, 24), color, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    images = [picture(32, 24), picture(32, 24)[::-1]]
    tensor = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().to(device)
    np.testing.assert_allclose(NetworkInput(about, device)(tensor).cpu(), network_input(images, about), atol=1e-5)


def test_frames_may_be_read_only_change_their_size_and_be_written_over_afterwards(device):
    upload, images = Upload(device), [picture(64, 48), picture(64, 48)[:, ::-1], picture(32, 20), picture(64, 48)]
    frames = []
    for image in images:
        shown = image.copy()
        shown.setflags(write=False)
        frames.append(upload(shown))
        shown.setflags(write=True)
        shown[:] = 0
    for frame, image in zip(frames, images, strict=True):
        np.testing.assert_array_equal(frame.permute(1, 2, 0).cpu().numpy(), image)
