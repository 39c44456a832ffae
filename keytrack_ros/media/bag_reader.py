"""Reads recorded tracks back from a bag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keytrack_ros.errors import InputError
from keytrack_ros.media.bag_source import open_bag
from keytrack_ros.media.messages import TRACKED_POSES, message_to_poses, typestore
from keytrack_ros.media.sources import NANOSECONDS, Frame
from keytrack_ros.poses import Poses


@dataclass(frozen=True)
class RecordedFrame:
    """One TrackedPoseArray of a bag; `size` is width and height of the image."""

    stamp_ns: int
    frame_id: str
    size: tuple[int, int]
    poses: Poses


def read_poses(path: Path, topic: str | None = None) -> Iterator[RecordedFrame]:
    """The tracked people of a bag in the order in which they were recorded.

    `topic` may be left out where the bag has one topic of them. Raises InputError if it is not a bag, or has none.
    """
    with TemporaryDirectory() as scratch:
        reader = open_bag(path, Path(scratch))
        try:
            connections = [c for c in reader.connections if c.msgtype == TRACKED_POSES and topic in (None, c.topic)]
            topics = sorted({c.topic for c in connections})
            if len(topics) != 1:
                found = f"; it has several: {', '.join(topics)}" if topics else ""
                raise InputError(
                    f"{path}: the bag has no single topic of tracked poses{f' {topic}' if topic else ''}{found}"
                )
            for _, _, data in reader.messages(connections):
                message: Any = typestore().deserialize_cdr(data, TRACKED_POSES)
                stamp = message.header.stamp
                yield RecordedFrame(
                    stamp.sec * NANOSECONDS + stamp.nanosec,
                    message.header.frame_id,
                    (message.image_width, message.image_height),
                    message_to_poses(message),
                )
        finally:
            reader.close()


def with_poses(frames: Iterable[Frame], recorded: Iterable[RecordedFrame]) -> Iterator[tuple[Frame, Poses | None]]:
    """Every frame of a source with the poses that were recorded for it, by stamp; None where there are none.

    The stamps of both must be of one clock, and grow.
    """
    remaining = iter(recorded)
    upcoming = next(remaining, None)
    for frame in frames:
        while upcoming is not None and upcoming.stamp_ns < frame.stamp_ns:
            upcoming = next(remaining, None)
        found = upcoming is not None and upcoming.stamp_ns == frame.stamp_ns
        yield frame, upcoming.poses if found and upcoming is not None else None
