"""Starts the tracker, and on request a video as its input and RViz.

ros2 launch keytrack_ros tracker.launch.py image:=/camera/image_raw
ros2 launch keytrack_ros tracker.launch.py video:=walk.mp4 rviz:=true
ros2 launch keytrack_ros tracker.launch.py image:=/color/image_raw depth:=/aligned_depth_to_color/image_raw
"""

from __future__ import annotations

from launch.actions import OpaqueFunction

from keytrack_ros.nodes import launching
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity


def generate_launch_description() -> LaunchDescription:
    arguments = {
        "image": ("image", "topic of the images"),
        "depth": ("", "topic of the depth images, registered to the images: people in metres; empty: none"),
        "camera_info": ("", "topic of the camera's intrinsics; empty: camera_info beside the images"),
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
    depth, info = (launching.given(name, context) for name in ("depth", "camera_info"))
    respawn = launching.boolean("respawn", context)
    nodes = [
        launching.node(
            "tracker",
            context,
            name="tracker",
            namespace=namespace,
            parameters=[*launching.tracker_parameters(context), *([{"depth.enabled": True}] if depth else [])],
            remappings=launching.camera_topics(image, info, depth),
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
