"""What the files of a bag have in common, whatever their format."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass
class BagChannel:
    """The messages of one type on one topic, in one file.

    Attributes:
        id: in the file.
        topic, message_type, encoding: of its messages; the encoding is `cdr` in ROS 2 and `ros1` in ROS 1.
        definition: text of the message definition; "" where there is none.
        count: messages, as far as known.
        digest: the type's hash (RIHS01); "" where the file has none.
    """

    id: int
    topic: str
    message_type: str
    encoding: str
    definition: str = ""
    count: int = 0
    digest: str = ""


class BagPart(Protocol):
    """One open file of a bag.

    Attributes:
        channels: all of them.
        message_count, start_ns, end_ns: of all messages; an empty file ends before it starts.
        cut_off: the file lacks something, and what is there is read.
    """

    channels: list[BagChannel]
    message_count: int
    start_ns: int
    end_ns: int
    cut_off: bool

    def messages(self, channels: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Channel id, time of recording in ns and content of each message of some channels, in order."""
        ...

    def close(self) -> None: ...


def ros2_name(message_type: str) -> str:
    """sensor_msgs/msg/Image, also of ROS 1's sensor_msgs/Image."""
    package, _, name = message_type.partition("/")
    return f"{package}/msg/{name}" if name and "/" not in name else message_type
