"""Image files: a folder of them as frames, or a single one."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import cv2
import numpy as np

from keytrack_ros.errors import InputError
from keytrack_ros.media.frames import Frame, FrameSource, Selection
from keytrack_ros.media.paths import shown
from keytrack_ros.media.pixels import BitDepth, as_bgr8
from keytrack_ros.poses import ImageArray
from keytrack_ros.timing import NANOSECONDS

logger = logging.getLogger(__name__)

_SUFFIXES = (
    ".jpg .jpeg .jpe .jp2 .png .apng .bmp .dib .tif .tiff .webp .avif "
    ".pbm .pgm .ppm .pnm .pam .sr .ras .hdr .pic .exr .gif"
)
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
"""What OpenCV may read, depending on how it was built; a file that it cannot read is named when its turn comes."""
_NAMED = 3
"""Files left out that a message names."""


class ImageSource(FrameSource):
    """A folder of images, in natural order (2.jpg before 10.jpg), or a single image; `fps` gives the stamps.

    Files whose names are not those of images are left out, with one warning; of hidden files it says nothing.
    """

    def __init__(self, path: Path, fps: float, selection: Selection, bits: int = 0) -> None:
        if path.is_file():
            self._files = [path]
        else:
            entries = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
            images = [file for file in entries if file.suffix.lower() in IMAGE_SUFFIXES]
            self._files = sorted(images, key=lambda file: natural(file.name))
            others = _listed([file for file in entries if file not in images])
            if not images:
                found = f"; it has {others}" if others else ""
                kinds = ", ".join(sorted(IMAGE_SUFFIXES))
                raise InputError(f"{shown(path)}: the folder holds neither images ({kinds}) nor a bag{found}")
            if others:
                logger.warning("%s: left out, since their names are not those of images: %s", shown(path), others)
        self._own_fps = fps
        super().__init__(shown(path), fps, len(self._files), selection)
        self._depth = BitDepth(self.name, bits)

    def _step(self, index: int, wanted: bool) -> Frame | None:
        if index >= len(self._files):
            raise EOFError
        if not wanted:
            return None
        file = self._files[index]
        image = read_image(file, self._depth)
        return Frame(index, round(index / self._own_fps * NANOSECONDS), image, shown(file.name))

    def close(self) -> None:
        pass


def _listed(files: list[Path]) -> str:
    names = sorted(shown(file.name) for file in files)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def read_image(path: Path, depth: BitDepth | None = None) -> ImageArray:
    """An image file as [H, W, 3] uint8 BGR, upright by its EXIF tag; grey, 16-bit and alpha images are converted.

    Raises InputError, naming the file, if it is not an image that OpenCV can read.
    """
    try:
        data = np.fromfile(path, np.uint8)  # OpenCV would take the name as UTF-8, and crash where it is not
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read: {error.strerror}") from None
    except cv2.error as error:
        raise InputError(f"{shown(path)}: cannot be read: {error.err}") from None
    if image is None:
        raise InputError(f"{shown(path)}: not an image that can be read")
    try:
        return as_bgr8(image, depth)
    except InputError as error:
        raise InputError(f"{shown(path)}: {error}") from None


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that takes digits as numbers."""
    parts = re.split(r"(\d+)", name.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)
