"""The launch file, where launch_ros is installed: which nodes it starts, and with what."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from test.nodes.graph import REPOSITORY

pytest.importorskip("launch_ros", reason="launch and launch_ros are not installed (they are not on PyPI)")

FILE = REPOSITORY / "launch" / "tracker.launch.py"


def nodes(**arguments: str) -> list[Any]:
    """The nodes that the launch file makes of these arguments."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    from launch import LaunchContext

    spec = importlib.util.spec_from_file_location("tracker_launch", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    found: list[Any] = []
    for entity in module.generate_launch_description().entities:
        assert isinstance(entity, (DeclareLaunchArgument, OpaqueFunction))
        found += entity.execute(context) or []
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
