"""Writes annotated videos: MP4 with H.264, which browsers and phones play."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np

from keytrack_ros.media.files import output_error, require_free
from keytrack_ros.media.paths import shown
from keytrack_ros.poses import ImageArray

logger = logging.getLogger(__name__)

_ENCODERS: dict[str, dict[str, str]] = {
    # Fast, and a little better than 1 Mbit/s for a street scene of 768x576.
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libopenh264": {},
    "h264": {},
    "mpeg4": {"qscale": "4"},
}
"""The first that FFmpeg was built with is taken; PyAV's wheels have libx264."""
_LARGEST = 4096
"""Pixels of the longer side: what decoders of phones and browsers take."""


class _Output:
    """A file for FFmpeg, which goes on after an error: it is kept until `check`, and nothing more is written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.name = str(path)  # by which FFmpeg reads it again, to put the index at the front
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        return self._tried(lambda: self._file.write(data), len(data))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._tried(lambda: self._file.seek(offset, whence), 0)

    def tell(self) -> int:
        return self._tried(self._file.tell, 0)

    def _tried(self, action: Callable[[], int], otherwise: int) -> int:
        if self._error is None:
            try:
                return action()
            except OSError as error:
                self._error = error
        return otherwise

    def check(self) -> None:
        """Raises the OSError that came first, if one came."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._file.close()


class VideoWriter:
    """An mp4 file. It has its name only once it is complete: until `close` it is written as <name>.part.mp4.

    The first image gives the size; later ones of another size are scaled to it, with a warning. Odd sizes lose a
    column or row, which the format cannot hold; sides beyond 4096 pixels are scaled down, with a warning.

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
        self._fps = Fraction(float(np.clip(fps, 1, 240))).limit_denominator(1001)
        self._part = path.with_name(f"{path.stem}.part.mp4")
        self._first = self._size = (0, 0)
        self._file: Any = None
        self._container: Any = None
        self._stream: Any = None
        self._warned = False

    def write(self, image_bgr: ImageArray) -> None:
        """Appends a frame, [H, W, 3] uint8 BGR."""
        height, width = image_bgr.shape[:2]
        if self._container is None:
            self._open(width, height)
        if (width, height) != self._first and not self._warned:
            logger.warning(
                "%s: an image of %dx%d is scaled to %dx%d, the size of the video",
                shown(self.path),
                width,
                height,
                *self._size,
            )
            self._warned = True
        if (width & ~1, height & ~1) == self._size:
            image_bgr = np.ascontiguousarray(image_bgr[: self._size[1], : self._size[0]])
        else:
            image_bgr = np.asarray(cv2.resize(image_bgr, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        frame = av.VideoFrame.from_ndarray(image_bgr, format="bgr24")
        frame.pts, frame.time_base = self.frames, 1 / self._fps
        self.frames += 1
        self._encode(frame)

    def _open(self, width: int, height: int) -> None:
        self._first = (width, height)
        scale = min(1.0, _LARGEST / max(width, height))
        self._size = (max(2, int(width * scale) & ~1), max(2, int(height * scale) & ~1))
        if scale < 1:
            logger.warning("%s: images of %dx%d are scaled to %dx%d", shown(self.path), width, height, *self._size)
        try:
            self._file = _Output(self._part)  # not by name, which FFmpeg takes as UTF-8
            # The index at the front lets browsers begin before they have the whole file.
            self._container = av.open(self._file, "w", format="mp4", options={"movflags": "faststart"})
            encoder = next(name for name in _ENCODERS if name in av.codecs_available)
            self._stream = self._container.add_stream(encoder, rate=self._fps, options=_ENCODERS[encoder])
        except (OSError, ValueError) as error:
            raise output_error(self._part, error) from None
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = 1 / self._fps

    def _encode(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
            self._file.check()
        except (OSError, ValueError) as error:
            self._discard()
            raise output_error(self._part, error) from None

    def close(self) -> None:
        """Completes the file; without any frame there is no file. The second call does nothing.

        Raises OutputError if it cannot be written to its end, as when the disk is full; nothing of it is left then.
        """
        if self._container is None:
            return
        self._encode(None)
        container, self._container = self._container, None
        try:
            container.close()
            self._file.check()
            self._file.close()
            self._part.replace(self.path)
        except (OSError, ValueError) as error:
            self._discard()
            raise output_error(self._part, error) from None

    def _discard(self) -> None:
        """Gives up a file that cannot be written."""
        container, self._container = self._container, None
        for opened in filter(None, (container, self._file)):
            with suppress(OSError, ValueError):
                opened.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
