"""INT8 against FP32 on the CPU: the tracker on a video, each frame by both in turns, so that ratios hold under load.

    python bench/int8.py vtest.avi --frames 200

Accuracy of the networks alone: bench/pose.py and bench/detector.py with the names NAME and NAME_int8.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from keytrack_ros.inference.cpu import has_int8_instructions
from keytrack_ros.media.sources import open_source
from keytrack_ros.options import with_values
from keytrack_ros.pipeline import STAGES, Pipeline, PipelineOptions

app = typer.Typer(help=__doc__, rich_markup_mode=None)
console = Console(width=110)

PRECISIONS = ("fp32", "auto")


@app.command()
def measure(
    video: Path,
    frames: Annotated[int, typer.Option(help="frames that are timed")] = 200,
    every: Annotated[int, typer.Option(help="take every n-th frame of the video")] = 1,
    people: Annotated[int, typer.Option(help="also for frames with at least so many poses")] = 10,
    models: Annotated[str, typer.Option(help="folders with networks, separated by ':'")] = "",
    threads: Annotated[int, typer.Option(help="cores that a network may use; 0 = all")] = 0,
) -> None:
    """Median milliseconds of each stage and of a frame, FP32 and INT8, and how often the ids agree."""
    if not has_int8_instructions():
        raise SystemExit("this CPU has neither VNNI nor AMX: precision auto is FP32 here")
    common = {"inference.device": "cpu", "inference.models": models, "inference.threads": threads}
    pipelines = [
        Pipeline.from_options(with_values(PipelineOptions(), {**common, "inference.precision": precision}))
        for precision in PRECISIONS
    ]
    seconds: list[list[list[float]]] = [[] for _ in PRECISIONS]  # by precision and frame: each stage, then all
    counts: list[list[int]] = [[] for _ in PRECISIONS]
    with open_source(str(video), every=every, frames=frames) as source:
        for frame in source:
            for pipeline, times, found in zip(pipelines, seconds, counts, strict=True):
                began = time.perf_counter()
                poses = pipeline.process(frame.image_bgr, frame.stamp_s)
                spent = time.perf_counter() - began
                times.append([*(pipeline.stage_seconds[stage] for stage in STAGES), spent])
                found.append(len(poses))
    exact, rounded = (1e3 * np.array(times) for times in seconds)
    crowded = np.array(counts).min(0) >= people
    for what, rows in (("all frames", slice(None)), (f"frames with {people} poses or more", crowded)):
        table = Table(what, "FP32, ms", "INT8, ms", "times as fast")
        if not len(exact[rows]):
            continue
        for column, stage in enumerate((*STAGES, "frame")):
            slow, fast = (float(np.median(times[rows, column])) for times in (exact, rounded))
            table.add_row(stage, f"{slow:.1f}", f"{fast:.1f}", f"{slow / fast:.2f}")
        console.print(table)
        console.print(
            f"{len(exact[rows])} frames; frames a second {1e3 / exact[rows, -1].mean():.1f} and "
            f"{1e3 / rounded[rows, -1].mean():.1f}, poses a frame {np.mean(np.array(counts), 1).round(2)}"
        )


if __name__ == "__main__":
    app()
