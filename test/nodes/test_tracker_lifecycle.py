"""The tracker as a managed node: transitions, what cannot be configured, silence explained, orderly ends."""

from __future__ import annotations

import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from keytrack_ros.msg import TrackedPoseArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import SetBool, Trigger

from keytrack_ros.nodes.messages import NANOSECONDS, ns_to_stamp
from test.nodes.camera import Camera, ids_by_place, picture
from test.nodes.graph import Graph, image_message

PLACES = [(150.0, 200.0), (400.0, 300.0)]


def test_a_manager_leads_the_node_through_all_states(graph: Graph, toy_models: Path, tmp_path: Path) -> None:
    process = graph.start("tracker", {"autostart": False, "detector.model": "no_such_network"})
    assert graph.state() == "unconfigured"
    graph.spin_until(lambda: graph.diagnostics.get("state") == "unconfigured")
    assert not graph.call(Trigger, "/tracker/reset", Trigger.Request()).success

    # A network that is not there: the reason is said, the node lives on and can be put right.
    assert not graph.change_state("configure")
    assert graph.state() == "unconfigured"
    graph.spin_until(lambda: "no detection network 'no_such_network' was found" in process.log)
    assert graph.set_parameter("inference.models", str(toy_models)).successful
    assert graph.set_parameter("detector.model", "toy_detector").successful

    assert graph.change_state("configure")
    assert not graph.change_state("configure")
    assert graph.state() == "inactive"
    refused = graph.set_parameter("inference.models", str(tmp_path))
    assert not refused.successful
    assert refused.reason == "inference.models cannot be changed now; it can after the lifecycle transition 'cleanup'"
    assert graph.node.count_subscribers("/image") == 0

    for _ in range(2):  # active, inactive and active again
        assert graph.change_state("activate")
        camera = Camera(graph)
        assert len(camera.show(PLACES).poses) == 2
        assert graph.change_state("deactivate")
        graph.spin_until(lambda: graph.node.count_subscribers("/image") == 0)

    assert graph.change_state("cleanup")
    graph.spin_until(lambda: graph.node.count_publishers("/tracker/poses") == 0)
    assert graph.set_parameter("inference.models", str(toy_models)).successful
    assert graph.change_state("configure")
    assert graph.change_state("activate")
    assert len(Camera(graph).show(PLACES).poses) == 2
    assert graph.change_state("shutdown")
    assert graph.state() == "finalized"
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_disabled_before_activation_it_waits(graph: Graph, toy_models: Path) -> None:
    graph.start("tracker", {"autostart": False, "inference.models": toy_models})
    assert graph.call(SetBool, "/tracker/enable", SetBool.Request(data=False)).success
    assert graph.change_state("configure")
    assert graph.change_state("activate")
    assert graph.node.count_subscribers("/image") == 0
    assert graph.call(SetBool, "/tracker/enable", SetBool.Request(data=True)).success
    assert len(Camera(graph).show(PLACES).poses) == 2


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"detector.model": "no_such_network"}, "no detection network 'no_such_network' was found"),
        ({"toks.dilation": 5.0}, "toks.dilation out of range Min: 1.0, Max: 2.0, value: 5.0"),
        (
            {"image_transport": "theora"},
            "parameter image_transport: 'theora' is none of raw, compressed, ffmpeg, foxglove",
        ),
        ({"tracker.candidates": "[1, 2]"}, "tracker.candidates"),
        ({"qos_overrides./tracker/poses.publisher.reliability": "maybe"}, "qos_overrides./tracker/poses: "),
    ],
)
def test_what_cannot_start_says_why_in_one_line_and_fails(
    graph: Graph, toy_models: Path, parameters: dict[str, object], reason: str
) -> None:
    process = graph.start("tracker", {"inference.models": toy_models, **parameters})
    assert process.wait() == 1
    assert reason in process.log
    # "[INFO]" lines tell what went well before it.
    assert len([line for line in process.log.strip().splitlines() if "[INFO]" not in line]) == 1


def test_parameter_file_serves_any_namespace_and_misspelt_names_are_said(
    graph: Graph, toy_models: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "/**:\n  tracker:\n    ros__parameters:\n"
        f"      inference:\n        models: {toy_models}\n      toks:\n        dilation: 1.5\n        dilatation: 1.5\n"
    )
    shipped = Path(__file__).parents[2] / "config" / "tracker.yaml"
    process = graph.start(
        "tracker", ros_args=["--params-file", str(shipped), "--params-file", str(file), "-r", "__ns:=/robot"]
    )
    assert graph.get_parameter("toks.dilation", "/robot/tracker") == 1.5
    graph.spin_until(
        lambda: (
            "toks.dilatation is set, but this node has none of that name; the nearest is toks.dilation" in process.log
        )
    )


def test_compressed_images_of_a_remapped_topic(graph: Graph, toy_models: Path) -> None:
    parameters = {"inference.models": toy_models, "image_transport": "compressed"}
    process = graph.start("tracker", parameters, ros_args=["-r", "image:=/front/image_raw", "-r", "__ns:=/robot"])
    poses = graph.listen(TrackedPoseArray, "/robot/tracker/poses")
    graph.meet("/robot/tracker")
    publisher = graph.publisher(CompressedImage, "/front/image_raw/compressed")
    data = cv2.imencode(".jpg", picture(PLACES))[1].tobytes()
    header = image_message(np.zeros((1, 1, 3), np.uint8), 5.0, "front").header
    publisher.publish(CompressedImage(header=header, format="jpeg", data=data))
    graph.spin_until(lambda: poses)
    assert poses[0].header == header
    assert len(poses[0].poses) == 2

    publisher.publish(CompressedImage(header=header, format="jpeg", data=data[:20]))
    graph.spin_until(lambda: "image rejected: 20 bytes of format 'jpeg' cannot be decoded" in process.log)
    graph.spin_until(lambda: graph.count("frames_rejected.image") == 1)
    assert process.end(signal.SIGTERM) == 0
    assert "Traceback" not in process.log


def test_a_clock_that_jumps_back_resets_the_tracks(graph: Graph, toy_models: Path) -> None:
    process = graph.start("tracker", {"inference.models": toy_models, "use_sim_time": True})
    clock = graph.publisher(Clock, "/clock")
    camera = Camera(graph)
    graph.spin_until(lambda: graph.diagnostics)  # they come although simulated time stands still

    def tell(seconds: int) -> None:  # again and again, for /clock is best effort
        graph.spin_until(
            lambda: (
                clock.publish(Clock(clock=ns_to_stamp(seconds * NANOSECONDS)))
                or graph.diagnostics_stamp_ns == seconds * NANOSECONDS
            )
        )

    tell(11)
    ids = ids_by_place(camera.show(PLACES))
    assert ids_by_place(camera.show(PLACES)) == ids
    tell(5)
    assert "the clock jumped back; all tracks are reset" in process.log
    assert min(ids_by_place(camera.show(PLACES, stamp_s=camera.stamp_s - 0.5))) > max(ids)


def test_two_trackers_of_one_name_are_noticed(graph: Graph, toy_models: Path) -> None:
    first = graph.start("tracker", {"inference.models": toy_models})
    second = graph.start("tracker", {"inference.models": toy_models})
    graph.spin_until(lambda: "2 nodes are named /tracker: their topics and services mix" in first.log + second.log)
    graph.spin_until(lambda: graph.diagnostics.get("message", "").startswith("2 nodes are named /tracker"))
    assert second.end() == 0
    graph.spin_until(lambda: not graph.diagnostics.get("message", "").startswith("2 nodes"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_in_order_while_it_works(graph: Graph, toy_models: Path, number: signal.Signals) -> None:
    process = graph.start("tracker", {"inference.models": toy_models})
    camera = Camera(graph)
    for _ in range(10):
        camera.publish(picture(PLACES))
    assert process.end(number) == 0
    assert "Traceback" not in process.log
    assert "rror" not in process.log
