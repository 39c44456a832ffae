"""The launch files, where launch_ros is installed: which nodes they start, and with what."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from test.nodes.graph import REPOSITORY

pytest.importorskip("launch_ros", reason="launch and launch_ros are not installed (they are not on PyPI)")


def nodes(file: str = "tracker", **arguments: str) -> list[Any]:
    """The nodes that a launch file makes of these arguments."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch_ros.actions import Node

    from launch import LaunchContext

    path = REPOSITORY / "launch" / f"{file}.launch.py"
    spec = importlib.util.spec_from_file_location(f"{file}_launch", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    found: list[Any] = []
    for entity in module.generate_launch_description().entities:
        assert isinstance(entity, (DeclareLaunchArgument, OpaqueFunction))
        found += [action for action in entity.execute(context) or [] if isinstance(action, Node)]
    for node in found:
        node._perform_substitutions(context)
    return found


def test_the_tracker_alone_by_default() -> None:
    (tracker,) = nodes()
    assert (tracker.node_executable, tracker.node_name) == ("tracker_node", "/tracker")


def test_a_video_is_wired_to_the_tracker_in_its_namespace() -> None:
    tracker, video = nodes(video="walk.mp4", namespace="robot", image="front/image_raw")
    assert (tracker.node_name, video.node_name) == ("/robot/tracker", "/robot/video")
    assert tracker.expanded_remapping_rules == [("image", "front/image_raw")]
    assert video.expanded_remapping_rules == [("image_raw", "front/image_raw")]


def test_rviz_comes_when_asked_for() -> None:
    assert [node.node_executable for node in nodes(rviz="true")] == ["tracker_node", "rviz2"]


def test_a_truth_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="launch argument autostart is 'perhaps'; it is true or false"):
        nodes(autostart="perhaps")


def parameters(node: Any) -> dict[str, Any]:
    """What its parameter files, those of the launch file's own making, hold."""
    import yaml

    files = [path for path, is_file in node._Node__expanded_parameter_arguments if is_file]
    found: dict[str, Any] = {}
    for file in files:
        for section in yaml.safe_load(Path(file).read_text(encoding="utf-8")).values():
            found |= section.get("ros__parameters", {})
    return found


def test_a_replay_is_player_tracker_and_recorder_in_the_time_of_the_bag() -> None:
    recorder, tracker, player = nodes("replay", bag="walk", output="tracks", topic="/left", every_frame="true")
    executables = [node.node_executable for node in (recorder, tracker, player)]
    assert executables == ["recorder_node", "tracker_node", "video_node"]
    assert player.expanded_remapping_rules == [("image_raw", "image")]
    playing = parameters(player)
    assert (playing["source"], playing["bag_topic"], playing["stamps"]) == ("walk", "/left", "source")
    assert playing["publish_clock"] is True
    assert (playing["pace_topic"], playing["wait_for_topic"]) == ("tracker/poses", "tracker/poses")
    assert parameters(tracker)["use_sim_time"] is True
    assert parameters(recorder) == {"use_sim_time": True, "output": "tracks", "overwrite": False}
    assert "pace_topic" not in parameters(nodes("replay", bag="walk", output="tracks")[2])
