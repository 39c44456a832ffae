"""Writes MCAP bags without ROS; `ros2 bag`, Foxglove and rosbags read them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from keytrack_ros.errors import InputError, OutputError
from keytrack_ros.media.files import output_error, require_free
from keytrack_ros.media.messages import TRACKED_POSES, poses_to_message, typestore
from keytrack_ros.poses import ImageArray, Poses
from keytrack_ros.timing import NANOSECONDS

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

POSES_TOPIC = "/tracker/poses"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"

# Version 9 writes QoS in a way that Humble cannot read; 8 serves all.
_BAG_VERSION: Literal[8] = 8


class BagWriter:
    """An MCAP bag. Closing it, also after an error, leaves a bag that can be read, with what was written so far.

    Args:
        path: the bag's folder, which is made.
        overwrite: replace a bag that is already there.

    Raises:
        OutputError: the folder exists (and `overwrite` is not set, or it holds something else than a bag), or it
            cannot be made.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        remove_bag(path, overwrite=overwrite)
        self._writer: Writer | None = Writer(path, version=_BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        self._connections: dict[tuple[str, str], Connection] = {}
        self.counts: dict[str, int] = {}
        try:
            self._writer.open()
        except OSError as error:
            raise output_error(path, error) from None

    def add_topic(self, topic: str, message_type: str) -> None:
        """Announces a topic, so that the bag has it even if no message comes. Raises InputError as `write_cdr`."""
        self._connection(topic, message_type)

    def write_cdr(self, topic: str, message_type: str, stamp_ns: int, data: bytes | memoryview) -> None:
        """Writes a message that is serialised already (CDR, as rclpy gives it with `raw=True`).

        Raises InputError for a message type that is neither ROS 2's own nor this package's.
        """
        if self._writer is None:
            raise OutputError(f"{self.path}: the bag is closed")
        try:
            self._writer.write(self._connection(topic, message_type), stamp_ns, data)
        except OSError as error:
            raise output_error(self.path, error) from None
        self.counts[topic] += 1

    def write(self, topic: str, message_type: str, stamp_ns: int, message: Any) -> None:
        """Writes a message of `keytrack_ros.media.messages.typestore`."""
        self.write_cdr(topic, message_type, stamp_ns, typestore().serialize_cdr(message, message_type))

    def write_poses(
        self, poses: Poses, stamp_ns: int, size: tuple[int, int], *, frame_id: str = "", topic: str = POSES_TOPIC
    ) -> None:
        """Writes one frame's people; `size` is width and height of its image."""
        self.write(topic, TRACKED_POSES, stamp_ns, poses_to_message(poses, stamp_ns, frame_id, size))

    def write_image(
        self, topic: str, image_bgr: ImageArray, stamp_ns: int, *, frame_id: str = "", quality: int = 90
    ) -> None:
        """Writes an image as a JPEG; `quality` in 0..100."""
        _, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        types = typestore().types
        stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)
        header = types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
        message = types[COMPRESSED_IMAGE](header=header, format="jpeg", data=np.asarray(data, np.uint8).ravel())
        self.write(topic, COMPRESSED_IMAGE, stamp_ns, message)

    def close(self) -> None:
        """Writes the bag's index and metadata; the second call does nothing.

        Raises OutputError if they cannot be written, as when the disk is full.
        """
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except OSError as error:
            (self.path / "metadata.yaml.tmp").unlink(missing_ok=True)
            raise output_error(self.path, error) from None

    def _connection(self, topic: str, message_type: str) -> Connection:
        key = (topic, message_type)
        if key not in self._connections:
            if self._writer is None:
                raise OutputError(f"{self.path}: the bag is closed")
            if message_type not in typestore().fielddefs:
                raise InputError(f"{topic}: the definition of {message_type} is not known, so it cannot be recorded")
            self._connections[key] = self._writer.add_connection(topic, message_type, typestore=typestore())
            self.counts.setdefault(topic, 0)
        return self._connections[key]

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def remove_bag(path: Path, *, overwrite: bool) -> None:
    """Makes room for a bag; only a folder that holds nothing but a bag is ever removed.

    Raises OutputError if `path` exists and may not be removed.
    """
    if not path.exists():
        return
    require_free(path, overwrite=overwrite)
    is_bag = path.is_dir() and all(f.name == "metadata.yaml" or f.suffix in (".mcap", ".db3") for f in path.iterdir())
    if not is_bag:
        raise OutputError(f"{path}: exists and is not a bag, so it is not overwritten; name another place")
    shutil.rmtree(path)
