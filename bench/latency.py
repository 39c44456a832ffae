"""Latency from an image's stamp to its poses at a subscriber, over DDS, with camera, tracker and listener as processes.

    python bench/latency.py vtest.avi [--seconds 20] [--toy]

The camera stamps each image when it publishes it, best effort as drivers do, with the Fast DDS profile for large images
that the launch files set. Its frames are those of the video, resized, and encoded as JPEG before the run for the
transport `compressed`. --toy takes networks that cost next to nothing: what is left is the node and the middleware.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import rclpy
import typer
from keytrack_ros.msg import TrackedPoseArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

sys.path.insert(0, str(Path(__file__).parent.parent))

from keytrack_ros.nodes.camera_subscription import PROFILE
from keytrack_ros.nodes.images import to_image_message
from keytrack_ros.nodes.messages import ns_to_stamp, stamp_to_ns
from test import toy
from test.nodes.graph import REPOSITORY, Graph

FRAMES = 100
"""Of the video, played over and over."""
FIRST = 200
"""Frame that they begin with: some people are there from then on."""
WARM_UP_S = 3.0
SIZES = ((640, 480), (1280, 720))
RATES_HZ = (10.0, 30.0)
TRANSPORTS = ("raw", "compressed")

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def messages(video: Path, size: tuple[int, int], transport: str) -> list[Any]:
    """FRAMES images of the video as messages without a stamp."""
    reader = cv2.VideoCapture(str(video))
    reader.set(cv2.CAP_PROP_POS_FRAMES, FIRST)
    made: list[Any] = []
    while len(made) < FRAMES and (frame := reader.read()[1]) is not None:
        image = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        if transport == "raw":
            made.append(to_image_message(image, Header()))
        else:
            jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            made.append(CompressedImage(format="bgr8; jpeg compressed bgr8", data=jpeg.tobytes()))
    if not made:
        raise typer.BadParameter(f"{video} cannot be read")
    return made


def film(video: Path, size: tuple[int, int], rate_hz: float, transport: str, domain: int, seconds: float) -> None:
    """The camera's process: publishes for so many seconds once a subscriber is there."""
    images = messages(video, size, transport)
    rclpy.init(args=[], domain_id=domain)
    node = rclpy.create_node("camera")
    topic = "/image" if transport == "raw" else "/image/compressed"
    publisher = node.create_publisher(type(images[0]), topic, BEST_EFFORT)
    while not publisher.get_subscription_count():
        time.sleep(0.1)
    begin = time.monotonic()
    for number in range(round(seconds * rate_hz)):
        time.sleep(max(begin + number / rate_hz - time.monotonic(), 0.0))
        message = images[number % len(images)]
        message.header = Header(stamp=ns_to_stamp(time.time_ns()), frame_id="camera")
        publisher.publish(message)
    node.destroy_node()
    rclpy.shutdown()


def measure(
    video: Path, models: Path | None, size: tuple[int, int], rate_hz: float, transport: str, seconds: float
) -> tuple[int, int, np.ndarray]:
    """Images sent and answered, and for each answer [people, milliseconds], after the warm-up."""
    heard: list[tuple[int, float]] = []
    first_ns = 0

    def hear(message: TrackedPoseArray) -> None:
        nonlocal first_ns
        now_ns, stamp_ns = time.time_ns(), stamp_to_ns(message.header.stamp)
        first_ns = first_ns or stamp_ns
        if stamp_ns - first_ns >= WARM_UP_S * 1e9:
            heard.append((len(message.poses), (now_ns - stamp_ns) / 1e6))

    with tempfile.TemporaryDirectory() as folder:
        graph = Graph(Path(folder))
        try:
            graph.node.create_subscription(TrackedPoseArray, "/tracker/poses", hear, 1000)
            parameters: dict[str, object] = {"image_transport": transport, "tracker.confirm_frames": 3}
            if models is not None:
                parameters["inference.models"] = models
            graph.start("tracker", parameters)
            graph.spin_until(lambda: graph.diagnostics.get("state") == "active")
            domain = graph.node.context.get_domain_id()
            arguments = (video, size, rate_hz, transport, domain, WARM_UP_S + seconds)
            camera = multiprocessing.get_context("spawn").Process(target=film, args=arguments)
            camera.start()
            graph.spin_until(lambda: not camera.is_alive(), timeout_s=300.0 + WARM_UP_S + seconds)
            graph.spin_for(1.0)
        finally:
            graph.close()
    return round(seconds * rate_hz), len(heard), np.array(heard).reshape(-1, 2)


def main(
    video: Path,
    seconds: Annotated[float, typer.Option(help="measured time of each row")] = 20.0,
    toy_networks: Annotated[bool, typer.Option("--toy", help="networks that cost next to nothing")] = False,
) -> None:
    os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(REPOSITORY / PROFILE)
    table = Table(title=f"stamp to poses, ms; load average at the start {os.getloadavg()[0]:.1f}")
    for column in ("images", "rate", "transport", "answered", "people", "median", "p95", "load"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        models = toy.write_networks(Path(folder) / "models") if toy_networks else None
        for size, rate_hz, transport in product(SIZES, RATES_HZ, TRANSPORTS):
            sent, answered, heard = measure(video, models, size, rate_hz, transport, seconds)
            people = f"{heard[:, 0].mean():.1f}" if answered else ""
            latencies = [f"{value:.0f}" for value in np.percentile(heard[:, 1], (50, 95))] if answered else ["", ""]
            table.add_row(
                f"{size[0]} x {size[1]}",
                f"{rate_hz:.0f} Hz",
                transport,
                f"{answered} of {sent}",
                people,
                *latencies,
                f"{os.getloadavg()[0]:.1f}",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
