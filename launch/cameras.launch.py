"""Starts one process with a tracker for each of several cameras, which share the networks.

ros2 launch keytrack_ros cameras.launch.py cameras:=front,rear
ros2 launch keytrack_ros cameras.launch.py cameras:=front,rear image:=color/image_raw namespace:=robot
"""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

_SHARE = FindPackageShare("keytrack_ros")


def generate_launch_description() -> LaunchDescription:
    required = {"cameras": "names of the cameras, separated by ','; each is a namespace"}
    optional = {
        "image": ("image_raw", "topic of the images in each camera's namespace"),
        "params_file": (PathJoinSubstitution([_SHARE, "config", "tracker.yaml"]), "parameters of the trackers"),
        "namespace": ("", "namespace of all cameras"),
        "autostart": ("", "true or false: whether the trackers start by themselves; empty: as params_file says"),
        "use_sim_time": ("false", "take the time from /clock"),
        "models": ("", "folders with networks, separated by ':'; empty: as params_file says"),
    }
    declared = [DeclareLaunchArgument(name, description=description) for name, description in required.items()]
    declared += [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in optional.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_nodes)])


def _nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ("cameras", "image", "namespace", "models")}
    parameters: dict[str, object] = {
        "cameras": [name.strip() for name in given["cameras"].split(",")],
        "use_sim_time": _truth("use_sim_time", context),
    }
    if given["models"]:
        parameters["inference.models"] = given["models"]
    if LaunchConfiguration("autostart").perform(context):
        parameters["autostart"] = _truth("autostart", context)
    # Without a name: launch then gives the parameters to every node of the process.
    return [
        Node(
            package="keytrack_ros",
            executable="cameras_node",
            namespace=given["namespace"],
            parameters=[LaunchConfiguration("params_file"), parameters],
            remappings=[("image", given["image"])],
            output="screen",
            emulate_tty=True,
        )
    ]


def _truth(name: str, context: LaunchContext) -> bool:
    text = LaunchConfiguration(name).perform(context)
    if text.lower() not in ("true", "false"):
        raise ValueError(f"launch argument {name} is '{text}'; it is true or false")
    return text.lower() == "true"
