"""Two trackers under injected faults: no crash, no deadlock, flat memory, every image counted, tracks right again.

    .venv/bin/python bench/soak.py --minutes 30 --json soak.json

Two camera streams of a toy world (rectangles that walk, networks that find them) go over DDS, on the loopback interface
only, into two `tracker_node` processes, `front` and `rear`. Faults are drawn from FAULTS one after the other, each
followed by good images. `rear` is also killed and restarted; `front` lives on, and its memory is what is measured: its
own (anonymous pages and files), and apart from it the shared memory of the middleware, whose segments have a fixed size
but become resident only as they are used. The exit code is 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from keytrack_ros.msg import TrackedPoseArray
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from keytrack_ros.nodes.messages import stamp_to_ns
from keytrack_ros.nodes.publishing import try_publish
from test import toy
from test.nodes.graph import Graph, Process, image_message

RATE_HZ = 10.0
PEOPLE = {"front": 3, "rear": 2}
WARM_UP = 0.2
"""Share of the run after which memory counts as warm."""
RECOVERY_S = 1.0
LARGE_SIZE = (2560, 1920)
"""Of images that take most of one of Fast DDS's segments of 16 MB."""
GROWTH = 0.05
SILENCE_S = 30.0
"""Diagnostics come each second; a node without them for so long is stuck."""
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""As most camera drivers publish; a dead subscriber does not hold them up."""
ENDS = ("frames_processed", "frames_dropped", "frames_rejected")


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process in kB, so many seconds after the begin."""

    second: float
    own: int
    shared: int

    @staticmethod
    def of(process: Process, second: float) -> Memory:
        status = dict(line.split(":", 1) for line in process.status.splitlines())
        kb = {name: int(status[name].split()[0]) for name in ("RssAnon", "RssFile", "RssShmem")}
        return Memory(second, kb["RssAnon"] + kb["RssFile"], kb["RssShmem"])


@dataclass
class Camera:
    """One stream and what the tracker makes of it."""

    name: str
    people: int
    process: Process
    sent: int = 0
    frame: int = 0
    stamp_s: float = 100.0
    poses: list[tuple[float, TrackedPoseArray]] = field(default_factory=list)
    diagnostics: dict[str, str] = field(default_factory=dict)
    heard_s: float = 0.0

    def count(self, key: str) -> int:
        return int(self.diagnostics.get(key, 0))


class Soak:
    """The graph, its cameras and what was found."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph(folder)
        self.models = toy.write_networks(folder / "models")
        self.problems: list[str] = []
        self.recoveries: dict[str, list[float]] = {}
        self.memory: list[Memory] = []
        self.begin_s = time.monotonic()
        self.graph.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self.cameras = {name: Camera(name, people, self._start(name)) for name, people in PEOPLE.items()}
        self.publishers = {}
        for name, camera in self.cameras.items():
            self.publishers[name] = self.graph.node.create_publisher(Image, f"/{name}/image", BEST_EFFORT)
            self.graph.node.create_subscription(
                TrackedPoseArray,
                f"/{name}/tracker/poses",
                lambda message, camera=camera: camera.poses.append((time.monotonic(), message)),
                100,
            )
        for name in self.cameras:
            self.await_active(name)

    def _start(self, name: str) -> Process:
        return self.graph.start("tracker", {"inference.models": self.models}, ros_args=["-r", f"__ns:=/{name}"])

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            for name, camera in self.cameras.items():
                if status.name.startswith(f"/{name}/tracker: "):
                    camera.diagnostics = {item.key: item.value for item in status.values}
                    camera.heard_s = time.monotonic()

    def await_active(self, name: str) -> None:
        """Until the tracker is active and receives this camera's images."""
        camera = self.cameras[name]
        camera.diagnostics = {}
        self.graph.spin_until(lambda: camera.diagnostics.get("state") == "active", 120)
        before = camera.count("frames_received")

        def receives() -> bool:
            self.send(name, self.good(name))
            self.graph.spin_for(1 / RATE_HZ)
            return camera.count("frames_received") > before

        self.graph.spin_until(receives, 60)

    def send(self, name: str, message: Image) -> None:
        """Publishes and counts an image."""
        self.graph.spin_until(lambda: try_publish(self.publishers[name], message))
        self.cameras[name].sent += 1

    def good(self, name: str) -> Image:
        """The camera's next image, with people who walk on."""
        camera = self.cameras[name]
        places = toy.walk(200, camera.people)[camera.frame % 200]
        camera.frame += 1
        camera.stamp_s += 1 / RATE_HZ
        return image_message(toy.draw_frame(places), camera.stamp_s)

    def play(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Good images of both cameras at RATE_HZ."""
        due = time.monotonic()
        end = due + seconds
        while due < end and not until():
            for name in self.cameras:
                self.send(name, self.good(name))
            due += 1 / RATE_HZ
            self.graph.spin_for(max(0.02, due - time.monotonic()))
            self.watch()

    def watch(self) -> None:
        """Memory, life and voice of the processes."""
        now = time.monotonic()
        for name, camera in self.cameras.items():
            if camera.process.exit_code is not None:
                raise SystemExit(f"{name} ended with code {camera.process.exit_code}:\n{camera.process.log[-4000:]}")
            if now - camera.heard_s > SILENCE_S:
                raise SystemExit(
                    f"{name} has been silent for {now - camera.heard_s:.0f} s:\n{camera.process.log[-4000:]}"
                )
        if not self.memory or now - self.begin_s - self.memory[-1].second >= 1:
            self.memory.append(Memory.of(self.cameras["front"].process, now - self.begin_s))

    def right(self, name: str, since_s: float) -> float | None:
        """When tracks became right after `since_s`: all people, with ids that the next two messages keep."""
        messages = [(s, sorted(p.track_id for p in m.poses)) for s, m in self.cameras[name].poses if s >= since_s]
        for (second, ids), (_, later), (_, last) in zip(messages, messages[1:], messages[2:], strict=False):
            if len(ids) == self.cameras[name].people and ids == later == last:
                return second - since_s
        return None

    def recover(self, fault: str) -> None:
        """Good images until tracks are right, then half a second more; notes how long it took."""
        since_s = time.monotonic()
        for camera in self.cameras.values():
            camera.poses.clear()
        self.play(15, until=lambda: all(self.right(name, since_s) is not None for name in self.cameras))
        for name in self.cameras:
            seconds = self.right(name, since_s)
            if seconds is None:
                self.problems.append(f"{fault}: {name} has no right tracks after 15 s")
            else:
                self.recoveries.setdefault(fault, []).append(seconds)
                if seconds > RECOVERY_S:
                    given = [
                        (round(second - since_s, 2), [(p.track_id, p.state) for p in message.poses])
                        for second, message in self.cameras[name].poses
                    ]
                    self.problems.append(f"{fault}: {name} has right tracks only after {seconds:.2f} s: {given}")
        self.play(0.5)

    def account(self, fault: str, name: str, before: dict[str, int], rejected: int = 0) -> None:
        """Every image since `before` is processed, dropped, rejected or lost, and `rejected` of them rejected."""
        camera = self.cameras[name]
        sent_s = 0.0

        def send_one() -> None:
            nonlocal sent_s
            self.send(name, self.good(name))
            sent_s = time.monotonic()

        send_one()

        def settled() -> bool:
            if camera.heard_s > sent_s + 1.5:  # a loss at the end is known when the next image comes
                send_one()
            done = sum(camera.count(key) for key in (*ENDS, "frames_lost")) - before["done"]
            return done >= camera.sent - before["sent"]

        try:
            self.graph.spin_until(settled, 30)
        except AssertionError:
            self.problems.append(f"{fault}: of {camera.sent - before['sent']} images of {name} some are not counted")
        found = camera.count("frames_rejected.image") - before["rejected"]
        unseen = sum(camera.count(key) for key in ("frames_dropped", "frames_lost")) - before["unseen"]
        if not rejected - unseen <= found <= rejected:
            self.problems.append(
                f"{fault}: {found} images of {name} were rejected, {rejected} should be ({unseen} unseen)"
            )

    def counts(self, name: str) -> dict[str, int]:
        """The present counts of a camera, once all is settled."""
        camera = self.cameras[name]
        stamp = camera.heard_s
        self.graph.spin_until(lambda: camera.heard_s > stamp + 0.5, 30)
        return {
            "sent": camera.sent,
            "done": sum(camera.count(key) for key in (*ENDS, "frames_lost")),
            "rejected": camera.count("frames_rejected.image"),
            "unseen": sum(camera.count(key) for key in ("frames_dropped", "frames_lost")),
        }

    def close(self) -> None:
        self.graph.close()


def storm(soak: Soak) -> None:
    """Images at 200 Hz."""
    before = soak.counts("front")
    due = time.monotonic()
    for _ in range(400):
        message = soak.good("front")
        soak.cameras["front"].stamp_s += 0.005 - 1 / RATE_HZ
        message.header = image_message(np.zeros((1, 1, 3), np.uint8), soak.cameras["front"].stamp_s).header
        soak.send("front", message)
        due += 0.005
        soak.graph.spin_for(max(0.001, due - time.monotonic()))
    soak.send("front", soak.good("front"))
    soak.account("storm", "front", before)


def malformed(soak: Soak) -> None:
    """Truncated images, wrong steps, unknown encodings."""
    before = soak.counts("front")
    changes = [
        {"data": array("B", bytes(1000))},
        {"step": 7},
        {"width": 0},
        {"encoding": "rainbow"},
        {"encoding": "32FC1"},
        {"encoding": "nv12", "height": 575},
        {"encoding": "".join(map(chr, soak.rng.integers(33, 126, 12)))},
    ]
    for change in changes:
        message = soak.good("front")
        for key, value in change.items():
            setattr(message, key, value)
        soak.send("front", message)
        soak.graph.spin_for(0.05)
    soak.send("front", soak.good("front"))
    soak.account("malformed", "front", before, rejected=len(changes))


def shapes(soak: Soak) -> None:
    """Sizes and encodings that alternate."""
    before = soak.counts("front")
    for number in range(20):
        message = soak.good("front")
        frame = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        if number % 2:
            frame = cv2.resize(frame, (320, 240))
        pixels = {"bgr8": frame, "mono8": frame[..., 0], "mono16": frame[..., 0].astype(np.uint16) * 257}
        encoding = list(pixels)[number % 3]
        data = np.ascontiguousarray(pixels[encoding])
        message.encoding, message.height, message.width, message.step = encoding, *data.shape[:2], data.strides[0]
        message.data = array("B", data.tobytes())
        soak.send("front", message)
        soak.graph.spin_for(0.05)
    soak.send("front", soak.good("front"))
    soak.account("shapes", "front", before)


def clock_jumps(soak: Soak) -> None:
    """Stamps that jump ahead, back, and to zero."""
    before = soak.counts("front")
    for seconds in (3600.0, -7200.0, 100.0):
        soak.cameras["front"].stamp_s = max(1.0, soak.cameras["front"].stamp_s + seconds)
        for _ in range(3):
            soak.send("front", soak.good("front"))
            soak.graph.spin_for(0.05)
        message = soak.good("front")
        message.header.stamp.sec = message.header.stamp.nanosec = 0
        soak.send("front", message)
        soak.graph.spin_for(0.05)
    soak.account("clock jumps", "front", before)


def killed(soak: Soak) -> None:
    """SIGKILL, and a new process."""
    camera = soak.cameras["rear"]
    camera.process.kill()
    camera.process = soak._start("rear")
    soak.await_active("rear")


def deaf_reader(soak: Soak) -> None:
    """A reliable subscriber of poses and debug images that never reads."""
    context = Context()
    rclpy.init(args=[], context=context, domain_id=soak.graph.node.context.get_domain_id())
    node = rclpy.create_node("deaf", context=context)
    keep_all = QoSProfile(history=HistoryPolicy.KEEP_ALL)
    node.create_subscription(TrackedPoseArray, "/front/tracker/poses", lambda _: None, keep_all)
    node.create_subscription(Image, "/front/tracker/debug_image", lambda _: None, QoSProfile(depth=1))
    soak.play(5)
    node.destroy_node()
    context.shutdown()


def use_segments(soak: Soak) -> None:
    """Fills the shared memory of the middleware once, in both directions, then restarts the tracker for small images.

    Its segments have a fixed size, but become resident only as they are used: left to chance, that takes half an hour.
    """
    camera = soak.cameras["front"]
    seen: list[Image] = []
    watching = soak.graph.node.create_subscription(
        Image, "/front/tracker/debug_image", seen.append, QoSProfile(depth=1)
    )

    def watched() -> bool:
        camera.stamp_s += 1 / RATE_HZ
        soak.send("front", image_message(np.zeros((*LARGE_SIZE[::-1], 3), np.uint8), camera.stamp_s))
        soak.graph.spin_for(1 / RATE_HZ)
        return any(message.width == LARGE_SIZE[0] for message in seen)

    soak.graph.spin_until(watched, 30)
    soak.graph.node.destroy_subscription(watching)
    for label in ("deactivate", "cleanup", "configure", "activate"):
        if not soak.graph.change_state(label, "/front/tracker"):
            soak.problems.append(f"start: {label} failed")
    soak.await_active("front")


def crowd(soak: Soak) -> None:
    """200 people in view."""
    before = soak.counts("front")
    for _ in range(10):
        places = list(zip(soak.rng.uniform(0, 768, 200).tolist(), soak.rng.uniform(0, 576, 200).tolist(), strict=True))
        soak.cameras["front"].stamp_s += 1 / RATE_HZ
        soak.send("front", image_message(toy.draw_frame(places), soak.cameras["front"].stamp_s))
        soak.graph.spin_for(0.1)
    soak.account("crowd", "front", before)


def parameters(soak: Soak) -> None:
    """Parameters that change each second, good values and bad ones."""
    for _ in range(3):
        values = {"toks.dilation": soak.rng.uniform(1, 2), "tracker.match_threshold": soak.rng.uniform(0, 1)}
        for name, value in values.items():
            if not soak.graph.set_parameter(name, float(value), "/front/tracker").successful:
                soak.problems.append(f"parameters: {name} = {value:.2f} was refused")
        if soak.graph.set_parameter("toks.dilation", 7.0, "/front/tracker").successful:
            soak.problems.append("parameters: toks.dilation = 7 was accepted")
        soak.play(1)
    for name, value in (("toks.dilation", 1.25), ("tracker.match_threshold", 0.5)):
        soak.graph.set_parameter(name, value, "/front/tracker")


def transitions(soak: Soak) -> None:
    """Random lifecycle transitions, allowed or not; active in the end."""
    for _ in range(8):
        request = ChangeState.Request()
        request.transition.label = str(soak.rng.choice(["configure", "activate", "deactivate", "cleanup"]))
        soak.graph.call(ChangeState, "/front/tracker/change_state", request)
        soak.play(0.2)
    state = soak.graph.state("/front/tracker")
    for label in {"unconfigured": ["configure", "activate"], "inactive": ["activate"]}.get(state, []):
        if not soak.graph.change_state(label, "/front/tracker"):
            soak.problems.append(f"transitions: {label} failed")
    soak.await_active("front")


FAULTS = [storm, malformed, shapes, clock_jumps, killed, deaf_reader, crowd, parameters, transitions]


def memory_mb(samples: list[Memory]) -> dict[str, tuple[float, float]]:
    """Means over the first tenth after warm-up and the last tenth of the run: own memory, shared memory."""
    end = samples[-1].second
    begin = WARM_UP * end
    first = [sample for sample in samples if begin <= sample.second < begin + 0.1 * end]
    last = [sample for sample in samples if sample.second >= 0.9 * end]
    return {
        name: (mean(getattr(s, name) for s in first) / 1024, mean(getattr(s, name) for s in last) / 1024)
        for name in ("own", "shared")
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    profile = Path(__file__).parent.parent / "config" / "fastdds_large_images.xml"
    os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(profile))
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), arguments.seed)
        rounds = 0
        try:
            use_segments(soak)
            soak.recover("start")
            end = soak.begin_s + 60 * arguments.minutes
            while time.monotonic() < end:
                for index in soak.rng.permutation(len(FAULTS)):
                    fault = FAULTS[index]
                    fault(soak)
                    soak.recover(fault.__name__)
                    if time.monotonic() >= end:
                        break
                rounds += 1
                last = soak.memory[-1]
                print(f"{last.second:.0f} s, {last.own} kB and {last.shared} kB shared", *soak.problems, sep="\n  ")
            memory = memory_mb(soak.memory)
            front = soak.cameras["front"]
            growth = sum(m[1] for m in memory.values()) / sum(m[0] for m in memory.values()) - 1
            if growth > GROWTH:
                soak.problems.append(f"memory grew by {100 * growth:.1f} %")
            report = {
                "minutes": (time.monotonic() - soak.begin_s) / 60,
                "rounds": rounds,
                "images": sum(camera.sent for camera in soak.cameras.values()),
                "memory_mb": memory,
                "memory_growth": growth,
                "memory_kb_each_20_s": [(round(m.second), m.own, m.shared) for m in soak.memory[::20]],
                "last_pose_stamp_ns": stamp_to_ns(front.poses[-1][1].header.stamp),
                "recovery_s": {
                    fault: {"times": len(s), "median": float(np.median(s)), "max": max(s)}
                    for fault, s in sorted(soak.recoveries.items())
                },
                "problems": soak.problems,
            }
        finally:
            soak.close()
    print(json.dumps(report, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))
    return bool(report["problems"])


if __name__ == "__main__":
    sys.exit(main())
