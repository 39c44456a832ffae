"""Starts the tracker, and on request a video as its input and RViz.

ros2 launch keytrack_ros tracker.launch.py image:=/camera/image_raw
ros2 launch keytrack_ros tracker.launch.py video:=walk.mp4 rviz:=true
"""

from __future__ import annotations

from launch.actions import OpaqueFunction

from keytrack_ros.nodes import launching
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity


def generate_launch_description() -> LaunchDescription:
    arguments = {
        "image": ("image", "topic of the images; camera_info is expected beside it"),
        "namespace": ("", "namespace of all nodes"),
        "video": ("", "video file, folder of images, bag or number of a webcam, published as the images"),
        "rviz": ("false", "show the tracks in RViz"),
        "fixed_frame": ("", "RViz's fixed frame; empty: that of the configuration file"),
    }
    return LaunchDescription(
        [
            *launching.declare(arguments | launching.ARGUMENTS),
            *launching.large_images(),
            OpaqueFunction(function=_nodes),
        ]
    )


def _nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    image, namespace, video = (launching.given(name, context) for name in ("image", "namespace", "video"))
    respawn = launching.boolean("respawn", context)
    nodes = [
        launching.node(
            "tracker",
            context,
            name="tracker",
            namespace=namespace,
            parameters=launching.tracker_parameters(context),
            remappings=launching.camera_topics(image),
            respawn=respawn,
            on_exit=None if respawn else launching.end_with("the tracker"),
        )
    ]
    if video:
        parameters = {"source": launching.text(video), "use_sim_time": launching.boolean("use_sim_time", context)}
        nodes.append(
            launching.node(
                "video",
                context,
                name="video",
                namespace=namespace,
                parameters=[parameters],
                remappings=[("image_raw", image)],
                on_exit=launching.end_with("the video"),
            )
        )
    if launching.boolean("rviz", context):
        nodes += launching.rviz(context, namespace, launching.given("fixed_frame", context))
    return nodes
