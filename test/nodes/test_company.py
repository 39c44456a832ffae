"""A tracker among nodes that do what they should not."""

from __future__ import annotations

from pathlib import Path

import rclpy
from keytrack_ros.msg import TrackedPoseArray
from rclpy.context import Context
from sensor_msgs.msg import Image

from test.nodes.camera import KEEP_ALL_POSES, Camera
from test.nodes.graph import Graph

PLACES = [(150.0, 200.0), (400.0, 300.0)]


def test_two_cameras_of_different_size_on_one_topic_are_said(graph: Graph, toy_models: Path) -> None:
    process = graph.start("tracker", {"inference.models": toy_models})
    camera = Camera(graph)
    other = graph.publisher(Image, "/image")
    for _ in range(3):
        large = camera.show(PLACES)
        camera.publisher, other = other, camera.publisher
        small = camera.show(PLACES, size=(320, 240))
        camera.publisher, other = other, camera.publisher
        assert (small.image_width, small.image_height) == (320, 240)
        assert len(large.poses) == 2
    said = "2 publishers send images on /image (/test), which are tracked as those of one camera"
    graph.spin_until(lambda: said in graph.diagnostics.get("message", ""))
    assert said in process.log
    assert 1 <= process.log.count("image size changed from 256x192 to 320x240") <= 2  # six changes of size, to and fro
    graph.node.destroy_publisher(other)
    graph.spin_until(lambda: graph.diagnostics.get("message") == "active")
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_a_consumer_that_never_reads_holds_nothing_up(graph: Graph, toy_models: Path) -> None:
    process = graph.start("tracker", {"inference.models": toy_models, **KEEP_ALL_POSES})
    camera = Camera(graph)
    context = Context()
    rclpy.init(args=[], context=context, domain_id=graph.node.context.get_domain_id())
    idle = rclpy.create_node("idle", context=context)
    for topic, message in (("poses", TrackedPoseArray), ("debug_image", Image)):
        idle.create_subscription(message, f"/tracker/{topic}", lambda _message: None, 1)
        graph.spin_until(lambda topic=topic: graph.node.count_subscribers(f"/tracker/{topic}"))
    for _ in range(30):  # more than the queues hold; `show` fails where poses no longer come
        assert len(camera.show(PLACES).poses) == 2
    assert process.end() == 0
    assert "Traceback" not in process.log
    idle.destroy_node()
    context.shutdown()
