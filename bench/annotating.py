"""What the annotated video costs: drawn and encoded beside the next frame, in line, and not at all, in turns.

    python bench/annotating.py vtest.avi --frames 300

Blocks of frames are tracked in each of the three ways one after the other, so that ratios hold under load.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from keytrack_ros.cli.annotated_video import AnnotatedVideo
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.media.sources import open_source
from keytrack_ros.pipeline import Pipeline, PipelineOptions

app = typer.Typer(help=__doc__, rich_markup_mode=None)

WAYS = ("beside", "in line", "none")
BLOCK = 25


@app.command()
def measure(
    video: Path,
    frames: Annotated[int, typer.Option(help="that are timed, each way")] = 300,
    precision: Annotated[str, typer.Option(help="of the networks: auto, fp32 or int8")] = "auto",
    threads: Annotated[int, typer.Option(help="cores that a network may use; 0 = all")] = 0,
) -> None:
    """Median milliseconds of a frame each way, over blocks, and their ratios within a block."""
    inference = InferenceOptions(device="cpu", threads=threads, precision=precision)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with open_source(str(video), frames=frames) as source:
        images = [frame.image_bgr for frame in source]
    pipelines = {way: Pipeline.from_options(PipelineOptions(inference=inference)) for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        files = {way: AnnotatedVideo(Path(folder) / f"{way}.mp4", 10.0) for way in WAYS[:2]}
        for first in range(0, len(images), BLOCK):
            for way in WAYS:
                began = time.perf_counter()
                block = images[first : first + BLOCK]
                for number, image in enumerate(block, first):
                    poses = pipelines[way].process(image, number / 10)
                    if way in files:
                        files[way].write(image, poses)
                        if way == "in line" or number == first + len(block) - 1:
                            files[way].wait()
                seconds[way].append((time.perf_counter() - began) / len(block))
        for file in files.values():
            file.close()
    blocks = {way: 1e3 * np.array(values) for way, values in seconds.items()}
    for way, values in blocks.items():
        typer.echo(f"{way}: {np.median(values):.1f} ms a frame, {1e3 / values.mean():.1f} frames a second")
    ratio = blocks["in line"] / blocks["beside"]
    typer.echo(f"in line / beside: median {np.median(ratio):.2f}, blocks {ratio.min():.2f} to {ratio.max():.2f}")


if __name__ == "__main__":
    app()
