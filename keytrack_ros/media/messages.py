"""The message types of ROS 2 and of this package for `rosbags`, which needs no ROS."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from keytrack_ros.errors import InputError
from keytrack_ros.media.pose_messages import PoseMessageTypes, to_pose_array
from keytrack_ros.poses import Poses
from keytrack_ros.timing import NANOSECONDS

PACKAGE = "keytrack_ros"
_FOXGLOVE = "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n"
"""Both of foxglove_msgs that hold images."""
_FFMPEG = (
    "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\nbool is_bigendian\n"
    "uint8[] data\n"
)
"""FFMPEGPacket of ffmpeg_image_transport_msgs."""
TRACKED_POSES = "keytrack_ros/msg/TrackedPoseArray"


@cache
def typestore() -> Typestore:
    """The message types of ROS 2 and of this package.

    Raises InputError if the package's .msg files are nowhere to be found.
    """
    store = get_typestore(Stores.ROS2_KILTED)
    for name in ("CompressedImage", "CompressedVideo"):
        store.register(get_types_from_msg(_FOXGLOVE, f"foxglove_msgs/msg/{name}"))
    store.register(get_types_from_msg(_FFMPEG, "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"))
    for file in sorted(_message_folder().glob("*.msg")):
        store.register(get_types_from_msg(file.read_text(encoding="utf-8"), f"{PACKAGE}/msg/{file.stem}"))
    return store


def _message_folder() -> Path:
    """The folder of our .msg files: in the source tree, or in share/ of the prefix that we are installed in."""
    package = Path(__file__).parent.parent
    prefixes = [*package.parents, *map(Path, filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(":")))]
    folders = [package.parent / "msg", *(prefix / "share" / PACKAGE / "msg" for prefix in prefixes)]
    for folder in folders:
        if (folder / "TrackedPoseArray.msg").is_file():
            return folder
    raise InputError(
        f"{package}: the message definitions (share/{PACKAGE}/msg) are not installed; build the package again"
    )


def poses_to_message(poses: Poses, stamp_ns: int, frame_id: str, size: tuple[int, int]) -> Any:
    """A TrackedPoseArray of `rosbags`; `size` is width and height of the image in pixels."""
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
    names = (TRACKED_POSES, f"{PACKAGE}/msg/TrackedPose", f"{PACKAGE}/msg/Keypoint")
    return to_pose_array(poses, header, size, PoseMessageTypes(*(types[name] for name in names)))
