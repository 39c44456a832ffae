"""Video in messages: H.264, H.265, AV1, VP8 or VP9, a packet of the stream in each message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import av

from keytrack_ros.errors import InputError
from keytrack_ros.media.video_source import ToBgr
from keytrack_ros.poses import ImageArray

_CODECS = {"h265": "hevc", "av1": "libdav1d"}
_REORDERED = 16
"""Most frames by which a decoder may hold one back, where frames depend on later ones."""

Pixels = Callable[[], ImageArray]
"""Converts a decoded frame to [H, W, 3] uint8 BGR."""


@dataclass(frozen=True)
class Decoded:
    """What a packet brought to an end, by the numbers of the messages.

    Attributes:
        frames: those that are ready.
        undecodable: packets of which there will be no frame.
    """

    frames: list[tuple[int, Pixels]] = field(default_factory=list)
    undecodable: list[int] = field(default_factory=list)


class VideoMessages:
    """Decodes the packets of one stream, in the order in which they were sent.

    After a packet that is damaged or missing there are no frames until the next key frame: what a decoder makes of
    packets that refer to a frame it never saw is not what the camera saw.

    Args:
        kind: `h264`, `h265` (`hevc`), `av1`, `vp8` or `vp9`.

    Raises InputError if there is no decoder for it.
    """

    def __init__(self, kind: str) -> None:
        name = _CODECS.get(kind, kind)
        try:
            self._decoder: Any = av.CodecContext.create(name, "r")
        except av.error.FFmpegError as error:
            raise InputError(f"format '{kind}' cannot be decoded: {error.strerror}") from None
        self._decoder.thread_count = 1  # more threads answer later by as many frames
        self._to_bgr = ToBgr()
        self._waiting: list[int] = []

    def add(self, data: bytes, number: int) -> Decoded:
        """Decodes the next packet.

        Until the first key frame there are no frames; a stream with frames that depend on later ones gives them later.
        """
        self._waiting.append(number)
        if not data:  # to the decoder it would mean the end
            return self.skip()
        packet: Any = av.Packet(data)
        packet.pts = packet.dts = number
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError:  # what does not belong to the stream, or comes before its first key frame
            return self.skip()
        held = _REORDERED if self._decoder.has_b_frames else 0
        return self._matched(frames, number - held)

    def skip(self) -> Decoded:
        """A packet is missing: no frames until the next key frame."""
        self._decoder.flush_buffers()
        undecodable, self._waiting = self._waiting, []
        return Decoded(undecodable=undecodable)

    def end(self) -> Decoded:
        """What the decoder still held. Nothing is added afterwards."""
        try:
            frames = self._decoder.decode(None)
        except av.error.FFmpegError:
            frames = []
        return self._matched(frames, self._waiting[-1] if self._waiting else 0)

    def _matched(self, frames: list[Any], until: int) -> Decoded:
        """Frames with the numbers of their packets; packets to number `until` without one have none."""
        aspect = self._decoder.sample_aspect_ratio
        found: list[tuple[int, Pixels]] = []
        for frame in frames:
            if frame.pts in self._waiting:
                self._waiting.remove(frame.pts)
                found.append((int(frame.pts), partial(self._to_bgr, frame, aspect)))
        undecodable = [number for number in self._waiting if number <= until]
        self._waiting = [number for number in self._waiting if number > until]
        return Decoded(found, undecodable)
