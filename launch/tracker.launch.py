"""Starts the tracker, and if wanted a video for it to watch and RViz.

ros2 launch keytrack_ros tracker.launch.py image:=/camera/image_raw
ros2 launch keytrack_ros tracker.launch.py video:=walk.mp4 rviz:=true
"""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

_SHARE = FindPackageShare("keytrack_ros")


def generate_launch_description() -> LaunchDescription:
    arguments = {
        "image": ("image", "topic of the images"),
        "params_file": (PathJoinSubstitution([_SHARE, "config", "tracker.yaml"]), "parameters of the tracker"),
        "namespace": ("", "namespace of all nodes"),
        "autostart": ("", "true or false: whether the tracker starts by itself; empty: as params_file says"),
        "use_sim_time": ("false", "take the time from /clock"),
        "models": ("", "folders with networks, separated by ':'; empty: as params_file says"),
        "video": ("", "video file, folder of images, bag or number of a webcam, published as the images"),
        "rviz": ("false", "show the tracks in RViz"),
    }
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in arguments.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_nodes)])


def _nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ("image", "namespace", "video", "models")}
    use_sim_time = {"use_sim_time": _truth("use_sim_time", context)}
    overrides: dict[str, object] = dict(use_sim_time)
    if given["models"]:
        overrides["inference.models"] = given["models"]
    if LaunchConfiguration("autostart").perform(context):
        overrides["autostart"] = _truth("autostart", context)
    common = {"package": "keytrack_ros", "namespace": given["namespace"], "output": "screen", "emulate_tty": True}
    nodes = [
        Node(
            executable="tracker_node",
            name="tracker",
            parameters=[LaunchConfiguration("params_file"), overrides],
            remappings=[("image", given["image"])],
            **common,
        )
    ]
    if given["video"]:
        nodes.append(
            Node(
                executable="video_node",
                name="video",
                parameters=[{"source": given["video"], **use_sim_time}],
                remappings=[("image_raw", given["image"])],
                **common,
            )
        )
    if _truth("rviz", context):
        config = PathJoinSubstitution([_SHARE, "config", "rviz", "tracker.rviz"])
        topics = [(f"/tracker/{name}", f"tracker/{name}") for name in ("debug_image", "markers")]
        nodes.append(
            Node(
                package="rviz2",
                executable="rviz2",
                namespace=given["namespace"],
                arguments=["-d", config],
                parameters=[use_sim_time],
                remappings=topics,
            )
        )
    return nodes


def _truth(name: str, context: LaunchContext) -> bool:
    text = LaunchConfiguration(name).perform(context)
    if text.lower() not in ("true", "false"):
        raise ValueError(f"launch argument {name} is '{text}'; it is true or false")
    return text.lower() == "true"
