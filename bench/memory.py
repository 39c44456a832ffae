"""Does the tracker node's memory grow? Runs a real graph (video_node → tracker_node, lock-step, over DDS) for many
frames and prints the tracker's resident size as it goes.

    .venv/bin/python bench/memory.py --frames 5000                            toy world and toy networks
    .venv/bin/python bench/memory.py --frames 10000 --video vtest.avi         the shipped networks

Of a video the first frames are shown forth and back, so that there is no cut.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from test import toy  # noqa: E402

FEW = 100
"""Frames of a video that are shown again and again."""


def resident_mib(process: subprocess.Popen[str]) -> float:
    """Resident size of a process."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def write_video(file: Path, frames: int, people: int) -> None:
    """A clip of the toy world."""
    video = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 25, toy.FRAME_SIZE)
    for places in toy.walk(frames, people):
        video.write(toy.draw_frame(places))
    video.release()


def write_frames(folder: Path, video: Path, frames: int) -> Path:
    """The first `FEW` frames of a video, forth and back, as so many images that take no more room."""
    reader = cv2.VideoCapture(str(video))
    few = [image for ok, image in (reader.read() for _ in range(FEW)) if ok]
    (folder / "few").mkdir()
    (folder / "many").mkdir()
    for index, image in enumerate(few):
        cv2.imwrite(str(folder / "few" / f"{index}.jpg"), image)
    there_and_back = [*range(len(few)), *range(len(few) - 2, 0, -1)]
    for index in range(frames):
        (folder / "many" / f"{index}.jpg").symlink_to(
            folder / "few" / f"{there_and_back[index % len(there_and_back)]}.jpg"
        )
    return folder / "many"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--people", type=int, default=4, help="in the toy world")
    parser.add_argument("--video", type=Path, help="with the shipped networks, on the people of this video")
    arguments = parser.parse_args()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    with tempfile.TemporaryDirectory() as folder:
        settings: tuple[str, ...] = ()
        if arguments.video:
            clip = write_frames(Path(folder), arguments.video, arguments.frames)
        else:
            clip = Path(folder) / "toy.avi"
            write_video(clip, arguments.frames, arguments.people)
            networks = toy.write_networks(Path(folder) / "networks")
            settings = (
                *("-p", f"inference.models:={networks}", "-p", f"detector.model:={toy.DETECTOR}"),
                *("-p", f"estimator.model:={toy.ESTIMATOR}"),
            )

        def start(node: str, *ros_arguments: str) -> subprocess.Popen[str]:
            command = [str(Path(sys.prefix) / "lib" / "keytrack_ros" / node), "--ros-args", *ros_arguments]
            return subprocess.Popen(command, env=environment, cwd=ROOT, text=True)

        tracker = start("tracker_node", "-r", "image:=image_raw", *settings)
        video = start(
            "video_node",
            *("-p", f"source:={clip}", "-p", "pace_topic:=/tracker/poses"),
            *("-p", "wait_for_subscribers:=1"),
        )
        begin, sizes = time.monotonic(), list[float]()
        try:
            while video.poll() is None:
                if tracker.poll() is not None:
                    print("the tracker ended early")
                    return 1
                time.sleep(5)
                sizes.append(resident_mib(tracker))
                print(f"{time.monotonic() - begin:6.0f} s  tracker {sizes[-1]:7.1f} MiB", flush=True)
            grown = sizes[-1] - sizes[len(sizes) // 10]  # by then networks are loaded and memories full
            print(f"{arguments.frames} frames: {sizes[-1]:.1f} MiB, {grown:+.1f} MiB in the last nine tenths")
        finally:
            for process in (video, tracker):
                process.send_signal(signal.SIGINT)
                process.wait(10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
