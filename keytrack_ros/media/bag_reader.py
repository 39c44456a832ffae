"""Reads recorded tracks back from a bag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keytrack_ros.errors import InputError
from keytrack_ros.media.bag_source import one_line, open_bag
from keytrack_ros.media.frames import Frame
from keytrack_ros.media.messages import TRACKED_POSES, typestore
from keytrack_ros.media.pose_messages import from_pose_array
from keytrack_ros.poses import Poses
from keytrack_ros.timing import NANOSECONDS


@dataclass(frozen=True)
class RecordedFrame:
    """One TrackedPoseArray of a bag; `size` is width and height of the image."""

    stamp_ns: int
    frame_id: str
    size: tuple[int, int]
    poses: Poses


def read_poses(path: Path, topic: str | None = None) -> Iterator[RecordedFrame]:
    """The tracked people of a bag in the order in which they were recorded.

    `topic` may be left out where the bag has one topic of them. Raises InputError if it is not a bag, or has none, or
    none of this version.
    """
    with TemporaryDirectory() as scratch:
        reader = open_bag(path, Path(scratch))
        try:
            connections = [c for c in reader.connections if c.msgtype == TRACKED_POSES and topic in (None, c.topic)]
            topics = sorted({c.topic for c in connections})
            if len(topics) != 1:
                others = sorted({f"{c.topic} ({c.msgtype})" for c in reader.connections})
                found = f"has several: {', '.join(topics)}" if topics else f"holds {', '.join(others) or 'nothing'}"
                raise InputError(
                    f"{path}: the bag has no single topic of tracked poses{f' {topic}' if topic else ''}; it {found}"
                )
            known = typestore().hash_rihs01(TRACKED_POSES)
            if any(connection.digest not in ("", known) for connection in connections):
                raise InputError(
                    f"{path}: its {TRACKED_POSES} is defined otherwise than here; read it with the version of "
                    "keytrack_ros that recorded it"
                )
            for _, _, data in reader.messages(connections):
                try:
                    message: Any = typestore().deserialize_cdr(data, TRACKED_POSES)
                except Exception as error:  # a damaged message fails anywhere in the generated decoder
                    raise InputError(f"{path}: a message on {topics[0]} cannot be decoded: {one_line(error)}") from None
                stamp = message.header.stamp
                yield RecordedFrame(
                    stamp.sec * NANOSECONDS + stamp.nanosec,
                    message.header.frame_id,
                    (message.image_width, message.image_height),
                    from_pose_array(message),
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
