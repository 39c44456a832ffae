"""What all sources of images have in common: `Frame`, `Selection`, and `FrameSource`, which a program iterates over."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from types import TracebackType

from keytrack_ros.errors import InputError, OptionError
from keytrack_ros.media.pixels import constant_color
from keytrack_ros.poses import ImageArray
from keytrack_ros.timing import NANOSECONDS

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0

_WARNINGS = 3
"""Unreadable frames that get a warning of their own; the total is logged at the end."""
_HOPELESS = 100
"""A source whose first so many frames are all unreadable is given up."""
_SUSPICIOUS = 10
"""First frames that must all have the same single colour to cause a warning; fewer where the source ends before."""


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes:
        index: its place in the source, from 0; with a selection (`every`, `start`) still the place in the source.
        stamp_ns: nanoseconds: in a bag the time in the message's header, from a camera the time of arrival since 1970,
            else the time since the source's first frame.
        image_bgr: [H, W, 3] uint8.
        name: file name of an image of a folder; "" elsewhere.
        frame_id: coordinate frame of the camera in a bag; "" elsewhere.
        stretch: how many jumps of the source's clock come before the frame (`keytrack_ros.timing`); tracks do not
            survive one.
    """

    index: int
    stamp_ns: int
    image_bgr: ImageArray
    name: str = ""
    frame_id: str = ""
    stretch: int = 0

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

    A frame that cannot be read is left out, counted in `unreadable`, and logged as a warning.

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
        self.stopped = False
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

    def stop(self) -> None:
        """No further frame is waited for. May be called from a signal handler."""
        self.stopped = True

    def open_first(self) -> None:
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
        colors = _Colors(self.name)
        for index in count():
            if taken == self._selection.frames or self.stopped:
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
                colors.add(frame.image_bgr)
                yield frame
        if taken == 0 and not self.stopped:
            raise InputError(f"{self.name}: none of {self.unreadable} frames can be read: {cause}")
        colors.end()
        if self.unreadable > _WARNINGS:
            logger.warning("%s: %d frames in all could not be read and were left out", self.name, self.unreadable)

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Colors:
    """Warns of a source whose first frames all have one and the same colour, as of a stream that is decoded wrongly."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._color: tuple[int, int, int] | None = None
        self._frames = 0
        self._done = False

    def add(self, image_bgr: ImageArray) -> None:
        if self._done:
            return
        color = constant_color(image_bgr)
        if color is None or self._color not in (None, color):
            self._done = True
            return
        self._color = color
        self._frames += 1
        if self._frames == _SUSPICIOUS:
            self.end()

    def end(self) -> None:
        if not self._done and self._frames > 1:
            logger.warning(
                "%s: the first %d frames are all of one colour (blue, green, red %s): a covered lens, or a stream that "
                "is decoded wrongly",
                self._name,
                self._frames,
                self._color,
            )
        self._done = True
