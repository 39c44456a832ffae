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
    EmitEvent,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import matches_action
from launch.events.process import ShutdownProcess
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

from keytrack_ros.nodes import launching
from launch import Action, LaunchContext, LaunchDescription, LaunchDescriptionEntity

_GRACE_S = 1.0
"""For the last poses, which the recorder may not have received yet."""


def generate_launch_description() -> LaunchDescription:
    arguments = {
        "bag": (None, "bag to play: folder, .mcap or .db3"),
        "topic": ("", "topic of images in the bag; needed if it has several"),
        "output": (None, "folder of the bag with the tracks, which is made"),
        "overwrite": ("false", "replace a bag that exists already"),
        "gt": ("", "annotations of the bag's images (PoseTrack JSON); empty: no scores"),
        "mode": ("official", "protocol of the scores: official or clean"),
        "report": ("", "HTML file for a report; empty: none"),
        "every_frame": ("false", "true: wait for the poses of each frame; false: play at the recorded rate"),
        **{name: launching.ARGUMENTS[name] for name in ("params_file", "models", "log_level")},
    }
    fixed = {"autostart": "true", "use_sim_time": "true", "reliability": "", "image_transport": ""}
    return LaunchDescription(
        [
            *launching.declare(arguments),
            *launching.large_images(),
            *(SetLaunchConfiguration(name, value) for name, value in fixed.items()),
            OpaqueFunction(function=_replay),
        ]
    )


def _replay(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Player → tracker → recorder; when the player ends, the others end in this order, then the scores are computed."""

    def given(name: str) -> str:
        return launching.given(name, context)

    bag, output = launching.existing("bag", given("bag")), str(Path(given("output")).expanduser())
    playing: dict[str, object] = {
        "source": launching.text(bag),
        "bag_topic": launching.text(given("topic")),
        "stamps": "source",
        "publish_clock": True,
        "wait_for_topic": "tracker/poses",
    }
    if launching.boolean("every_frame", context):
        playing |= {"pace_topic": "tracker/poses", "pace_timeout_s": 60.0}
    recording = {
        "use_sim_time": True,
        "output": launching.text(output),
        "overwrite": launching.boolean("overwrite", context),
    }
    tracker = launching.node("tracker", context, name="tracker", parameters=launching.tracker_parameters(context))
    recorder = launching.node("recorder", context, name="recorder", parameters=[recording])
    player = launching.node("video", context, name="video", parameters=[playing], remappings=[("image_raw", "image")])

    after: Action = Shutdown(reason="the bag has been played")
    scoring = []
    if given("gt"):
        command = [ExecutableInPackage("keytrack", "keytrack_ros"), "evaluate", given("gt"), output]
        command += ["--mode", given("mode"), "--recording", bag]
        command += ["--topic", given("topic")] if given("topic") else []
        command += ["--report", given("report")] if given("report") else []
        score = ExecuteProcess(cmd=command, name="score", output="screen", emulate_tty=True)
        scoring = [_when_ended(score, "keytrack evaluate", after)]
        after = score
    return [
        recorder,
        tracker,
        player,
        _when_ended(player, "the player", _end(tracker)),
        _when_ended(tracker, "the tracker", TimerAction(period=_GRACE_S, actions=[_end(recorder)])),
        _when_ended(recorder, "the recorder", after),
        *scoring,
    ]


def _end(node: Node) -> EmitEvent:
    return EmitEvent(event=ShutdownProcess(process_matcher=matches_action(node)))


def _when_ended(process: ExecuteProcess, name: str, after: Action) -> RegisterEventHandler:
    """Does `after` once the process has ended with code 0; otherwise the launch ends with code 1."""
    return RegisterEventHandler(OnProcessExit(target_action=process, on_exit=launching.on_success(name, after)))
