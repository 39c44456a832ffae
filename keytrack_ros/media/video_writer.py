"""Writes videos (mp4, MPEG-4 part 2: what every OpenCV can write)."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from keytrack_ros.errors import OutputError
from keytrack_ros.media.files import require_free
from keytrack_ros.poses import ImageArray

logger = logging.getLogger(__name__)


class VideoWriter:
    """An mp4 file. It has its name only once it is complete: until `close` it is written as <name>.part.mp4.

    The first image gives the size; later ones of another size are scaled to it, with a warning. Odd sizes lose a
    column or row, which the format cannot hold.

    Args:
        path: ends in .mp4.
        fps: frames per second, kept within 1..240.
        overwrite: replace a file that is already there.

    Raises:
        OutputError: the file exists, or cannot be written.
    """

    def __init__(self, path: Path, fps: float, *, overwrite: bool = False) -> None:
        require_free(path, overwrite=overwrite)
        self.path = path
        self.frames = 0
        self._fps = float(np.clip(fps, 1, 240))
        self._part = path.with_name(f"{path.stem}.part.mp4")
        self._first = self._size = (0, 0)
        self._writer: cv2.VideoWriter | None = None
        self._warned = False

    def write(self, image_bgr: ImageArray) -> None:
        """Appends a frame, [H, W, 3] uint8 BGR."""
        height, width = image_bgr.shape[:2]
        if self._writer is None:
            self._size = (max(2, width & ~1), max(2, height & ~1))
            self._writer = cv2.VideoWriter(
                str(self._part), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size
            )
            if not self._writer.isOpened():
                raise OutputError(f"{self._part}: OpenCV cannot write a video of {width}x{height} there")
            self._first = (width, height)
        if (width, height) != self._first:
            if not self._warned:
                logger.warning(
                    "%s: an image of %dx%d is scaled to %dx%d, the size of the video",
                    self.path,
                    width,
                    height,
                    *self._size,
                )
                self._warned = True
            image_bgr = np.asarray(cv2.resize(image_bgr, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        elif (width, height) != self._size:
            image_bgr = np.ascontiguousarray(image_bgr[: self._size[1], : self._size[0]])
        self._writer.write(image_bgr)
        self.frames += 1

    def close(self) -> None:
        """Completes the file and checks that all frames are in it; without any frame there is no file.

        Raises OutputError if frames are missing, as when the disk is full: OpenCV does not say so by itself.
        """
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.release()
        capture = cv2.VideoCapture(str(self._part))
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if found != self.frames:
            raise OutputError(f"{self._part}: {found} of {self.frames} frames were written; is the disk full?")
        self._part.replace(self.path)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
