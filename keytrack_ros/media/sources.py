"""Where frames come from: a video file, a folder of images, a ROS bag or a webcam, all read the same way.

with open_source("walk.mp4", every=2) as source:
    for frame in source:
        ...frame.image_bgr, frame.stamp_s
"""

from __future__ import annotations

import logging
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from keytrack_ros.errors import InputError, OptionError
from keytrack_ros.poses import ImageArray

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
BAG_SUFFIXES = frozenset({".mcap", ".db3", ".bag"})
DEFAULT_FPS = 25.0
NANOSECONDS = 1_000_000_000

_WARNINGS = 3
"""Unreadable frames that get a warning of their own; the total is said at the end."""
_HOPELESS = 100
"""A source whose first so many frames are all unreadable is given up."""


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes:
        index: its place in the source, from 0; with a selection (`every`, `start`) still the place in the source.
        stamp_ns: nanoseconds: in a bag the time in the message's header, from a webcam the time of arrival since 1970,
            else the time since the source's first frame.
        image_bgr: [H, W, 3] uint8.
        name: file name of an image of a folder; "" elsewhere.
        frame_id: coordinate frame of the camera in a bag; "" elsewhere.
    """

    index: int
    stamp_ns: int
    image_bgr: ImageArray
    name: str = ""
    frame_id: str = ""

    @property
    def stamp_s(self) -> float:
        """The stamp in seconds."""
        return self.stamp_ns / NANOSECONDS


@dataclass(frozen=True)
class Selection:
    """Which frames of a source are wanted: from `start` (index from 0) every `every`-th, at most `frames` of them.

    Raises OptionError for numbers that select nothing.
    """

    start: int = 0
    every: int = 1
    frames: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0:
            raise OptionError(f"start: {self.start} is negative; frames are counted from 0")
        if self.every < 1:
            raise OptionError(f"every: {self.every} is less than 1")
        if self.frames is not None and self.frames < 1:
            raise OptionError(f"frames: {self.frames} is less than 1")

    def wants(self, index: int) -> bool:
        return index >= self.start and (index - self.start) % self.every == 0

    def count(self, total: int | None) -> int | None:
        """How many of `total` frames are selected; None if that cannot be known."""
        if total is None:
            return self.frames
        selected = max(0, math.ceil((total - self.start) / self.every))
        return selected if self.frames is None else min(selected, self.frames)


class FrameSource(ABC):
    """Frames in the order of the source; can be iterated once. Use as a context manager, or call `close`.

    A frame that cannot be read is left out, counted in `unreadable`, and said in a warning.

    Attributes:
        name: what to call the source in messages to a person.
        fps: frames per second of what is yielded, that is, of the source divided by `every`.
        total: frames of the whole source by its own account; None if unknown.
        count: frames that will be yielded, as far as known beforehand; None if unknown.
        size: width and height of the first frame; later ones may differ.
        unreadable: selected frames that were left out so far.
    """

    def __init__(self, name: str, fps: float, total: int | None, selection: Selection) -> None:
        self.name = name
        self.fps = fps / selection.every
        self.total = total
        self.count = selection.count(total)
        self.size: tuple[int, int] | None = None
        self.unreadable = 0
        self._selection = selection
        self._frames = self._select()
        self._first: Frame | None = None

    @abstractmethod
    def _step(self, index: int, wanted: bool) -> Frame | None:
        """Goes on by one frame and returns it if it is wanted.

        Raises EOFError at the end of the source, InputError with the cause if this one frame cannot be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Frees the file or device."""

    def _open_first(self) -> None:
        """Reads the first frame, so that bad input shows when it is opened. Raises InputError."""
        self._first = next(self._frames)
        height, width = self._first.image_bgr.shape[:2]
        self.size = (width, height)

    def __iter__(self) -> Iterator[Frame]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._frames

    def _select(self) -> Iterator[Frame]:
        taken, cause = 0, ""
        for index in count():
            if taken == self._selection.frames:
                break
            try:
                frame = self._step(index, self._selection.wants(index))
            except EOFError:
                if taken == 0 and self.unreadable == 0:
                    after = f" at or after frame {self._selection.start}" if self._selection.start else ""
                    raise InputError(f"{self.name}: there is no frame{after}; {index} were found") from None
                break
            except InputError as error:
                self.unreadable += 1
                cause = cause or str(error)
                if self.unreadable <= _WARNINGS:
                    logger.warning("%s: frame %d is left out: %s", self.name, index, error)
                if taken == 0 and self.unreadable == _HOPELESS:
                    break
                continue
            if frame is not None:
                taken += 1
                yield frame
        if taken == 0:
            raise InputError(f"{self.name}: none of {self.unreadable} frames can be read: {cause}")
        if self.unreadable > _WARNINGS:
            logger.warning("%s: %d frames in all could not be read and were left out", self.name, self.unreadable)

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(
    source: str | int | Path,
    *,
    topic: str | None = None,
    fps: float | None = None,
    start: int = 0,
    every: int = 1,
    frames: int | None = None,
    in_stamp_order: bool = False,
) -> FrameSource:
    """Opens whatever holds frames, and reads the first one.

    Args:
        source: a video file; a folder of images (in natural order: 2.jpg before 10.jpg) or one image; a bag, as folder
            or as a single .mcap, .db3 or .bag file; a webcam by number or as /dev/video<number>.
        topic: which images of a bag; may be left out where a bag has one topic of images.
        fps: rate of an image folder (25 if left out); of a video whose own rate is to be ignored.
        start, every, frames: see `Selection`; counted in frames of the source.
        in_stamp_order: the images of a bag come in the order of their stamps, not in that of their recording.

    Raises:
        InputError: there is no such thing, it is not what it should be, or no frame can be read.
        OptionError: a selection that selects nothing, or an fps that is not positive.
    """
    selection = Selection(start, every, frames)
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise OptionError(f"fps: {fps} is not a positive number")
    opened = _opened(source, topic, fps, selection, in_stamp_order)
    try:
        opened._open_first()
    except BaseException:
        opened.close()
        raise
    return opened


def _opened(
    source: str | int | Path, topic: str | None, fps: float | None, selection: Selection, in_stamp_order: bool
) -> FrameSource:
    path = Path(source).expanduser() if not isinstance(source, int) else Path(str(source))
    device = re.fullmatch(r"(?:/dev/video)?(\d+)", str(source))
    if device and (isinstance(source, int) or not path.is_file()):
        return WebcamSource(int(device.group(1)), selection)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    suffix = path.suffix.lower()
    is_bag = suffix in BAG_SUFFIXES if path.is_file() else _is_bag_folder(path)
    if is_bag:
        from keytrack_ros.media.bag_source import BagSource  # rosbags is slow to import

        return BagSource(path, topic, selection, in_stamp_order=in_stamp_order)
    if topic is not None:
        raise InputError(f"{path}: a topic was named ('{topic}'), but this is no bag")
    if path.is_dir() or suffix in IMAGE_SUFFIXES:
        return ImageSource(path, fps or DEFAULT_FPS, selection)
    return VideoSource(path, fps, selection)


def _is_bag_folder(path: Path) -> bool:
    return (path / "metadata.yaml").is_file() or any(f.suffix in BAG_SUFFIXES for f in path.iterdir())


class VideoSource(FrameSource):
    """A video file, through OpenCV.

    Stamps are the container's, which serve files of variable frame rate too; where they make no sense (not growing,
    not finite) the frame rate fills in.
    """

    def __init__(self, path: Path, fps: float | None, selection: Selection) -> None:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty")
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(
                f"{path}: not a video that OpenCV can read, or one that was cut off before its index was written"
            )
        own = self._capture.get(cv2.CAP_PROP_FPS)
        if fps is None and not 0.1 <= own <= 1000:
            logger.warning("%s: its frame rate is given as %g; %g fps are taken", path, own, DEFAULT_FPS)
        self._own_fps = fps or (own if 0.1 <= own <= 1000 else DEFAULT_FPS)
        self._use_container_stamps = fps is None
        self._stamp_s = -math.inf
        self._origin_s: float | None = None
        frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        super().__init__(str(path), self._own_fps, frames if frames > 0 else None, selection)

    def _step(self, index: int, wanted: bool) -> Frame | None:
        if not self._capture.grab():
            self._warn_if_cut_off(index)
            raise EOFError
        stamp_s = self._next_stamp(index)
        if not wanted:
            return None
        found, image = self._capture.retrieve()
        if not found or image is None:
            raise InputError("it cannot be decoded")
        return Frame(index, round(stamp_s * NANOSECONDS), as_bgr8(image))

    def _next_stamp(self, index: int) -> float:
        regular = index / self._own_fps
        stamp = regular
        if self._use_container_stamps:
            position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if self._origin_s is None:
                self._origin_s = position if math.isfinite(position) else 0.0
            # Containers round to milliseconds; a regular rate is more exact.
            if abs(position - self._origin_s - regular) > 0.001:
                stamp = position - self._origin_s
        if not (math.isfinite(stamp) and stamp > self._stamp_s):
            stamp = self._stamp_s + 1 / self._own_fps if index else 0.0
        self._stamp_s = stamp
        return stamp

    def _warn_if_cut_off(self, found: int) -> None:
        # Containers without an index estimate the number of frames from the duration, hence the tolerance.
        if self.total is not None and found < self.total - max(1, self.total // 100):
            logger.warning(
                "%s: ends at frame %d of %d: the file is cut off or damaged; what could be read is used",
                self.name,
                found,
                self.total,
            )

    def close(self) -> None:
        self._capture.release()


class ImageSource(FrameSource):
    """A folder of images, in natural order (2.jpg before 10.jpg), or a single image; `fps` gives the stamps."""

    def __init__(self, path: Path, fps: float, selection: Selection) -> None:
        if path.is_file():
            self._files = [path]
        else:
            found = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
            self._files = sorted(found, key=lambda file: _natural(file.name))
        if not self._files:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(f"{path}: the folder holds neither images ({kinds}) nor a bag")
        self._own_fps = fps
        super().__init__(str(path), fps, len(self._files), selection)

    def _step(self, index: int, wanted: bool) -> Frame | None:
        if index >= len(self._files):
            raise EOFError
        if not wanted:
            return None
        file = self._files[index]
        return Frame(index, round(index / self._own_fps * NANOSECONDS), read_image(file), file.name)

    def close(self) -> None:
        pass


class WebcamSource(FrameSource):
    """A camera of this machine, by number; ends when the camera gives no more images."""

    def __init__(self, device: int, selection: Selection) -> None:
        self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            raise InputError(f"webcam {device}: cannot be opened; is it plugged in, and in use by no other program?")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        super().__init__(f"webcam {device}", fps if 0.1 <= fps <= 1000 else DEFAULT_FPS, None, selection)

    def _step(self, index: int, wanted: bool) -> Frame | None:
        if not self._capture.grab():
            raise EOFError
        stamp_ns = time.time_ns()
        if not wanted:
            return None
        found, image = self._capture.retrieve()
        if not found or image is None:
            raise InputError("it cannot be decoded")
        return Frame(index, stamp_ns, as_bgr8(image))

    def close(self) -> None:
        self._capture.release()


def read_image(path: Path) -> ImageArray:
    """An image file as [H, W, 3] uint8 BGR, upright by its EXIF tag; grey, 16-bit and alpha images are converted.

    Raises InputError, naming the file, if it is not an image that OpenCV can read.
    """
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise InputError(f"{path}: cannot be read: {error.err}") from None
    if image is None:
        raise InputError(f"{path}: not an image that can be read")
    try:
        return as_bgr8(image)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def as_bgr8(image: np.ndarray) -> ImageArray:
    """Any image that OpenCV returns as [H, W, 3] uint8 BGR. 16 bits are scaled from their full range, alpha is dropped.

    Raises InputError for pixels that are neither 8 nor 16 bits, as of depth images.
    """
    if image.size == 0:
        raise InputError("the image has no pixels")
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise InputError(f"pixels are of type {image.dtype}; 8 or 16 bits are needed")
    channels = 1 if image.ndim == 2 else image.shape[2]
    conversions = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}
    if channels == 3:
        return np.ascontiguousarray(image)
    if channels not in conversions:
        raise InputError(f"the image has {channels} channels; 1, 3 or 4 are needed")
    return np.asarray(cv2.cvtColor(image, conversions[channels]), np.uint8)


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that takes digits as numbers."""
    parts = re.split(r"(\d+)", name.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)
