"""What several cameras cost in one process that shares the networks, and in a process for each.

    python bench/cameras.py vtest.avi [--cameras 2] [--backend torch]

Every camera shows the video from another place on, as fast as its frames are tracked. Both ways are there all the time
and work in turns, so that what else the machine does meets both.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.pipeline import Pipeline, PipelineOptions
from keytrack_ros.pipeline.multi_camera import SharedNetworks
from keytrack_ros.poses import ImageArray

console = Console(width=110)

FRAME_RATE_HZ = 10.0
APART = 100
"""Frames of the video between one camera and the next."""

WARM_UP = 5
"""Frames that are not counted."""


class Camera:
    """A pipeline and the video that it is fed with, again and again."""

    def __init__(self, pipeline: Pipeline, video: Path, begin: int) -> None:
        self._pipeline = pipeline
        self._frames = self._read(video, begin)
        self._number = 0

    def track(self, frames: int) -> list[float]:
        """Tracks so many frames more; the seconds that each took."""
        seconds = []
        for _ in range(frames):
            image = next(self._frames)
            began = time.perf_counter()
            self._pipeline.process(image, self._number / FRAME_RATE_HZ)
            seconds.append(time.perf_counter() - began)
            self._number += 1
        return seconds

    @staticmethod
    def _read(video: Path, begin: int) -> Iterator[ImageArray]:
        while True:
            reader = cv2.VideoCapture(str(video))
            reader.set(cv2.CAP_PROP_POS_FRAMES, begin)
            while (image := reader.read()[1]) is not None:
                yield np.asarray(image, np.uint8)
            begin = 0


def serve(asked: Connection, video: Path, options: PipelineOptions, begins: list[int]) -> None:
    """A process with a camera for each of `begins`; tracks as many frames as it is asked for, until that is none."""
    networks = SharedNetworks(len(begins)) if len(begins) > 1 else None
    cameras = [Camera(Pipeline.from_options(options, networks), video, begin) for begin in begins]
    asked.send(None)
    with ThreadPoolExecutor(len(cameras)) as threads:
        while frames := asked.recv():
            began = time.process_time()
            seconds = [spent for each in threads.map(lambda camera: camera.track(frames), cameras) for spent in each]
            asked.send((seconds, time.process_time() - began, memory_mib()))


def memory_mib() -> float:
    """This process's part of the memory: what it shares with others counts in parts (Linux's PSS)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


class Way:
    """Processes with cameras.

    Attributes:
        start_s: until all of them could take their first frame, one starting after the other.
        rates: frames a second of all cameras together, turn by turn.
        latencies: seconds from a frame to its poses.
        cpu_s: processor time of these frames, which other work on the machine cannot stretch as it does the rates.
        memory: MiB of all processes after the last turn.
    """

    def __init__(self, video: Path, options: PipelineOptions, begins: list[list[int]]) -> None:
        context = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        self._processes = []
        self._cameras = sum(len(some) for some in begins)
        began = time.perf_counter()
        for some in begins:
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(there, video, options, some))
            process.start()
            there.close()
            here.recv()
            self._ends.append(here)
            self._processes.append(process)
        self.start_s = time.perf_counter() - began
        self.rates: list[float] = []
        self.latencies: list[float] = []
        self.cpu_s = self.memory = 0.0
        self._turn(WARM_UP)
        self.cpu_s = 0.0

    def work(self, frames: int) -> None:
        """All cameras track so many frames at the same time."""
        began = time.perf_counter()
        self.latencies += self._turn(frames)
        self.rates.append(self._cameras * frames / (time.perf_counter() - began))

    def end(self) -> None:
        """Ends the processes."""
        for end in self._ends:
            end.send(0)
        for process in self._processes:
            process.join()

    def _turn(self, frames: int) -> list[float]:
        for end in self._ends:
            end.send(frames)
        seconds, cpu_s, memory = zip(*(end.recv() for end in self._ends), strict=True)
        self.cpu_s += sum(cpu_s)
        self.memory = sum(memory)
        return [spent for each in seconds for spent in each]


def main(
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    cameras: Annotated[int, typer.Option(min=2)] = 2,
    frames: Annotated[int, typer.Option(help="of each camera in a turn", min=1)] = 20,
    turns: Annotated[int, typer.Option(help="of both ways", min=1)] = 8,
    backend: Annotated[str, typer.Option(help="see inference.backend")] = "auto",
    device: Annotated[str, typer.Option(help="see inference.device")] = "auto",
) -> None:
    """Measures both ways."""
    options = PipelineOptions(inference=InferenceOptions(backend=backend, device=device))
    begins = [APART * camera for camera in range(cameras)]
    ways = {
        f"one process, {cameras} cameras": Way(video, options, [begins]),
        f"{cameras} processes": Way(video, options, [[begin] for begin in begins]),
    }
    for turn in range(turns):
        for way in list(ways.values())[:: 1 if turn % 2 else -1]:
            way.work(frames)
    table = Table("", "start, s", "memory, MiB", "frames/s", "frame to poses, ms, median · p95", "CPU, ms a frame")
    for name, way in ways.items():
        middle, late = 1e3 * np.percentile(way.latencies, [50, 95])
        table.add_row(
            name,
            f"{way.start_s:.2f}",
            f"{way.memory:.0f}",
            f"{np.median(way.rates):.2f}",
            f"{middle:.0f} · {late:.0f}",
            f"{1e3 * way.cpu_s / len(way.latencies):.0f}",
        )
        way.end()
    console.print(table)
    shared, apart = (np.array(way.rates) for way in ways.values())
    console.print(f"frames a second, shared / apart, turn by turn: median {np.median(shared / apart):.2f}")


if __name__ == "__main__":
    typer.run(main)
