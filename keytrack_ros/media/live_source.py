"""Cameras: webcams of this machine, and network cameras behind an address, both with stamps of arrival."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import av
import cv2

from keytrack_ros.errors import InputError
from keytrack_ros.media.frames import DEFAULT_FPS, Frame, FrameSource, Selection
from keytrack_ros.media.paths import shown
from keytrack_ros.media.pixels import as_bgr8
from keytrack_ros.media.video_source import ToBgr, decoded, open_container, video_stream
from keytrack_ros.poses import ImageArray

logger = logging.getLogger(__name__)

OPEN_S, READ_S = 10.0, 10.0
"""Seconds within which an address must answer, and within which the next data must come."""
_PATIENCE_S = 30.0
"""Seconds for which a stream that broke off is looked for again."""
_PAUSE_S = (0.2, 5.0)
"""Shortest and longest wait between two attempts."""
_SHORTEST_WAIT_S = 0.1
_LEAVE_S = 0.2
"""So long `close` waits for the thread, which FFmpeg may hold for `OPEN_S` or `READ_S`."""


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


class StreamSource(FrameSource):
    """A stream that has no end of its own, as of an IP camera (RTSP, HTTP, UDP …).

    It is read on a thread, and of frames that wait only the newest is kept, so that a slow reader sees the present.
    Frames are counted as they are taken. When the stream breaks off it is opened again, for `patience_s` seconds.

    Args:
        container: opened by `open_container`; it is closed here.
        address: where it comes from.
        patience_s: see above.

    Raises InputError if there is no video in it.
    """

    def __init__(self, container: Any, address: str, selection: Selection, patience_s: float = _PATIENCE_S) -> None:
        self._address = address
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._newest: tuple[int, ImageArray] | None = None
        self._ended: str | None = None
        self._container = container
        name = shown(address)
        stream = video_stream(container, name, live=True)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        super().__init__(name, fps if 0.1 <= fps <= 1000 else DEFAULT_FPS, None, selection)
        self._thread = threading.Thread(target=self._read, args=(stream,), name="stream", daemon=True)
        self._thread.start()

    def _step(self, index: int, wanted: bool) -> Frame | None:
        with self._changed:
            while self._newest is None:
                if self._ended is not None or self.stopped:
                    raise EOFError
                self._changed.wait(_SHORTEST_WAIT_S)  # a signal handler that calls `stop` cannot notify
            (stamp_ns, image), self._newest = self._newest, None
        return Frame(index, stamp_ns, image) if wanted else None

    def close(self) -> None:
        """Does not wait for a network: a thread that does ends later, and closes the container then."""
        self.stop()
        self._thread.join(_LEAVE_S)

    def _read(self, stream: Any) -> None:
        """The thread: until the stream is gone for good, or `stop`."""
        try:
            while not self.stopped:
                cause = self._read_to_the_end(stream)
                if self.stopped:
                    break
                logger.warning("%s: the stream broke off (%s); it is opened again", self.name, cause)
                found = self._reopened()
                if found is None:
                    break
                stream = found
        finally:
            self._container.close()
            with self._changed:
                self._ended = "ended"
                self._changed.notify()

    def _read_to_the_end(self, stream: Any) -> str:
        """Takes frames until none comes; returns why."""
        to_bgr = ToBgr()
        try:
            for frame in decoded(self._container, stream):
                if self.stopped:
                    return "stopped"
                if frame is None:
                    continue
                stamp_ns = time.time_ns()
                image = to_bgr(frame, stream.sample_aspect_ratio)
                with self._changed:
                    self._newest = stamp_ns, image
                    self._changed.notify()
        except av.error.FFmpegError as error:
            return str(error.strerror)
        return "it ended"

    def _reopened(self) -> Any:
        """The stream opened again, or None if it was not to be had within the time."""
        self._container.close()
        end, pause_s = time.monotonic() + self._patience_s, _PAUSE_S[0]
        cause = ""
        while not self.stopped and time.monotonic() < end:
            try:
                self._container = open_stream(self._address)
                stream = video_stream(self._container, self.name, live=True)
            except InputError as error:
                cause = str(error)
            else:
                logger.warning("%s: the stream is back", self.name)
                return stream
            with self._changed:
                self._changed.wait_for(lambda: self.stopped, pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S[1])
        if not self.stopped:
            logger.warning("%s: the stream is not back after %g s: %s", self.name, self._patience_s, cause)
        return None


def open_stream(address: str) -> Any:
    """An address, open for reading. Raises InputError with FFmpeg's reason."""
    # RTSP over TCP: over UDP, FFmpeg's default, the packets of a large frame are easily lost.
    options = {"rtsp_transport": "tcp"} if address.lower().startswith("rtsp") else {}
    return open_container(address, shown(address), options=options, timeout=(OPEN_S, READ_S))


def has_an_end(container: Any) -> bool:
    """Whether what an address leads to is a file: it says how long it is, in seconds or bytes."""
    return bool(container.duration and container.duration > 0) or container.size > 0
