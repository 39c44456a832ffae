"""Tracks the people of a real video through a real ROS 2 graph: three processes that talk over DDS.

    video_node ──image_raw──▶ tracker_node ──/tracker/poses──▶ recorder_node
         ▲                                        │
         └──────── poses received: next frame ─────┘

Leaves in demo_output/: tracks/ (MCAP bag), tracks.json (PoseTrack 2018), tracks.mp4, frame.png, summary.json, logs/.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

import cv2
import yaml
from get_sample_video import sample_video

from keytrack_ros.cli.console import FrameProgress, console, say_error
from keytrack_ros.cli.signals import stop_signals
from keytrack_ros.cli.summary import RunStatistics, show_summary
from keytrack_ros.errors import KeytrackError
from keytrack_ros.inference.cards import DetectorCard, MatcherCard, PoseCard
from keytrack_ros.inference.registry import find_model
from keytrack_ros.media.bag_reader import read_poses, with_poses
from keytrack_ros.media.bag_writer import POSES_TOPIC, remove_bag
from keytrack_ros.media.drawing import Trails, draw_poses
from keytrack_ros.media.posetrack_writer import PoseTrackWriter
from keytrack_ros.media.sources import open_source
from keytrack_ros.media.video_writer import VideoWriter

_REPOSITORY = Path(__file__).resolve().parent.parent
_NODES = Path(sys.prefix) / "lib/keytrack_ros"
_PARAMETERS = ("tracker.yaml",)
_IMAGES_TOPIC = "/image_raw"
_READY_S = 120.0  # for loading the networks
_LAST_POSES_S = 15.0  # after the last image
_GRACE_S = 10.0  # for a process to end by itself


class DemoError(KeytrackError):
    """A node or file that the demo needs is missing or failed."""


class Process:
    """A node in a process of its own, its output in a file. Leaving the context ends it."""

    def __init__(self, name: str, arguments: list[str], parameters: Mapping[str, Any], logs: Path) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        params_file = logs / f"{name}.yaml"
        params_file.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(parameters)}}), encoding="utf-8")
        command = [str(_NODES / f"{name}_node"), "--ros-args", *arguments, "--params-file", str(params_file)]
        with self.log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def require_alive(self) -> None:
        """Raises DemoError with the last lines of its output if it has ended."""
        if self.exit_code is not None:
            raise DemoError(f"{self.name}_node ended early with code {self.exit_code}; its last lines:\n{self.tail()}")

    def tail(self, lines: int = 12) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Sends SIGINT, then SIGTERM, then SIGKILL until the process has ended."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.exit_code is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(_GRACE_S)
                except subprocess.TimeoutExpired:
                    console.print(f"{self.name}_node did not end by {number.name} within {_GRACE_S:g} s")
        if self.exit_code != 0:
            console.print(f"[yellow]warning:[/] {self.name}_node ended with code {self.exit_code}; see {self.log}")

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Watcher:
    """The demo's own node: watches which nodes are connected and counts the poses that arrive."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from keytrack_ros.msg import TrackedPoseArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._rclpy = rclpy
        self._node = rclpy.create_node("demo")
        self._node.create_subscription(TrackedPoseArray, POSES_TOPIC, self._on_poses, 100)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._people: list[int] = []
        self._poses_subscribers = 0
        self.stage_ms: dict[str, dict[str, float]] = {}
        """p50 and p95 of each stage over the tracker's last frames, as it reports them."""

    def _on_diagnostics(self, message: Any) -> None:
        for pair in message.status[0].values:
            if pair.key == "poses_subscribers":
                self._poses_subscribers = int(pair.value)
            stage, found, percentile = pair.key.rpartition("_ms_")
            if found:
                self.stage_ms.setdefault(stage, {})[percentile] = float(pair.value)

    def _on_poses(self, message: Any) -> None:
        self._people.append(len(message.poses))

    def take(self) -> list[int]:
        """Spins once; returns the number of people in each frame received since the last call."""
        self._executor.spin_once(timeout_sec=0.05)
        people, self._people = self._people, []
        return people

    def is_complete(self) -> bool:
        """Whether the tracker subscribes to images and reports two subscribers of its poses: recorder and demo."""
        return bool(self._node.count_subscribers(_IMAGES_TOPIC) and self._poses_subscribers >= 2)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._rclpy.shutdown()


@dataclass(frozen=True)
class Tracked:
    """What the recording does not contain: seconds of tracking, and p50 and p95 of each stage in milliseconds."""

    seconds: float = 0.0
    stage_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def track(video: Path, frames: int, out: Path, stopped: list[signal.Signals]) -> Tracked:
    """Runs the graph until `frames` frames are recorded or a signal came."""
    logs = out / "logs"
    with ExitStack() as stack:
        recording = {"output": str(out / "tracks"), "topics": [POSES_TOPIC], "frames": frames, "overwrite": True}
        recorder = stack.enter_context(Process("recorder", [], recording, logs))
        files = [part for name in _PARAMETERS for part in ("--params-file", str(_REPOSITORY / "config" / name))]
        tracker = stack.enter_context(Process("tracker", ["-r", f"image:={_IMAGES_TOPIC}", *files], {}, logs))
        # Opened after the processes and closed before them.
        watcher = stack.enter_context(Watcher())
        with console.status("starting the tracker"):
            deadline = monotonic() + _READY_S
            while not watcher.is_complete() and not stopped:
                watcher.take()
                if stopped:  # Ctrl-C in a terminal ends the nodes too
                    return Tracked()
                recorder.require_alive()
                tracker.require_alive()
                if monotonic() > deadline:
                    raise DemoError(
                        f"the nodes did not connect within {_READY_S:g} s; the tracker's last lines:\n{tracker.tail()}"
                    )
        if stopped:
            return Tracked()
        began = monotonic()
        playing = {
            "source": str(video),
            "frames": frames,
            "pace_topic": POSES_TOPIC,  # lock-step: no frame is dropped, however slow the machine
            "pace_timeout_s": 60.0,
            "stamps": "source",
        }
        player = stack.enter_context(Process("video", ["-r", f"image_raw:={_IMAGES_TOPIC}"], playing, logs))
        with FrameProgress(video.name, frames) as progress:
            last_image: float | None = None
            while recorder.exit_code is None and not stopped:
                for people in watcher.take():
                    progress.advance(people)
                if stopped:
                    break
                tracker.require_alive()
                if player.exit_code:
                    player.require_alive()
                if player.exit_code == 0:
                    last_image = last_image or monotonic()
                    if monotonic() - last_image > _LAST_POSES_S:
                        break
        if recorder.exit_code and not stopped:
            recorder.require_alive()
        return Tracked(monotonic() - began, watcher.stage_ms)


def results(video: Path, frames: int, out: Path, tracked: Tracked, interrupted: bool) -> None:
    """JSON, annotated video, still picture and summary, from the recorded bag and the video."""
    statistics, trails = RunStatistics(), Trails()
    largest = -1
    with (
        open_source(video, frames=frames) as source,
        PoseTrackWriter(out / "tracks.json", video.stem, overwrite=True) as tracks,
        VideoWriter(out / "tracks.mp4", source.fps, overwrite=True) as annotated,
    ):
        for frame, poses in with_poses(source, read_poses(out / "tracks", POSES_TOPIC)):
            if poses is None:
                continue
            height, width = frame.image_bgr.shape[:2]
            statistics.add(poses)
            tracks.write(poses, frame.index, (width, height), file_name=frame.name)
            trails.update(poses)
            drawn = draw_poses(frame.image_bgr, poses, trails=trails)
            annotated.write(drawn)
            if len(poses) >= largest:  # the last of the frames with the most people
                largest = len(poses)
                cv2.imwrite(str(out / "frame.png"), drawn)
    summary = {
        "input": str(video),
        "frames_wanted": frames,
        "interrupted": interrupted,
        **statistics.summary(tracked.seconds),
        "stage_ms": tracked.stage_ms,  # over the tracker's last 100 frames
        "networks": {kind.task: find_model(kind).name for kind in (DetectorCard, PoseCard, MatcherCard)},
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    names = ("tracks", "tracks.json", "tracks.mp4", "frame.png", "summary.json")
    show_summary(video.name, summary, {name: f"{out}/{name}" for name in names if (out / name).exists()})
    if statistics.frames < frames and not interrupted:
        raise DemoError(f"{statistics.frames} of {frames} frames were tracked and recorded; see {out}/logs")


def run(video: Path | None, frames: int, out: Path) -> int:
    for kind in (DetectorCard, PoseCard, MatcherCard):
        find_model(kind)  # a missing network is an error before anything is started
    for node in ("video", "tracker", "recorder"):
        if not (_NODES / f"{node}_node").is_file():
            raise DemoError(f"{_NODES}/{node}_node is not there; build the package first: make")
    video = (video or sample_video()).resolve()
    with open_source(video, frames=frames) as source:
        frames = source.count or frames
    out.mkdir(parents=True, exist_ok=True)
    remove_bag(out / "tracks", overwrite=True)
    shutil.rmtree(out / "logs", ignore_errors=True)
    (out / "logs").mkdir()
    for name in ("tracks.json", "tracks.mp4", "frame.png", "summary.json"):
        (out / name).unlink(missing_ok=True)
    # A separate graph: no traffic to or from other robots on the network.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with stop_signals() as stopped:
        tracked = track(video, frames, out, stopped)
        if (out / "tracks/metadata.yaml").is_file():
            results(video, frames, out, tracked, bool(stopped))
    if stopped:
        console.print(f"stopped by {stopped[0].name}")
        return 128 + stopped[0]
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, help="any video, image folder or bag instead of the sample")
    parser.add_argument("--frames", type=int, default=300, help="how many frames (300)")
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder of the results (demo_output)")
    arguments = parser.parse_args()
    if arguments.frames < 1:
        parser.error("--frames has to be at least 1")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        return run(arguments.video, arguments.frames, arguments.out)
    except KeytrackError as error:
        say_error(str(error))
    except KeyboardInterrupt:
        say_error("stopped by Ctrl-C")
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
