"""What the launch files share: arguments, their checks, and when a launch ends.

A RuntimeError raised here ends the launch with its text in one line and exit code 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from launch.actions import DeclareLaunchArgument, LogInfo, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from keytrack_ros.nodes.camera_subscription import PROFILE
from launch import Action, LaunchContext

PACKAGE = "keytrack_ros"

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_OLD_DISTRIBUTIONS = ("humble", "iron", "jazzy")
"""Their Fast DDS knows the second name only; newer ones warn of it."""

ARGUMENTS = {
    "params_file": ("", "parameters that replace those of config/tracker.yaml; others keep their default"),
    "models": ("", "folders with networks, separated by ':'; empty: as params_file says"),
    "autostart": ("", "whether to configure and activate at the start; empty: as params_file says"),
    "reliability": ("", "QoS of the images: auto, reliable or best_effort; empty: as params_file says"),
    "image_transport": ("", "raw, compressed, ffmpeg or foxglove; empty: as params_file says"),
    "use_sim_time": ("false", "take the time from /clock"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "respawn": ("false", "start the tracker again when its process ends; otherwise the launch ends with it"),
}
"""Arguments of every launch file with a tracker: default and description."""


def declare(arguments: Mapping[str, tuple[str | None, str]]) -> list[DeclareLaunchArgument]:
    """Launch arguments from name: (default, description); those without default are required."""
    return [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in arguments.items()
    ]


def given(name: str, context: LaunchContext) -> str:
    """The text of a launch argument."""
    return str(LaunchConfiguration(name).perform(context))


def boolean(name: str, context: LaunchContext) -> bool:
    """A launch argument as ROS users write truth values. Raises RuntimeError for anything else."""
    text = given(name, context)
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise RuntimeError(f"launch argument {name} is '{text}'; it is true or false") from None


def text(value: str) -> ParameterValue:
    """A parameter that stays a text even if it looks like a number, as a webcam's."""
    return ParameterValue(value, value_type=str)


def share_file(name: str) -> str:
    """A file in the package's share folder."""
    return str(Path(get_package_share_directory(PACKAGE)) / name)


def tracker_parameters(context: LaunchContext) -> list[Any]:
    """Parameter files and values of a tracker, from ARGUMENTS; later ones take precedence.

    Raises RuntimeError if params_file or a folder of models does not exist.
    """
    files = [share_file("config/tracker.yaml")]
    if given("params_file", context):
        files.append(existing("params_file", given("params_file", context)))
    values: dict[str, Any] = {"use_sim_time": boolean("use_sim_time", context)}
    if given("models", context):
        folders = [existing("models", folder) for folder in given("models", context).split(":") if folder]
        values["inference.models"] = text(":".join(folders))
    if given("autostart", context):
        values["autostart"] = boolean("autostart", context)
    for name in ("reliability", "image_transport"):
        if given(name, context):
            values[name] = text(given(name, context))
    return [*files, values]


def existing(argument: str, path: str) -> str:
    """`path` with ~ replaced. Raises RuntimeError, naming the argument, if there is no such file or folder."""
    found = Path(path).expanduser()
    if not found.exists():
        raise RuntimeError(f"launch argument {argument}: {path}: there is no such file or folder")
    return str(found)


def camera_topics(image: str, camera_info: str = "", depth: str = "") -> list[tuple[str, str]]:
    """Remappings of a tracker to a camera's image topic, the camera_info (by default beside it) and a depth topic."""
    folder, slash, _ = image.rpartition("/")
    topics = [("image", image), ("camera_info", camera_info or f"{folder}{slash}camera_info")]
    return [*topics, ("depth", depth)] if depth else topics


def node(executable: str, context: LaunchContext, *, respawn: bool = False, **arguments: Any) -> Node:
    """One of our nodes, with the argument log_level.

    Args:
        executable: without `_node`.
        respawn: start it again 2 s after it ended.
        arguments: of launch_ros's Node.
    """
    return Node(
        package=PACKAGE,
        executable=f"{executable}_node",
        ros_arguments=["--log-level", given("log_level", context)],
        respawn=respawn,
        respawn_delay=2.0,
        output="screen",
        emulate_tty=True,
        **arguments,
    )


def end_with(name: str) -> Callable[[Any, LaunchContext], list[Any]]:
    """For a process's on_exit: ends the launch when the process ends, with code 1 if the process failed."""
    return on_success(name, Shutdown(reason=f"{name} has ended"))


def on_success(name: str, then: Action) -> Callable[[Any, LaunchContext], list[Any]]:
    """For a process's on_exit: does `then` if the process ended with code 0; otherwise ends the launch with code 1."""

    def ended(event: Any, context: LaunchContext) -> list[Any]:
        if event.returncode and not context.is_shutdown:
            raise RuntimeError(f"{name} ended with exit code {event.returncode}; its output is above")
        return [then]

    return ended


def large_images() -> list[Any]:
    """Fast DDS's profile for large images, for all nodes that are launched, unless the environment names another."""
    if any(name in os.environ for name in _PROFILE_VARIABLES):
        return []
    name = _PROFILE_VARIABLES[os.environ.get("ROS_DISTRO") in _OLD_DISTRIBUTIONS]
    return [SetEnvironmentVariable(name, share_file(PROFILE))]


def rviz(context: LaunchContext, namespace: str, fixed_frame: str) -> list[Any]:
    """RViz with the tracks; only a line of text where it is not installed."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="rviz:=true, but rviz2 is not installed; going on without")]
    topics = [(f"/tracker/{name}", f"tracker/{name}") for name in ("debug_image", "markers")]
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            namespace=namespace,
            arguments=["-d", share_file("config/rviz/tracker.rviz"), *(["-f", fixed_frame] if fixed_frame else [])],
            parameters=[{"use_sim_time": boolean("use_sim_time", context)}],
            remappings=topics,
        )
    ]
