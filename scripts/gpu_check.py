"""Runs everything that needs an NVIDIA GPU, and writes docs/results-gpu.md: tests, engines, times, memory.

    make gpu-check            or  python scripts/gpu_check.py [--out FILE] [--frames N]

What is not installed is listed as not run. The exit code is 1 if there is no GPU, or a step failed.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

CONFIGURATIONS = (
    ("HRNet-W48, 384 × 288, flip test", "--pose w48 --height 384 --width 288"),
    ("HRNet-W32, 256 × 192, flip test", "--pose w32 --height 256 --width 192"),
    ("small HRNet-W16, 256 × 192", "--pose w16_small --height 256 --width 192 --no-flip-test"),
    ("small HRNet-W16, 256 × 192, two cameras", "--pose w16_small --height 256 --width 192 --no-flip-test --cameras 2"),
)


@dataclass(frozen=True)
class Step:
    """A command and how it ended; `output` is what it printed."""

    title: str
    command: Sequence[str]
    code: int
    output: str
    seconds: float


def steps(frames: int) -> Iterator[Step]:
    """Runs the steps one after another."""
    python = sys.executable
    keytrack = [python, "-c", "import sys; from keytrack_ros.cli import main; sys.exit(main())"]
    tests = "test/gpu test/inference/test_parity.py test/inference/test_gpu_engine.py"
    yield run("Tests on the GPU", [python, "-m", "pytest", "-q", "-rs", *tests.split()])
    for backend in ("tensorrt", "tensorrt_rtx"):
        for precision in ("fp16", "fp32"):
            build = [*keytrack, "build-engines", "--set", f"inference.backend={backend}", "--precision", precision]
            yield run(f"Engines: {backend}, {precision}, compared with ONNX Runtime", build)
    for title, options in CONFIGURATIONS:
        command = [python, "bench/gpu.py", "--device", "cuda", "--frames", str(frames), *options.split()]
        yield run(title, command)


def run(title: str, command: Sequence[str]) -> Step:
    """Runs one command in the repository, its output captured."""
    print(f"{title} …", flush=True)
    begin = time.monotonic()
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return Step(title, command, done.returncode, done.stdout + done.stderr, time.monotonic() - begin)


def report(hardware: str, done: Sequence[Step]) -> str:
    """The Markdown page."""
    lines = [
        "# Results on a GPU",
        "",
        f"Written by `make gpu-check` on {time.strftime('%Y-%m-%d')}: {hardware}, {platform.machine()}, Python "
        f"{platform.python_version()}. Times are median · p95 from the image to the track ids; a step that did not run "
        "says why.",
    ]
    for step in done:
        command = " ".join(part for part in step.command if part != sys.executable and not part.startswith("import "))
        state = "" if step.code == 0 else f" — **failed with exit code {step.code}**"
        lines += ["", f"## {step.title}{state}", "", f"    {command}", "", "```text", step.output.strip(), "```"]
    return "\n".join(lines) + "\n"


def hardware() -> str:
    """Name, driver and memory of the first GPU, as nvidia-smi prints them; "" without one."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    name, driver, memory = (part.strip() for part in done.stdout.splitlines()[0].split(","))
    return f"{name} ({memory}), driver {driver}"


def main() -> int:
    """Runs all steps and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs/results-gpu.md")
    parser.add_argument("--frames", type=int, default=200)
    arguments = parser.parse_args()
    name = hardware()
    if not name:
        print("gpu-check: nvidia-smi shows no GPU on this machine; nothing was written", file=sys.stderr)
        return 1
    done = list(steps(arguments.frames))
    arguments.out.write_text(report(name, done), encoding="utf-8")
    failed = [step.title for step in done if step.code]
    print(f"{arguments.out} is written" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
