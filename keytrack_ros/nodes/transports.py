"""The topics and message types in which image_transport's plugins offer a camera's images."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from keytrack_ros.errors import OptionError


@dataclass(frozen=True)
class Transport:
    """What a plugin appends to the name of the image's topic, and which type it publishes.

    `depth` is that of the subscription's queue: of images only the newest is wanted, of a video every packet.
    """

    suffix: str
    type_name: str
    depth: int = 60

    def message_type(self) -> type[Any]:
        """Raises OptionError if the type's package is not installed."""
        package, _, name = self.type_name.split("/")
        try:
            return getattr(import_module(f"{package}.msg"), name)  # type: ignore[no-any-return]
        except ImportError:
            raise OptionError(
                f"parameter image_transport: {self.type_name} is not installed; install the ROS package {package}"
            ) from None


TRANSPORTS = {
    "raw": Transport("", "sensor_msgs/msg/Image", depth=1),
    "compressed": Transport("/compressed", "sensor_msgs/msg/CompressedImage"),
    "ffmpeg": Transport("/ffmpeg", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"),
    "foxglove": Transport("/foxglove", "foxglove_msgs/msg/CompressedVideo"),
}
"""By the values of the parameter image_transport."""
