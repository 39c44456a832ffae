"""Image messages of all encodings, and all ways in which one can be malformed."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from keytrack_ros.errors import InputError
from keytrack_ros.nodes.images import to_bgr, to_image_message

BLUE, GREEN, RED = 200, 100, 50
SIZE = (6, 4)  # width, height


def message(encoding: str, pixels: npt.NDArray[Any], padding: int = 0, big_endian: bool = False) -> Image:
    """An image of [H, W] or [H, W, C] pixels, with `padding` bytes (of value 7) after each row."""
    height, width = pixels.shape[:2]
    rows = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    return Image(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=rows.shape[1],
        data=array("B", rows.tobytes()),
    )


def filled(*channels: int, dtype: type[np.generic] = np.uint8) -> npt.NDArray[Any]:
    pixels = np.empty((SIZE[1], SIZE[0], len(channels)), dtype)
    pixels[:] = channels
    return pixels


def bayer(pattern: str) -> npt.NDArray[np.uint8]:
    """A mosaic of one colour; `pattern` names the colours of the first 2x2 pixels, row by row."""
    values = {"r": RED, "g": GREEN, "b": BLUE}
    tile = np.array([values[c] for c in pattern], np.uint8).reshape(2, 2)
    return np.tile(tile, (4, 4))


COLOURED = {
    "bgr8": filled(BLUE, GREEN, RED),
    "8UC3": filled(BLUE, GREEN, RED),
    "rgb8": filled(RED, GREEN, BLUE),
    "bgra8": filled(BLUE, GREEN, RED, 9),
    "8UC4": filled(BLUE, GREEN, RED, 9),
    "rgba8": filled(RED, GREEN, BLUE, 9),
    "bayer_rggb8": bayer("rggb"),
    "bayer_bggr8": bayer("bggr"),
    "bayer_gbrg8": bayer("gbrg"),
    "bayer_grbg8": bayer("grbg"),
}


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", COLOURED)
def test_colours_come_out_as_blue_green_red(encoding: str, padding: int) -> None:
    image = to_bgr(message(encoding, COLOURED[encoding], padding))
    assert image.shape == (*COLOURED[encoding].shape[:2], 3)
    assert image.dtype == np.uint8
    assert (image == (BLUE, GREEN, RED)).all()


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_images_get_three_equal_channels(encoding: str, padding: int) -> None:
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6)
    np.testing.assert_array_equal(to_bgr(message(encoding, grey, padding)), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(("big_endian", "order"), [(False, "<u2"), (True, ">u2")])
def test_sixteen_bits_are_scaled_from_their_full_range(big_endian: bool, order: str, padding: int) -> None:
    values = np.array([[0, 257, 25700], [51400, 65534, 65535]], order)
    image = to_bgr(message("mono16", values, padding, big_endian))
    assert image[..., 0].tolist() == [[0, 1, 100], [200, 255, 255]]


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_grey_yuv_comes_out_grey(encoding: str) -> None:
    # Without colour (u = v = 128) luma 126 is the middle of the video range 16..235, hence of 0..255.
    pair = (128, 126) if encoding in ("yuv422", "uyvy") else (126, 128)
    assert np.abs(to_bgr(message(encoding, filled(*pair))).astype(int) - 128).max() <= 1


def test_bgr8_is_not_copied() -> None:
    source = message("bgr8", filled(1, 2, 3), padding=2)
    assert np.shares_memory(to_bgr(source), np.frombuffer(source.data, np.uint8))


def changed(**fields: Any) -> Image:
    source = message("bgr8", filled(1, 2, 3))
    for name, value in fields.items():
        setattr(source, name, value)
    return source


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (changed(width=0), "0x4 pixels"),
        (changed(height=0), "6x0 pixels"),
        (Image(encoding="bgr8"), "0x0 pixels"),
        (changed(step=17), "step is 17.*18 bytes"),
        (changed(step=0), "step is 0"),
        (changed(data=array("B", bytes(71))), "71 bytes.*72"),
        (changed(data=array("B", bytes(73))), "73 bytes.*72"),
        (changed(data=array("B")), "0 bytes"),
        (changed(width=2**32 - 1), "step is 18"),
        (changed(encoding="bgr10"), "'bgr10' is not known"),
        (changed(encoding=""), "encoding ''"),
        (changed(encoding="32FC1"), "'32FC1'.*depth"),
        (changed(encoding="16UC1"), "'16UC1'.*depth"),
        (message("yuv422", filled(1, 2)[:, :5]), "5x4 pixels in 'yuv422'.*multiple of 2"),
        (message("yuyv", filled(1, 2)[:, :5]), "5x4 pixels in 'yuyv'.*multiple of 2"),
        (Image(encoding="nv12", width=5, height=4, step=5, data=array("B", bytes(30))), "5x4 pixels in 'nv12'"),
        (Image(encoding="nv21", width=4, height=5, step=4, data=array("B", bytes(28))), "4x5 pixels in 'nv21'"),
    ],
)
def test_malformed_images_are_refused_with_the_reason(source: Image, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        to_bgr(source)


def compressed(format_name: str, data: bytes) -> CompressedImage:
    return CompressedImage(format=format_name, data=array("B", data))


@pytest.mark.parametrize("pixels", [filled(BLUE, GREEN, RED), filled(BLUE, GREEN, RED, 9)])
def test_compressed_images_are_decoded(pixels: npt.NDArray[np.uint8]) -> None:
    data = cv2.imencode(".png", pixels)[1].tobytes()
    assert (to_bgr(compressed("bgr8; png compressed bgr8", data)) == (BLUE, GREEN, RED)).all()


def test_compressed_grey_has_three_channels() -> None:
    data = cv2.imencode(".jpg", np.full((8, 8), 77, np.uint8))[1].tobytes()
    assert (to_bgr(compressed("jpeg", data)) == 77).all()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (compressed("jpeg", b""), "0 bytes of format 'jpeg'"),
        (compressed("jpeg", b"not a picture"), "13 bytes of format 'jpeg'"),
        (compressed("16UC1; compressedDepth png", b"1234"), "depth"),
    ],
)
def test_malformed_compressed_images_are_refused_with_the_reason(source: CompressedImage, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        to_bgr(source)


def test_image_message_round_trip() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    header = Header(frame_id="camera")
    sent = to_image_message(pixels[:, ::-1], header)  # not contiguous
    assert (sent.header, sent.encoding, sent.step) == (header, "bgr8", 21)
    np.testing.assert_array_equal(to_bgr(sent), pixels[:, ::-1])
