"""Videos of every kind that the tests write, through PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def scene(number: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A dark image with a bright square, whose place says which frame it is; blue in the upper left corner."""
    image = np.full((size[1], size[0], 3), 40, np.uint8)
    image[: size[1] // 4, : size[0] // 4] = (255, 0, 0)
    left = 4 * number % (size[0] - 16)
    image[size[1] // 2 : size[1] // 2 + 16, left : left + 16] = 230
    return image


def write_video(
    path: Path,
    images: Iterable[np.ndarray],
    *,
    fps: int = 10,
    codec: str = "libx264",
    times: Iterable[float] | None = None,
    aspect: Fraction | None = None,
    interlaced: bool = False,
    container: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video; `times` in seconds are the presentation times, by default a frame each 1 / fps."""
    clock = None if times is None else iter(times)
    with av.open(str(path), "w", format=container) as output:
        stream: Any = None
        for number, image in enumerate(images):
            if stream is None:
                chosen = {"preset": "ultrafast", "crf": "10", **(options or {})} if codec == "libx264" else {}
                if interlaced:
                    chosen |= {"flags": "+ilme+ildct", "x264-params": "tff=1"}
                stream = output.add_stream(codec, rate=fps, options=chosen)
                stream.width, stream.height = image.shape[1], image.shape[0]
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                if clock is not None:
                    stream.codec_context.time_base = Fraction(1, 1000)
                if aspect is not None:
                    stream.codec_context.sample_aspect_ratio = aspect
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = number if clock is None else round(1000 * next(clock))
            frame.time_base = Fraction(1, fps if clock is None else 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def place(image: np.ndarray) -> float:
    """Where the bright square of `scene` is, in fours of pixels, as the frame's number."""
    row = image[image.shape[0] * 5 // 8].astype(int).min(-1)
    return float(np.flatnonzero(row > 150)[0]) / 4


def weave(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """An interlaced image: even rows of one moment, odd rows of the next."""
    image = upper.copy()
    image[1::2] = lower[1::2]
    return image


def encode(images: Iterable[np.ndarray], key_every: int, codec: str = "libx264", **options: str) -> list[bytes]:
    """The packets of a live stream, one an image, with a key frame every so many and the headers before each."""
    if codec == "libx264":
        options = {"bf": "0", "tune": "zerolatency", "preset": "ultrafast", "x264-params": "repeat-headers=1"} | options
    encoder: Any = None
    packets = []
    for number, image in enumerate(images):
        if encoder is None:
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = image.shape[1], image.shape[0], "yuv420p"
            encoder.time_base, encoder.framerate = Fraction(1, 10), Fraction(10)
            encoder.options = {"g": str(key_every), "crf": "10", **options}
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts, frame.time_base = number, Fraction(1, 10)
        packets += encoder.encode(frame)
    return [bytes(packet) for packet in packets + encoder.encode()]
