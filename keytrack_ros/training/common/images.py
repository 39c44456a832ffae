"""Image files that are decoded when they are needed; as many as memory was granted for stay decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

from keytrack_ros.media.image_source import read_image
from keytrack_ros.poses import ImageArray


class ImageCache:
    """Decoded images, kept up to a number of bytes; safe to use from several threads.

    Args:
        max_bytes: memory for the images. Those that are decoded first stay; the others are decoded at every use.
    """

    def __init__(self, max_bytes: int) -> None:
        self._free = max_bytes
        self._kept: dict[Path, ImageArray] = {}
        self._lock = threading.Lock()

    def read(self, file: Path) -> ImageArray:
        """The image, [H, W, 3] uint8 BGR. Raises InputError, naming the file, if it cannot be read."""
        image = self._kept.get(file)
        if image is None:
            image = read_image(file)
            with self._lock:
                if image.nbytes <= self._free and file not in self._kept:
                    self._free -= image.nbytes
                    self._kept[file] = image
        return image


class ImageFiles(Sequence[ImageArray]):
    """A sequence of images on disk, [H, W, 3] uint8 BGR each."""

    def __init__(self, files: Iterable[Path], cache: ImageCache) -> None:
        self._files = tuple(files)
        self._cache = cache

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> ImageArray: ...
    @overload
    def __getitem__(self, index: slice) -> ImageFiles: ...
    def __getitem__(self, index: int | slice) -> ImageArray | ImageFiles:
        if isinstance(index, slice):
            return ImageFiles(self._files[index], self._cache)
        return self._cache.read(self._files[index])

    def subset(self, indices: Iterable[int]) -> ImageFiles:
        """Those of some indices."""
        return ImageFiles((self._files[index] for index in indices), self._cache)
