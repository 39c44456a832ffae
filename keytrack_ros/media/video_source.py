"""Video files, through FFmpeg's libraries (PyAV)."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from keytrack_ros.errors import InputError
from keytrack_ros.media.cut_off import is_cut_off
from keytrack_ros.media.frames import DEFAULT_FPS, Frame, FrameSource, Selection
from keytrack_ros.media.paths import has_utf8_name, shown
from keytrack_ros.poses import ImageArray
from keytrack_ros.timing import JUMP_NS, NANOSECONDS, continues

logger = logging.getLogger(__name__)

_THREADS = 4
"""Each decoding thread holds a frame."""
_WRAP_NS = 2**33 * NANOSECONDS // 90_000
"""Presentation times of MPEG-TS begin again after 26.5 hours."""


class VideoSource(FrameSource):
    """A video file, or one behind an address that says how long it is.

    Stamps are the container's presentation times, which serve files of variable frame rate too. Where they do not grow
    the frame rate fills in; where they go back by a second or more, as where two recordings were joined, time goes on
    by one frame and a new stretch begins. Frames are upright, have square pixels and are deinterlaced.

    Args:
        path: file or address.
        fps: frame rate, in place of the container's times.
        selection: which frames.
        container: what is behind an address, opened by `open_container`; it is closed here.

    Raises InputError if there is no video in it.
    """

    def __init__(
        self, path: Path | str, fps: float | None, selection: Selection, container: InputContainer | None = None
    ) -> None:
        name = shown(path)
        if isinstance(path, Path) and path.stat().st_size == 0:
            raise InputError(f"{name}: the file is empty")
        self._file = path
        self._container = container or open_container(path, name)
        try:
            self._stream = video_stream(self._container, name)
        except InputError:
            self._container.close()
            raise
        own = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        if fps is None and not 0.1 <= own <= 1000:
            logger.warning("%s: its frame rate is given as %g; %g fps are taken", name, own, DEFAULT_FPS)
        self._own_fps = fps or (own if 0.1 <= own <= 1000 else DEFAULT_FPS)
        self._times = _Times(name, self._own_fps, use_container=fps is None)
        self._decoded = decoded(self._container, self._stream)
        self._to_bgr = ToBgr()
        self._seconds = float((self._stream.duration or 0) * (self._stream.time_base or 0))
        super().__init__(name, self._own_fps, self._stream.frames or self._estimated_total(), selection)

    def _estimated_total(self) -> int | None:
        """By the duration, where the container does not count its frames."""
        frames = round(self._seconds * self._own_fps)
        return frames if 0 < frames < 10_000_000 else None

    def _step(self, index: int, wanted: bool) -> Frame | None:
        try:
            frame = next(self._decoded)
        except StopIteration:
            self._warn_of_the_end(index)
            raise EOFError from None
        except av.error.FFmpegError as error:
            logger.warning("%s: reading ends at frame %d: %s", self.name, index, error.strerror)
            raise EOFError from None
        if frame is None:
            raise InputError("it cannot be decoded")
        stamp_ns = self._times.next(index, frame.time)
        if not wanted:
            return None
        image = self._to_bgr(frame, self._stream.sample_aspect_ratio)
        return Frame(index, stamp_ns, image, stretch=self._times.stretch)

    def _warn_of_the_end(self, found: int) -> None:
        expected = self._stream.frames
        if isinstance(self._file, Path) and is_cut_off(self._file):
            of = f" of {expected}" if expected > found else ""
            logger.warning("%s: ends at frame %d%s: the file is cut off; what is there is used", self.name, found, of)
        elif found < 0.9 * expected and self._times.last_s < 0.9 * self._seconds:
            logger.warning("%s: ends at frame %d, though its index counts %d", self.name, found, expected)

    def close(self) -> None:
        self._decoded.close()
        self._container.close()


class _Times:
    """Stamps of frames in nanoseconds since the first one, from the container's times in seconds."""

    def __init__(self, name: str, fps: float, *, use_container: bool) -> None:
        self._name = name
        self._fps = fps
        self._use_container = use_container
        self._origin: tuple[int, float, int] | None = None  # index, container's time and stamp where a stretch begins
        self._last_ns: int | None = None
        self.stretch = 0

    @property
    def last_s(self) -> float:
        """The stamp of the last frame in seconds."""
        return (self._last_ns or 0) / NANOSECONDS

    def next(self, index: int, time_s: float | None) -> int:
        """The stamp of frame `index`, which grows from frame to frame."""
        period_ns, regular_ns = round(NANOSECONDS / self._fps), round(index * NANOSECONDS / self._fps)
        if not self._use_container or time_s is None:
            stamp_ns = regular_ns
        elif self._origin is None or self._last_ns is None:
            self._origin, stamp_ns = (index, time_s, regular_ns), regular_ns
        else:
            stamp_ns = self._of_container(index, time_s)
            step_ns = stamp_ns - self._last_ns
            if step_ns > _WRAP_NS // 2:  # FFmpeg takes a step back for a full turn of the clock of MPEG-TS
                step_ns -= _WRAP_NS
            if step_ns <= -JUMP_NS:
                back_s = -step_ns / NANOSECONDS
                self._warn(f"go back by {back_s:.1f} s at frame {index}; time goes on by one frame there")
                stamp_ns = self._last_ns + period_ns
                self._origin = (index, time_s, stamp_ns)
            elif step_ns > 0 and not continues(self._last_ns, stamp_ns):
                self._warn(f"go {step_ns / NANOSECONDS:.1f} s ahead at frame {index}")
        if self._last_ns is not None and stamp_ns <= self._last_ns:
            stamp_ns = self._last_ns + period_ns
        self._last_ns = stamp_ns
        return stamp_ns

    def _of_container(self, index: int, time_s: float) -> int:
        assert self._origin is not None
        begin, begin_s, begin_ns = self._origin
        since_s, regular_s = time_s - begin_s, (index - begin) / self._fps
        # Containers round, often to milliseconds; a regular rate is more exact.
        return begin_ns + round((regular_s if abs(since_s - regular_s) <= 0.001 else since_s) * NANOSECONDS)

    def _warn(self, what: str) -> None:
        self.stretch += 1
        if self.stretch <= 3:
            logger.warning("%s: presentation times %s, and a new stretch begins", self._name, what)


def open_container(source: Path | str, name: str, **options: Any) -> InputContainer:
    """A file or address, open for reading.

    Raises InputError with FFmpeg's reason.
    """
    # FFmpeg takes names as UTF-8, and names with a colon or a percent sign for something else.
    file: Any = source
    if isinstance(source, Path):
        absolute = source.absolute()
        file = f"file:{absolute}" if has_utf8_name(absolute) else _opened(source)
    try:
        container: InputContainer = av.open(file, metadata_errors="replace", **options)
    except av.error.FFmpegError as error:
        raise InputError(f"{name}: not a video that can be read: {_reason(error, source)}") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{name}: cannot be opened: {' '.join(str(error).split())}") from None
    return container


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read: {error.strerror}") from None


def _reason(error: av.error.FFmpegError, source: Path | str) -> str:
    text = str(error.strerror or error)
    if isinstance(error, av.error.InvalidDataError) and isinstance(source, Path) and is_cut_off(source):
        return "it was cut off before its index was written"
    return text[:1].lower() + text[1:]


def video_stream(container: InputContainer, name: str, *, live: bool = False) -> Any:
    """The best video stream, set up to be decoded, with `live` without delay. Raises InputError if there is none."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]  # covers of music
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise InputError(f"{name}: there is no video in it; it holds {kinds}")
    best = container.streams.best("video")
    stream: Any = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise InputError(f"{name}: its video has a format that cannot be decoded")
    stream.thread_type = "SLICE" if live else "AUTO"  # whole frames in parallel come later by as many frames
    stream.codec_context.thread_count = min(_THREADS, os.cpu_count() or 1)
    return stream


def decoded(container: InputContainer, stream: Any) -> Generator[Any, None, None]:
    """Every frame of a stream, progressive; None for a packet that cannot be decoded.

    Raises FFmpegError where reading breaks off.
    """
    deinterlacer = Deinterlacer()
    packets, broken = container.demux(stream), None
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            packet, broken = None, error
        try:
            frames = stream.codec_context.decode(packet)  # without a packet: those that it still holds
        except av.error.EOFError:
            frames = []
        except av.error.FFmpegError:
            yield None
            frames = []
        for frame in frames:
            if packet is None:
                frame.time_base = stream.time_base  # PyAV takes it from the packet
            yield from deinterlacer.add(frame)
        if packet is None:
            break
    yield from deinterlacer.end()
    if broken is not None:
        raise broken


class Deinterlacer:
    """Passes progressive frames through; from the first interlaced one on all go through FFmpeg's filter bwdif.

    The filter makes one frame of two fields, and needs the next frame to do so.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._format: tuple[int, int, str] | None = None

    def add(self, frame: Any) -> Iterator[Any]:
        """Frames that are ready."""
        form = frame.width, frame.height, frame.format.name
        if self._graph is not None and form != self._format:
            yield from self.end()
        if self._graph is None:
            if not frame.interlaced_frame:
                yield frame
                return
            self._graph, self._format = _deinterlacing(frame), form
        self._graph.push(frame)
        yield from _pulled(self._graph)

    def end(self) -> Iterator[Any]:
        """Frames that the filter still holds."""
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.push(None)
            yield from _pulled(graph)


def _deinterlacing(frame: Any) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format.name,
        time_base=frame.time_base or Fraction(1, 90_000),
    )
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Graph) -> Iterator[Any]:
    """The frames that a filter has ready."""
    with suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield graph.pull()


class ToBgr:
    """Converts the frames of one stream; what that takes is set up once."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any, aspect: Fraction | None = None) -> ImageArray:
        """A decoded frame as [H, W, 3] uint8 BGR: upright, and with square pixels, which `aspect` says are not."""
        image = np.asarray(self._reformatter.reformat(frame, format="bgr24").to_ndarray(), np.uint8)
        ratio = float(aspect or 1)
        if 0.1 < ratio < 10 and ratio != 1:
            width = max(1, round(image.shape[1] * ratio))
            image = np.asarray(cv2.resize(image, (width, image.shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
        turns = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
        turn = turns.get(round(frame.rotation) % 360)
        return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)
