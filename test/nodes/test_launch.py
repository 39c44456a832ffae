"""The launch files, where launch_ros is installed: which nodes they start, and with what."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
from pathlib import Path
from typing import Any

import cv2
import pytest

from test.nodes.camera import Camera, ids_by_place, picture
from test.nodes.graph import REPOSITORY, Graph, Process

pytest.importorskip("launch_ros", reason="launch and launch_ros are not installed (they are not on PyPI)")


def nodes(file: str = "tracker", **arguments: str) -> list[Any]:
    """The nodes that a launch file makes of these arguments."""
    from launch.actions import DeclareLaunchArgument
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
        if isinstance(entity, DeclareLaunchArgument) and entity.default_value is None:
            continue
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
    assert tracker.expanded_remapping_rules == [("image", "front/image_raw"), ("camera_info", "front/camera_info")]
    assert video.expanded_remapping_rules == [("image_raw", "front/image_raw")]


def test_a_depth_topic_enables_people_in_metres() -> None:
    (tracker,) = nodes(image="/color/image_raw", depth="/aligned/image_raw")
    assert dict(tracker.expanded_remapping_rules) == {
        "image": "/color/image_raw",
        "camera_info": "/color/camera_info",
        "depth": "/aligned/image_raw",
    }
    assert parameters(tracker)["depth.enabled"] is True
    (tracker,) = nodes(image="/color/image_raw", camera_info="/left/camera_info")
    assert dict(tracker.expanded_remapping_rules)["camera_info"] == "/left/camera_info"
    assert "depth.enabled" not in parameters(tracker)


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("1", True), ("True", True), ("off", False), ("0", False)])
def test_booleans_are_written_as_ros_users_write_them(text: str, value: bool) -> None:
    assert parameters(nodes(autostart=text)[0])["autostart"] is value


def test_rviz_that_is_not_installed_is_left_out(graph: Graph, toy_models: Path) -> None:
    process = graph.launch("tracker", rviz="yes", models=str(toy_models))
    graph.spin_until(lambda: graph.diagnostics.get("state") == "active")
    assert "rviz:=true, but rviz2 is not installed; going on without" in process.log
    assert process.end() == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {"params_file": "/nowhere.yaml"},
            "launch argument params_file: /nowhere.yaml: there is no such file or folder",
        ),
        ({"models": "/nowhere"}, "launch argument models: /nowhere: there is no such file or folder"),
        ({"autostart": "perhaps"}, "launch argument autostart is 'perhaps'; it is true or false"),
        ({"video": "/nowhere.mp4"}, "the video ended with exit code 1; its output is above"),
        ({"reliability": "maybe"}, "the tracker ended with exit code 1; its output is above"),
    ],
)
def test_what_cannot_start_ends_the_launch_with_a_reason(
    graph: Graph, toy_models: Path, arguments: dict[str, str], reason: str
) -> None:
    process = graph.launch("tracker", **{"models": str(toy_models), **arguments})
    assert process.wait() == 1
    assert reason in process.log
    assert "Traceback" not in process.log


def test_a_parameter_file_is_merged_over_the_defaults(graph: Graph, toy_models: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  tracker:\n    ros__parameters:\n      toks:\n        dilation: 1.5\n")
    process = graph.launch("tracker", params_file=str(file), models=str(toy_models), image="/front/image_raw")
    assert graph.get_parameter("toks.dilation") == 1.5
    assert graph.get_parameter("tracker.delta") == 4  # of config/tracker.yaml
    camera = Camera(graph, "/front/image_raw")
    assert ids_by_place(camera.confirm([(150.0, 200.0), (400.0, 300.0)])) == [1, 2]
    assert process.end() == 0


def test_a_tracker_that_dies_is_started_again_where_asked_for(graph: Graph, toy_models: Path) -> None:
    process = graph.launch("tracker", respawn="true", models=str(toy_models))
    graph.spin_until(lambda: graph.diagnostics.get("state") == "active")
    (pid,) = re.findall(r"tracker_node-1]: process started with pid \[(\d+)]", process.log)
    os.kill(int(pid), signal.SIGKILL)
    graph.spin_until(lambda: process.log.count("process started with pid") == 2)
    camera = Camera(graph)
    # Again and again: the publisher may only have met the subscription that died.
    graph.spin_until(lambda: camera.publish(picture([(150.0, 200.0)])) and camera.poses)
    assert process.end() == 0


def test_the_launch_ends_when_the_video_has_been_played(graph: Graph, toy_models: Path, tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture([(150.0, 200.0)]))
    process = graph.launch("tracker", video=str(tmp_path), models=str(toy_models))
    assert process.wait() == 0
    assert "published 3 frames" in process.log


def test_ros2_lifecycle_configures_activates_and_frees(graph: Graph, toy_models: Path) -> None:
    process = graph.launch("tracker", autostart="no", models=str(toy_models))
    graph.spin_until(lambda: graph.diagnostics.get("state") == "unconfigured")
    for transition in ("configure", "activate"):
        assert "Transitioning successful" in ros2(graph, "lifecycle", "set", "/tracker", transition)
    assert len(Camera(graph).confirm([(150.0, 200.0)]).poses) == 1
    for transition, state in (("deactivate", "inactive"), ("cleanup", "unconfigured")):
        assert "Transitioning successful" in ros2(graph, "lifecycle", "set", "/tracker", transition)
        graph.spin_until(lambda state=state: graph.diagnostics.get("state") == state)
    assert process.end() == 0


def test_ros2_reads_parameters_and_poses(graph: Graph, toy_models: Path) -> None:
    process = graph.launch("tracker", models=str(toy_models))
    graph.spin_until(lambda: graph.diagnostics.get("state") == "active")
    assert "Set parameter successful" in ros2(graph, "param", "set", "/tracker", "toks.dilation", "1.5")
    assert "Double value is: 1.5" in ros2(graph, "param", "get", "/tracker", "toks.dilation")
    refused = ros2(graph, "param", "set", "/tracker", "detector.model", "other")
    assert "detector.model cannot be changed now; it can after the lifecycle transition 'cleanup'" in refused
    skeleton = ros2(graph, "topic", "echo", "--once", "/tracker/skeleton_info")
    assert "- left_ankle" in skeleton
    assert process.end() == 0


def test_the_documented_launch_file_drives_the_lifecycle_by_events(
    graph: Graph, toy_models: Path, tmp_path: Path
) -> None:
    text = (REPOSITORY / "docs" / "deployment.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert '{"autostart": False}' in example
    here = example.replace('{"autostart": False}', f'{{"autostart": False, "inference.models": "{toy_models}"}}')
    (tmp_path / "lifecycle.launch.py").write_text(here)
    process = graph.launch(str(tmp_path / "lifecycle"))
    graph.spin_until(lambda: graph.diagnostics.get("state") == "active")
    assert len(Camera(graph, "/camera/image_raw").confirm([(150.0, 200.0)]).poses) == 1
    assert process.end() == 0


@pytest.mark.parametrize("front_end", ["xml", "yaml"])
def test_xml_and_yaml_take_the_arguments_of_python(graph: Graph, toy_models: Path, front_end: str) -> None:
    file = str(REPOSITORY / "launch" / f"tracker.launch.{front_end}")
    process = start_ros2(graph, "launch", file, f"models:={toy_models}", "image:=/front/image_raw", "autostart:=yes")
    assert len(Camera(graph, "/front/image_raw").confirm([(150.0, 200.0)]).poses) == 1
    assert process.end() == 0


def start_ros2(graph: Graph, *words: str) -> Process:
    """Starts a command of ros2cli."""
    code = f"import sys; sys.argv = {['ros2', *words]}; from ros2cli.cli import main; sys.exit(main())"
    return graph.start_code(code, name="ros2")


def ros2(graph: Graph, *words: str) -> str:
    """What a command of ros2cli prints; without its daemon, which would outlive the test."""
    process = start_ros2(graph, *words, "--no-daemon", "--spin-time", "3")
    process.wait()
    return process.log


def parameters(node: Any) -> dict[str, Any]:
    """What its parameter files, those of the launch file's own making, hold."""
    import yaml

    files = [path for path, is_file in node._Node__expanded_parameter_arguments if is_file]
    found: dict[str, Any] = {}
    for file in files:
        for section in yaml.full_load(Path(file).read_text(encoding="utf-8")).values():
            found |= section.get("ros__parameters", {})
    return found


def test_a_replay_is_player_tracker_and_recorder_in_the_time_of_the_bag() -> None:
    recorder, tracker, player = nodes("replay", bag="test", output="tracks", topic="/left", every_frame="true")
    executables = [node.node_executable for node in (recorder, tracker, player)]
    assert executables == ["recorder_node", "tracker_node", "video_node"]
    assert player.expanded_remapping_rules == [("image_raw", "image")]
    playing = parameters(player)
    assert (playing["source"], playing["bag_topic"], playing["stamps"]) == ("test", "/left", "source")
    assert playing["publish_clock"] is True
    assert (playing["pace_topic"], playing["wait_for_topic"]) == ("tracker/poses", "tracker/poses")
    assert parameters(tracker)["use_sim_time"] is True
    assert parameters(recorder) == {"use_sim_time": True, "output": "tracks", "overwrite": False}
    assert "pace_topic" not in parameters(nodes("replay", bag="test", output="tracks")[2])


def test_cameras_are_one_process_whose_parameters_reach_all_of_them() -> None:
    (process,) = nodes("cameras", cameras="front, rear", models="test", autostart="false", namespace="robot")
    assert process.node_executable == "cameras_node"
    assert process.expanded_remapping_rules == [("image", "image_raw"), ("camera_info", "camera_info")]
    given = parameters(process)  # launch writes lists as tuples, which the nodes read as lists
    assert given | {"cameras": list(given["cameras"])} == {
        "cameras": ["front", "rear"],
        "inference.models": "test",
        "autostart": False,
        "use_sim_time": False,
    }


def test_launched_cameras_track_in_their_namespaces(graph: Graph, toy_models: Path) -> None:
    process = graph.launch("cameras", cameras="front,rear", namespace="robot", models=str(toy_models), image="image")
    assert graph.get_parameter("inference.models", "/robot/front/tracker") == str(toy_models)
    for name in ("front", "rear"):
        camera = Camera(graph, f"/robot/{name}/image", f"/robot/{name}/tracker")
        assert ids_by_place(camera.confirm([(150.0, 200.0), (400.0, 300.0)])) == [1, 2]
    assert process.log.count("toy_detector.onnx runs on") == 1
    assert "has none of that name" not in process.log
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_cameras_without_a_name_or_with_a_wrong_one_are_refused(graph: Graph) -> None:
    process = graph.launch("cameras", cameras="front,,rear")
    graph.spin_until(lambda: process.exit_code is not None)
    assert "parameter cameras: '' is not a camera name" in process.log
    process = graph.launch("cameras")
    assert process.wait() != 0
    assert "required argument 'cameras'" in process.log
