"""A camera and a listener at a tracker, for the tests that feed it frame by frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from keytrack_ros.msg import TrackedPoseArray
from sensor_msgs.msg import Image

from keytrack_ros.nodes.messages import stamp_to_ns
from keytrack_ros.nodes.publishing import try_publish
from test.nodes.graph import Graph, image_message
from test.toy import FRAME_SIZE, draw_frame

Places = list[tuple[float, float]]

IMAGE_SIZE, PERSON_SIZE = (256, 192), (20, 54)
"""A third of the toy's: such images, also several, fit into Fast DDS's default shared memory of 512 kB. Of larger ones
pieces are lost, and on a busy machine asked for again only after many seconds."""

KEEP_ALL_POSES = {"qos_overrides./tracker/poses.publisher.depth": 1000}
"""For a tracker of which every message is counted: on a busy machine the test may hear late."""


def picture(places: Places, size: tuple[int, int] = IMAGE_SIZE) -> npt.NDArray[np.uint8]:
    """A BGR image of people at these places, which are in pixels of a frame of FRAME_SIZE."""
    scale = size[0] / FRAME_SIZE[0]
    person_size = (PERSON_SIZE[0] * size[0] // IMAGE_SIZE[0], PERSON_SIZE[1] * size[0] // IMAGE_SIZE[0])
    return draw_frame([(scale * x, scale * y) for x, y in places], size, person_size)


class Camera:
    """Publishes images to `image_topic` and hears the poses of `tracker`; stamps grow by 0.1 s unless given.

    `readers` is how many subscribers the images have, so that the first is not sent before all of them are found.
    """

    def __init__(self, graph: Graph, image_topic: str = "/image", tracker: str = "/tracker", readers: int = 1) -> None:
        self.graph = graph
        self.poses: list[TrackedPoseArray] = graph.listen(TrackedPoseArray, f"{tracker}/poses", 1000)
        graph.meet(tracker)
        graph.spin_until(lambda: graph.node.count_publishers(f"{tracker}/poses"))
        # Of depth 1, as the video node's in lock-step: a lost piece is asked for at once.
        self.publisher = graph.publisher(Image, image_topic, 1, readers=readers)
        self.stamp_s = 100.0

    def publish(self, frame: npt.NDArray[np.uint8], stamp_s: float | None = None, frame_id: str = "camera") -> Image:
        """Publishes a BGR frame and returns its message."""
        self.stamp_s = self.stamp_s + 0.1 if stamp_s is None else stamp_s
        message = image_message(frame, self.stamp_s, frame_id)
        self._send(message)
        return message

    def publish_message(self, message: Image) -> None:
        """Publishes a message as it is, but for a new stamp."""
        self.stamp_s += 0.1
        message.header = image_message(np.zeros((1, 1, 3), np.uint8), self.stamp_s).header
        self._send(message)

    def _send(self, message: Image) -> None:
        self.graph.spin_until(lambda: try_publish(self.publisher, message))

    def show(self, places: Places, stamp_s: float | None = None, **options: Any) -> TrackedPoseArray:
        """Publishes a frame with people at these places and returns what the tracker makes of it."""
        before = len(self.poses)
        size = options.pop("size", IMAGE_SIZE)
        sent = self.publish(picture(places, size), stamp_s, **options)
        # Poses of an image before may still be on their way.
        self.graph.spin_until(lambda: sent.header.stamp in [poses.header.stamp for poses in self.poses[before:]])
        return self.poses[-1]

    def confirm(self, places: Places, **options: Any) -> TrackedPoseArray:
        """Shows people until the tracker publishes all of them, as it does once their tracks are confirmed."""
        self.graph.spin_until(lambda: len(self.show(places, **options).poses) == len(places))
        return self.poses[-1]


def stamps_ns(messages: list[Any]) -> list[int]:
    return [stamp_to_ns(message.header.stamp) for message in messages]


def ids_by_place(message: TrackedPoseArray) -> list[int]:
    """Ids from left to right."""
    return [pose.track_id for pose in sorted(message.poses, key=lambda pose: pose.x_min)]
