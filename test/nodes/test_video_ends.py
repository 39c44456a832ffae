"""A signal ends `video_node` at once, whatever it waits for."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from keytrack_ros.msg import TrackedPoseArray
from sensor_msgs.msg import Image

from test.media.rtsp_server import RtspServer
from test.media.video_files import encode, scene, write_video
from test.nodes.graph import Graph, Process

AT_ONCE_S = 1.0
"""From the signal to the end of the process; alone on a machine it takes a fifth of that."""

SUBSCRIBER = """
import rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("reader")
node.create_subscription(Image, "/image_raw", lambda image: print("image", flush=True), 10)
rclpy.spin(node)
"""


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """A folder of one image."""
    folder = tmp_path / "still"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), np.zeros((72, 96, 3), np.uint8))
    return folder


class SilentServer:
    """Accepts connections and says `words` or nothing, as a camera that hangs does."""

    def __init__(self, words: bytes = b"", port: int = 0) -> None:
        self._words = words
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.asked = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                client.recv(4096)
                client.sendall(self._words)
                self.asked.set()

    def close(self) -> None:
        self._listener.close()
        for client in self._clients:
            client.close()


@pytest.fixture
def silent() -> Iterator[Callable[..., SilentServer]]:
    """Makes silent servers, and closes them."""
    servers = contextlib.ExitStack()

    def make(words: bytes = b"", port: int = 0) -> SilentServer:
        return servers.enter_context(contextlib.closing(SilentServer(words, port)))

    with servers:
        yield make


def ends_at_once(player: Process) -> None:
    began = time.monotonic()
    assert player.end(signal.SIGINT) == 0, player.log
    took_s = time.monotonic() - began
    assert took_s < AT_ONCE_S, player.log
    assert "Traceback" not in player.log


def test_while_nobody_subscribes(graph: Graph, still: Path) -> None:
    player = graph.start("video", {"source": still})
    graph.spin_until(lambda: "waiting for 1 subscriber(s)" in player.log)
    ends_at_once(player)


def test_while_nobody_publishes_poses(graph: Graph, still: Path) -> None:
    graph.listen(Image, "/image_raw")
    player = graph.start("video", {"source": still, "pace_topic": "/tracker/poses"})
    graph.spin_until(lambda: "waiting for a publisher on /tracker/poses" in player.log)
    ends_at_once(player)


def test_while_it_plays(graph: Graph, still: Path) -> None:
    images = graph.listen(Image, "/image_raw")
    player = graph.start("video", {"source": still, "loop": True, "rate_hz": 100.0})
    graph.spin_until(lambda: len(images) > 20)
    ends_at_once(player)


def test_while_the_next_frame_is_not_due(graph: Graph, still: Path) -> None:
    images = graph.listen(Image, "/image_raw")
    player = graph.start("video", {"source": still, "loop": True, "rate_hz": 0.01})
    graph.spin_until(lambda: images and "the next frame is due in" in player.log)
    ends_at_once(player)


def test_while_the_poses_of_a_frame_do_not_come(graph: Graph, still: Path) -> None:
    images = graph.listen(Image, "/image_raw")
    graph.node.create_publisher(TrackedPoseArray, "/tracker/poses", 10)
    player = graph.start("video", {"source": still, "pace_topic": "/tracker/poses", "pace_timeout_s": 100.0})
    graph.spin_until(lambda: images)
    ends_at_once(player)


@pytest.mark.parametrize("at_the_end", [False, True], ids=["in_the_midst", "after_the_last_frame"])
def test_while_a_killed_subscriber_does_not_acknowledge(graph: Graph, still: Path, at_the_end: bool) -> None:
    # It neither acknowledges frames nor says that it is gone; its lease ends after 20 s.
    cv2.imwrite(str(still / "1.png"), np.full((72, 96, 3), 9, np.uint8))
    images = graph.listen(Image, "/image_raw")
    reader = graph.start_code(SUBSCRIBER, name="reader")
    parameters = {"source": still, "rate_hz": 0.5, "wait_for_subscribers": 2, "loop": not at_the_end}
    player = graph.start("video", parameters)
    graph.spin_until(lambda: "image" in reader.log and images)
    reader.kill()
    graph.spin_until(lambda: len(images) == 2)
    ends_at_once(player)


def test_while_a_camera_does_not_answer(graph: Graph, silent: Callable[..., SilentServer]) -> None:
    camera = silent()
    player = graph.start("video", {"source": f"rtsp://127.0.0.1:{camera.port}/stream"})
    graph.spin_until(camera.asked.is_set)
    ends_at_once(player)


def test_while_a_file_behind_an_address_stalls(
    graph: Graph, silent: Callable[..., SilentServer], tmp_path: Path
) -> None:
    content = write_video(tmp_path / "a.ts", [scene(k) for k in range(40)]).read_bytes()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {10 * len(content)}\r\n\r\n".encode()
    server = silent(head + content[: len(content) // 2])
    player = graph.start("video", {"source": f"http://127.0.0.1:{server.port}/a.ts"})
    graph.spin_until(server.asked.is_set)
    graph.spin_for(1.0)
    ends_at_once(player)


def test_while_a_stream_stalls_and_is_not_to_be_had_again(graph: Graph, silent: Callable[..., SilentServer]) -> None:
    camera = RtspServer(encode([scene(k) for k in range(400)], key_every=10))
    images = graph.listen(Image, "/image_raw")
    player = graph.start("video", {"source": camera.address})
    graph.spin_until(lambda: len(images) > 3)
    camera.close()
    dead = silent(port=camera.port)
    graph.spin_until(dead.asked.is_set)
    ends_at_once(player)
