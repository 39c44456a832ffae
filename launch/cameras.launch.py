"""Starts one process with a tracker for each of several cameras, which share the networks.

ros2 launch keytrack_ros cameras.launch.py cameras:=front,rear
ros2 launch keytrack_ros cameras.launch.py cameras:=front,rear image:=color/image_raw namespace:=robot
"""

from __future__ import annotations

from launch.actions import OpaqueFunction

from keytrack_ros.nodes import launching
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity


def generate_launch_description() -> LaunchDescription:
    arguments = {
        "cameras": (None, "names of the cameras, separated by ','; each is a namespace"),
        "image": ("image_raw", "topic of the images in each camera's namespace; camera_info is expected beside it"),
        "namespace": ("", "namespace of all cameras"),
    }
    return LaunchDescription(
        [*launching.declare(arguments | launching.ARGUMENTS), *launching.large_images(), OpaqueFunction(function=_node)]
    )


def _node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    cameras = [name.strip() for name in launching.given("cameras", context).split(",")]
    respawn = launching.boolean("respawn", context)
    # Without a name: launch then gives the parameters to every node of the process.
    return [
        launching.node(
            "cameras",
            context,
            namespace=launching.given("namespace", context),
            parameters=[*launching.tracker_parameters(context), {"cameras": cameras}],
            remappings=launching.camera_topics(launching.given("image", context)),
            respawn=respawn,
            on_exit=None if respawn else launching.end_with("the process of the trackers"),
        )
    ]
