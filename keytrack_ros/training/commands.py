"""`keytrack train …`: training from the command line, with progress, Ctrl-C and `--resume`."""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from keytrack_ros.errors import KeytrackError
from keytrack_ros.options import Options
from keytrack_ros.training.detector_options import DetectorTrainOptions
from keytrack_ros.training.options import TrainOptions
from keytrack_ros.training.pose_options import PoseTrainOptions

if TYPE_CHECKING:
    from keytrack_ros.training.matcher import MatcherTraining, Progress

train_app = typer.Typer(no_args_is_help=True, help="Train networks.")
console = Console(stderr=True)

INTERRUPTED = 130


@train_app.callback()
def train() -> None:
    """Train networks on a CPU or GPU; every run can be stopped and resumed."""


def _matcher(data: Path, out: Path, resume: bool = False, **values: Any) -> None:
    """Train Pose Entailment on pose tracks.

    The run folder gets checkpoint.pt, log.csv, loss.png, and at the end pose_entailment.pt, .onnx and .yaml, which a
    tracker uses when the folder is named by --models. Ctrl-C stops after the running step; --resume goes on from there.
    """
    try:
        options = TrainOptions(**values)
        training = _prepared(data, out, options, resume)
        if not _ran(training, options):
            console.print(f"stopped at step {training.step}; go on with the same command and --resume")
            raise typer.Exit(INTERRUPTED)
        from keytrack_ros.training.curves import draw_curves
        from keytrack_ros.training.export import export_matcher

        draw_curves(out / "loss.png", training.log)
        files = export_matcher(training.network, out, options.prior)
    except KeytrackError as error:
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    last = training.log[-1]
    console.print(
        f"loss {last.loss:.4f}, accuracy {last.accuracy:.2%}; on held-back videos {last.validation_loss:.4f} and "
        f"{last.validation_accuracy:.2%}"
    )
    console.print(f"written: {', '.join(str(file) for file in files)}", soft_wrap=True)


def _prepared(data: Path, out: Path, options: TrainOptions, resume: bool) -> MatcherTraining:
    missing = [package for package in ("torch", "onnx", "matplotlib") if find_spec(package) is None]
    if missing:  # said now, not after the last epoch
        raise KeytrackError(f"training needs {', '.join(missing)}: pip install them, or `make dev` in a source tree")
    from keytrack_ros.training.matcher import MatcherTraining
    from keytrack_ros.training.tracks import held_back_videos, load_tracks, training_videos

    tracks = load_tracks(data)
    known, held_back = tracks.select(training_videos(tracks)), tracks.select(held_back_videos(tracks))
    console.print(
        f"{len(known.names)} videos with {len(known)} poses to train on; {len(held_back.names)} videos with "
        f"{len(held_back)} poses held back"
    )
    return MatcherTraining(known, held_back, out, options, resume)


def _ran(training: MatcherTraining, options: TrainOptions) -> bool:
    """Whether the run came to its end."""
    from keytrack_ros.training.curves import draw_curves

    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.2%}"),
        TextColumn("held back {task.fields[validation]}  {task.fields[rate]:.0f} pairs/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with interruptible() as stopped, ProgressBar(*columns, console=console, speed_estimate_period=60) as bar:
        task: TaskID = bar.add_task(
            "", total=options.steps, completed=training.step, epoch=1, loss=0, accuracy=0, validation="-", rate=0
        )

        def report(progress: Progress) -> None:
            held_back = "-" if progress.validation_accuracy is None else f"{progress.validation_accuracy:.2%}"
            bar.update(
                task,
                completed=progress.step,
                epoch=progress.epoch,
                loss=progress.loss,
                accuracy=progress.accuracy,
                validation=held_back,
                rate=progress.pairs_per_second,
            )
            if progress.step % options.steps_per_epoch == 0:
                draw_curves(training.folder / "loss.png", training.log)

        training.run(report, stopped)
    return training.finished


@contextmanager
def interruptible() -> Iterator[Any]:
    """Gives a function that says whether Ctrl-C or SIGTERM has come; a second Ctrl-C interrupts at once."""
    event = threading.Event()

    def stop(number: int, _: Any) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _with_options(function: Any, options_class: type[Options], data: str) -> Any:
    """`function` with a command-line option for every field of `options_class` in place of its `**values`.

    `data` says what the folder named by --data holds.
    """
    hints = get_type_hints(options_class)
    parameters = [
        _parameter("data", Path, ..., data),
        _parameter("out", Path, ..., "run folder"),
        _parameter("resume", bool, False, "continue the run in that folder"),
    ]
    for item in fields(options_class):
        about = item.metadata
        choices = f" ({', '.join(about['choices'])})" if about["choices"] else ""
        parameters.append(_parameter(item.name, hints[item.name], item.default, about["description"] + choices))
    function.__signature__ = inspect.Signature(parameters)
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    return function


def _parameter(name: str, kind: Any, default: Any, text: str) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    annotation = Annotated[kind, typer.Option(flag, help=text)]
    missing = inspect.Parameter.empty if default is ... else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=missing, annotation=annotation)


train_app.command("matcher")(
    _with_options(_matcher, TrainOptions, "folder with bonn_train.npz, somof_valid.npz and penn_action.npz")
)


def _detector(data: Path, out: Path, resume: bool = False, **values: Any) -> None:
    """Train the person detector on images with boxes, most of them a teacher's.

    The run folder gets crops.npz (the teacher's boxes in the LSPET crops), samples.png (training images to look at),
    checkpoint.pt, log.csv, curves.png, and at the end person_detector.onnx and .yaml, which a tracker uses when the
    folder is named by --models. Ctrl-C stops after the running step; --resume goes on from there.
    """
    from keytrack_ros.training.detector_command import train_detector

    try:
        train_detector(data, out, resume, DetectorTrainOptions(**values))
    except KeytrackError as error:
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


train_app.command("detector")(
    _with_options(_detector, DetectorTrainOptions, "folder with images, pseudo (a teacher's boxes) and models")
)


def _pose(data: Path, out: Path, resume: bool = False, **values: Any) -> None:
    """Train HRNet on people: labels where there are, two teachers' agreement where there are none.

    The run folder gets samples.png (augmented people to look at), checkpoint.pt, log.csv, curves.png, and at the end
    hrnet_w16.onnx and .yaml (or w32, w48), which a tracker uses when the folder is named by --models. Ctrl-C stops
    after the running step; --resume goes on from there.
    """
    from keytrack_ros.training.pose_command import train_pose

    try:
        train_pose(data, out, resume, PoseTrainOptions(**values))
    except KeytrackError as error:
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


train_app.command("pose")(_with_options(_pose, PoseTrainOptions, "folder with images and pseudo (teachers' labels)"))


if __name__ == "__main__":
    train_app()
