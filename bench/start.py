"""How long the CPU tracker takes from the start of its process to the poses of the first image; without torch.

    python bench/start.py [--repeats 10]

A new Python process each time, with the shipped networks. CPU time is what other work on the machine cannot stretch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import typer

PROGRAM = """
import sys
import numpy as np
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.pipeline import Pipeline, PipelineOptions
pipeline = Pipeline.from_options(PipelineOptions(inference=InferenceOptions(device="cpu")))
pipeline.process(np.zeros((720, 1280, 3), np.uint8), 0.0)
assert "torch" not in sys.modules
"""


def main(repeats: int = 10) -> None:
    """Wall and CPU seconds, and the largest resident size."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    walls, cpus, sizes = [], [], []
    for _ in range(repeats):
        begin = perf_counter()
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise typer.Exit(1)
        walls.append(perf_counter() - begin)
        cpus.append(usage.ru_utime + usage.ru_stime)
        sizes.append(usage.ru_maxrss / 1024)  # Linux counts it in KiB
    for name, values, unit in (("wall", walls, "s"), ("CPU", cpus, "s"), ("largest resident size", sizes, "MiB")):
        typer.echo(f"{name}: median {np.median(values):.2f} {unit}, p95 {np.percentile(values, 95):.2f} {unit}")


if __name__ == "__main__":
    typer.run(main)
