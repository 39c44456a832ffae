"""Several cameras in one process: one set of networks, and in everything else as if each had its own tracker."""

from __future__ import annotations

from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray

from test.nodes.camera import Camera, ids_by_place, picture
from test.nodes.graph import Graph

LEFT, MIDDLE, RIGHT = (150.0, 200.0), (400.0, 300.0), (650.0, 400.0)

BIRTH_SCORE = 0.5
"""The toy detector's scores go from 0.5 to 0.9 with the place of a person between its cells: 0.53 on the right."""

FRONT, REAR = "/front/tracker", "/rear/tracker"


def values_of(reports: list[DiagnosticArray], node: str) -> dict[str, str]:
    """The last diagnostics of a node."""
    of_node = [status for report in reports for status in report.status if status.name.startswith(f"{node}: ")]
    return {item.key: item.value for item in of_node[-1].values} if of_node else {}


def test_two_cameras_share_networks_and_nothing_else(graph: Graph, toy_models: Path) -> None:
    process = graph.start(
        "cameras", {"cameras": ["front", "rear"], "inference.models": toy_models, "tracker.birth_score": BIRTH_SCORE}
    )
    reports = graph.listen(DiagnosticArray, "/diagnostics")
    front, rear = Camera(graph, "/front/image", FRONT), Camera(graph, "/rear/image", REAR)
    for _ in range(3):
        assert ids_by_place(front.show([LEFT, MIDDLE, RIGHT])) == [1, 2, 3]
    for _ in range(3):
        assert ids_by_place(rear.show([MIDDLE])) == [1]
    for network in ("toy_detector", "toy_pose", "pose_entailment"):
        assert process.log.count(f"{network}.onnx runs on") == 1
    assert "has none of that name" not in process.log

    # Both at once, faster than they can be worked on: nothing vanishes without being counted.
    for _ in range(15):
        for camera, places in ((front, [LEFT, MIDDLE, RIGHT]), (rear, [MIDDLE])):
            camera.publish(picture(places))

    def accounted_for(node: str) -> bool:
        values = values_of(reports, node)
        counts = ("frames_processed", "frames_dropped", "frames_lost")
        return sum(int(values.get(name, 0)) for name in counts) == 18

    graph.spin_until(lambda: accounted_for(FRONT) and accounted_for(REAR))
    assert ids_by_place(front.poses[-1]) == [1, 2, 3]
    assert ids_by_place(rear.poses[-1]) == [1]
    assert "waiting_ms_p50" in values_of(reports, FRONT)

    # One leaves and comes back; the other does not notice.
    for transition in ("deactivate", "cleanup"):
        assert graph.change_state(transition, REAR)
        assert ids_by_place(front.show([LEFT, MIDDLE, RIGHT])) == [1, 2, 3]
    assert graph.state(REAR) == "unconfigured"
    assert graph.set_parameter("tracker.delta", 3, REAR).successful
    for transition in ("configure", "activate"):
        assert graph.change_state(transition, REAR)
    assert process.log.count("toy_detector.onnx runs on") == 1
    back = Camera(graph, "/rear/image", REAR)
    assert ids_by_place(back.show([MIDDLE, RIGHT])) == [1, 2]
    for transition in ("deactivate", "cleanup"):  # the one that had loaded the networks
        assert graph.change_state(transition, FRONT)
    assert ids_by_place(back.show([MIDDLE, RIGHT])) == [1, 2]
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_files_and_remappings_serve_all_or_one(graph: Graph, toy_models: Path, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "config" / "tracker.yaml"
    file = tmp_path / "mine.yaml"
    file.write_text(
        "/**:\n  cameras:\n    ros__parameters:\n      cameras: [front, rear]\n"
        f"  tracker:\n    ros__parameters:\n      inference:\n        models: {toy_models}\n"
        "      toks:\n        dilation: 1.5\n        dilatation: 1.5\n"
        f"      tracker:\n        birth_score: {BIRTH_SCORE}\n"
        "/robot/rear/tracker:\n  ros__parameters:\n    toks:\n      dilation: 1.75\n"
    )
    rules = ["-r", "__ns:=/robot", "-r", "image:=image_raw"]
    process = graph.start("cameras", ros_args=["--params-file", str(shipped), "--params-file", str(file), *rules])
    assert graph.get_parameter("cameras", "/robot/cameras") == ["front", "rear"]
    assert graph.get_parameter("toks.dilation", "/robot/front/tracker") == 1.5
    assert graph.get_parameter("toks.dilation", "/robot/rear/tracker") == 1.75
    assert graph.set_parameter("toks.dilation", 1.25, "/robot/front/tracker").successful
    assert graph.get_parameter("toks.dilation", "/robot/rear/tracker") == 1.75
    assert not graph.set_parameter("cameras", ["other"], "/robot/cameras").successful
    graph.spin_until(lambda: process.log.count("toks.dilatation is set, but this node has none of that name") == 2)
    camera = Camera(graph, "/robot/rear/image_raw", "/robot/rear/tracker")
    assert ids_by_place(camera.show([LEFT, RIGHT])) == [1, 2]


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({}, "parameter cameras is ''; a list of names is needed, such as [front, rear]"),
        ({"cameras": "front"}, "parameter cameras is 'front'; a list of names is needed"),
        ({"cameras": ["front", "rear", "front"]}, "parameter cameras: 'front' is listed twice"),
        ({"cameras": ["front", "1st"]}, "parameter cameras: '1st' is not a camera name"),
        ({"cameras": ["front", ""]}, "parameter cameras: '' is not a camera name"),
        ({"cameras": ["front"], "image_transport": "theora"}, "camera front: parameter image_transport: 'theora' is"),
        ({"cameras": ["front", "rear"], "detector.model": "none"}, "no detection network 'none' was found"),
    ],
)
def test_what_cannot_start_says_why_in_one_line_and_fails(
    graph: Graph, toy_models: Path, parameters: dict[str, object], reason: str
) -> None:
    process = graph.start("cameras", {"inference.models": toy_models, **parameters})
    assert process.wait() == 1
    assert reason in process.log
    assert len(process.log.strip().splitlines()) == 1
