"""Image files: a folder of them as frames, or a single one."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import cv2
import numpy as np

from keytrack_ros.errors import InputError
from keytrack_ros.media.frames import Frame, FrameSource, Selection
from keytrack_ros.media.paths import has_utf8_name, shown
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
_SEVERAL = frozenset({".tif", ".tiff", ".gif", ".png", ".apng", ".webp", ".avif"})
"""Images that may have pages or move."""
_NAMED = 3
"""Files left out that a message names."""


class ImageSource(FrameSource):
    """A folder of images, in natural order (2.jpg before 10.jpg), or a single image; `fps` gives the stamps.

    Files whose names are not those of images, and folders, are left out, with one warning; of hidden files it says
    nothing. So are all pictures of a file but the first.
    """

    def __init__(self, path: Path, fps: float, selection: Selection, bits: int = 0) -> None:
        if path.is_file():
            self._files = [path]
        else:
            images = images_in(path)
            self._files = sorted(images, key=lambda file: natural(file.name))
            names = {file.name for file in images}
            others = _listed([e for e in path.iterdir() if e.name not in names and not e.name.startswith(".")])
            if not images:
                found = f"; it has {others}" if others else ""
                kinds = ", ".join(sorted(IMAGE_SUFFIXES))
                raise InputError(f"{shown(path)}: the folder holds neither images ({kinds}) nor a bag{found}")
            if others:
                logger.warning("%s: left out, since their names are not those of images: %s", shown(path), others)
        self._own_fps = fps
        self._warned = False
        super().__init__(shown(path), fps, len(self._files), selection)
        self._depth = BitDepth(self.name, bits)

    def _step(self, index: int, wanted: bool) -> Frame | None:
        if index >= len(self._files):
            raise EOFError
        if not wanted:
            return None
        file = self._files[index]
        image = read_image(file, self._depth)
        if not self._warned and (pictures := _pictures(file)) > 1:
            self._warned = True
            logger.warning(
                "%s: holds %d pictures; of files of several pictures the first is used", shown(file), pictures
            )
        return Frame(index, round(index / self._own_fps * NANOSECONDS), image, shown(file.name))

    def close(self) -> None:
        pass


def images_in(folder: Path) -> list[Path]:
    """Files with names of images, but hidden ones, in no order."""
    entries = (entry for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
    return [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]


def _pictures(file: Path) -> int:
    """How many pictures a TIFF, GIF, PNG, WebP or AVIF file holds."""
    if file.suffix.lower() not in _SEVERAL or not has_utf8_name(file):
        return 1
    return int(cv2.imcount(str(file)))


def _listed(entries: list[Path]) -> str:
    names = sorted(shown(entry.name) + ("/" if entry.is_dir() else "") for entry in entries)
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
        whole = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        pixels = f": its pixels are {whole.dtype}; 8 or 16 bits without sign are needed" if whole is not None else ""
        raise InputError(f"{shown(path)}: not an image that can be read{pixels}")
    try:
        return as_bgr8(image, depth)
    except InputError as error:
        raise InputError(f"{shown(path)}: {error}") from None


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that takes digits as numbers."""
    parts = re.split(r"(\d+)", name.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)
