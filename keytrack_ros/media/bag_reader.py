"""Reads recorded tracks back from a bag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from keytrack_ros.errors import InputError
from keytrack_ros.media.bag import Bag, digest_of
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
    with Bag(path) as bag:
        channels = [c for c in bag.channels if c.message_type == TRACKED_POSES and topic in (None, c.topic)]
        topics = sorted({channel.topic for channel in channels})
        if len(topics) != 1:
            others = sorted({f"{channel.topic} ({channel.message_type})" for channel in bag.channels})
            found = f"has several: {', '.join(topics)}" if topics else f"holds {', '.join(others) or 'nothing'}"
            raise InputError(
                f"{bag.name}: the bag has no single topic of tracked poses{f' {topic}' if topic else ''}; it {found}"
            )
        known = typestore().hash_rihs01(TRACKED_POSES)
        if any(digest_of(channel) not in ("", known) for channel in channels):
            raise InputError(
                f"{bag.name}: its {TRACKED_POSES} is defined otherwise than here; read it with the version of "
                "keytrack_ros that recorded it"
            )
        for message in bag.messages(channels):
            decoded = bag.deserialize(message)
            stamp = decoded.header.stamp
            try:
                poses = from_pose_array(decoded)
            except ValueError as error:
                raise InputError(f"{bag.name}: a message on {topics[0]} holds no poses: {error}") from None
            yield RecordedFrame(
                stamp.sec * NANOSECONDS + stamp.nanosec,
                decoded.header.frame_id,
                (decoded.image_width, decoded.image_height),
                poses,
            )


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
