"""Plays a bag to the tracker as a robot would see it, records the tracks, and scores them at the end.

ros2 launch keytrack_ros replay.launch.py bag:=walk output:=tracks
ros2 launch keytrack_ros replay.launch.py bag:=walk output:=tracks gt:=walk.json every_frame:=true

The player is the package's own video_node, which needs no rosbag2; it plays the images only. Where other topics of the
bag are needed, too: `ros2 bag play BAG --clock` beside tracker.launch.py with use_sim_time:=true. For scores that do
not depend on the speed of the machine: `keytrack replay`.
"""

from __future__ import annotations

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import matches_action
from launch.events.process import ShutdownProcess
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from launch import Action, LaunchContext, LaunchDescription, LaunchDescriptionEntity

_GRACE_S = 1.0
"""For the last poses, which may still be on their way to the recorder."""


def generate_launch_description() -> LaunchDescription:
    params = PathJoinSubstitution([FindPackageShare("keytrack_ros"), "config", "tracker.yaml"])
    arguments = {
        "bag": (None, "bag to play: folder, .mcap or .db3"),
        "topic": ("", "topic of images in the bag; needed if it has several"),
        "output": (None, "folder of the bag with the tracks, which is made"),
        "overwrite": ("false", "replace a bag that is already there"),
        "gt": ("", "annotations of the bag's images (PoseTrack JSON); empty: no scores"),
        "mode": ("official", "how is counted: official or clean"),
        "report": ("", "HTML file: write a report there; empty: none"),
        "every_frame": ("false", "true: wait for the poses of each frame; false: play at the recorded rate"),
        "params_file": (params, "parameters of the tracker"),
        "models": ("", "folders with networks, separated by ':'; empty: as params_file says"),
    }
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in arguments.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_replay)])


def _replay(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Player → tracker → recorder; when the player ends, the others end in this order, then the score is taken."""

    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    bag, output = given("bag"), str(Path(given("output")).expanduser())
    tracking: dict[str, object] = {"use_sim_time": True, "autostart": True}
    if given("models"):
        tracking["inference.models"] = given("models")
    playing: dict[str, object] = {
        "source": bag,
        "bag_topic": given("topic"),
        "stamps": "source",
        "publish_clock": True,
        "wait_for_topic": "tracker/poses",
    }
    if _truth("every_frame", context):
        playing |= {"pace_topic": "tracker/poses", "pace_timeout_s": 60.0}
    recording = {"use_sim_time": True, "output": output, "overwrite": _truth("overwrite", context)}
    tracker = _node("tracker", [LaunchConfiguration("params_file"), tracking])
    recorder = _node("recorder", [recording])
    player = _node("video", [playing], remappings=[("image_raw", "image")])

    after: Action = Shutdown(reason="the bag has been played")
    scoring = []
    if given("gt"):
        command = [ExecutableInPackage("keytrack", "keytrack_ros"), "evaluate", given("gt"), output]
        command += ["--mode", given("mode"), "--recording", bag]
        command += ["--topic", given("topic")] if given("topic") else []
        command += ["--report", given("report")] if given("report") else []
        score = ExecuteProcess(cmd=command, name="score", output="screen", emulate_tty=True)
        scoring = [_when_ended(score, after)]
        after = score
    return [
        recorder,
        tracker,
        player,
        _when_ended(player, _end(tracker)),
        _when_ended(tracker, TimerAction(period=_GRACE_S, actions=[_end(recorder)])),
        _when_ended(recorder, after),
        *scoring,
    ]


def _node(name: str, parameters: list[object], **arguments: object) -> Node:
    return Node(
        package="keytrack_ros",
        executable=f"{name}_node",
        name=name,
        parameters=parameters,
        output="screen",
        emulate_tty=True,
        **arguments,
    )


def _end(node: Node) -> EmitEvent:
    return EmitEvent(event=ShutdownProcess(process_matcher=matches_action(node)))


def _when_ended(process: ExecuteProcess, after: Action) -> RegisterEventHandler:
    """Does `after` once the process has ended well; if it has failed, everything ends."""

    def ended(event: object, _context: LaunchContext) -> list[Action]:
        if event.returncode:  # type: ignore[attr-defined]
            return [Shutdown(reason=f"{process.name} has failed")]
        return [after]

    return RegisterEventHandler(OnProcessExit(target_action=process, on_exit=ended))


def _truth(name: str, context: LaunchContext) -> bool:
    text = LaunchConfiguration(name).perform(context)
    if text.lower() not in ("true", "false"):
        raise ValueError(f"launch argument {name} is '{text}'; it is true or false")
    return text.lower() == "true"
