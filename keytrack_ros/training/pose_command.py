"""What `keytrack train pose` does: labels, samples to look at, training with progress, curves, export."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from keytrack_ros.errors import KeytrackError
from keytrack_ros.training.commands import INTERRUPTED, console, interruptible
from keytrack_ros.training.pose_options import PoseTrainOptions

if TYPE_CHECKING:
    from keytrack_ros.training.pose import PoseProgress, PoseTraining


def train_pose(data: Path, out: Path, resume: bool, options: PoseTrainOptions) -> None:
    """Runs, or goes on with, a training in the folder `out`.

    Raises KeytrackError for anything wrong with the data, the folder or the options; typer.Exit when interrupted.
    """
    missing = [package for package in ("torch", "onnx", "matplotlib") if find_spec(package) is None]
    if missing:  # said now, not after the last epoch
        raise KeytrackError(f"training needs {', '.join(missing)}: pip install them, or `make dev` in a source tree")
    from keytrack_ros.training.pose import PoseTraining
    from keytrack_ros.training.pose_data import backgrounds, load_people
    from keytrack_ros.training.pose_export import export_pose
    from keytrack_ros.training.pose_log import draw_pose_curves, draw_samples

    people = load_people(data)
    console.print(
        f"{len(people.rows(held_back=False))} people to train on; {len(people.rows(held_back=True))} held back"
    )
    training = PoseTraining(people, backgrounds(data), out, options, resume)
    out.mkdir(parents=True, exist_ok=True)
    draw_samples(out / "samples.png", training.samples(options.steps - 1))
    if not _ran(training, options):
        console.print(f"stopped at step {training.step}; go on with the same command and --resume")
        raise typer.Exit(INTERRUPTED)
    draw_pose_curves(out / "curves.png", training.log)
    files = export_pose(training.averaged, out, options)
    last = training.log[-1]
    console.print(
        f"PCKh@0.5 of held-back limbs: LSPET {last.pckh_lspet:.2%}, frames with teachers' labels {last.pckh_frames:.2%}"
    )
    console.print(f"written: {', '.join(str(file) for file in files)}", soft_wrap=True)


def _ran(training: PoseTraining, options: PoseTrainOptions) -> bool:
    """Whether the run came to its end."""
    from keytrack_ros.training.pose_log import draw_pose_curves

    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("held back PCKh {task.fields[pckh]}  {task.fields[rate]:.0f} people/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with interruptible() as stopped, ProgressBar(*columns, console=console, speed_estimate_period=60) as bar:
        task: TaskID = bar.add_task("", total=options.steps, completed=training.step, epoch=1, loss=0, pckh="-", rate=0)

        def report(progress: PoseProgress) -> None:
            bar.update(
                task,
                completed=progress.step,
                epoch=progress.epoch,
                loss=progress.loss,
                pckh="-" if progress.pckh is None else f"{progress.pckh:.2%}",
                rate=progress.people_per_second,
            )
            if progress.step % options.steps_per_epoch == 0:
                draw_pose_curves(training.folder / "curves.png", training.log)

        training.run(report, stopped)
    return training.finished
