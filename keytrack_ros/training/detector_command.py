"""What `keytrack train detector` does: labels, data, training with progress, curves, export."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from keytrack_ros.errors import KeytrackError
from keytrack_ros.training.commands import INTERRUPTED, console, interruptible
from keytrack_ros.training.detector_data import Boxes, is_held_back, label_crops, load_images, read_boxes
from keytrack_ros.training.detector_options import DetectorTrainOptions

if TYPE_CHECKING:
    from keytrack_ros.training.detector import DetectorProgress, DetectorTraining

TEACHER = "yolox_nano_person"
"""Labels the LSPET crops; found in the data folder's `models` or where networks are found otherwise."""

LOWEST_TEACHER_SCORE = 0.15


def train_detector(data: Path, out: Path, resume: bool, options: DetectorTrainOptions) -> None:
    """Runs, or goes on with, a training in the folder `out`.

    Raises KeytrackError for anything wrong with the data, the folder or the options; typer.Exit when interrupted.
    """
    missing = [package for package in ("torch", "onnx", "matplotlib") if find_spec(package) is None]
    if missing:  # said now, not after the last epoch
        raise KeytrackError(f"training needs {', '.join(missing)}: pip install them, or `make dev` in a source tree")
    from keytrack_ros.training.detector import DetectorTraining
    from keytrack_ros.training.detector_export import export_detector
    from keytrack_ros.training.detector_log import draw_detector_curves
    from keytrack_ros.training.detector_samples import draw_samples

    images = load_images(data, options.sure_score, _crop_labels(data, out / "crops.npz"))
    known = [image for image in images if not is_held_back(image)]
    held_back = [image for image in images if is_held_back(image)]
    console.print(
        f"{len(known)} images with {sum(int(i.sure.sum()) for i in known)} people to train on; "
        f"{len(held_back)} images with {sum(int(i.sure.sum()) for i in held_back)} people held back"
    )
    training = DetectorTraining(known, held_back, out, options, resume)
    out.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out / "samples.png"), draw_samples(training.maker, options.input_size, options.seed))
    if not _ran(training, options):
        console.print(f"stopped at step {training.step}; go on with the same command and --resume")
        raise typer.Exit(INTERRUPTED)
    draw_detector_curves(out / "curves.png", training.log)
    files = export_detector(training.average, out, options.input_size)
    last = training.log[-1]
    console.print(
        f"on held-back images: AP {last.average_precision:.2%}, recall {last.recall:.2%}, "
        f"precision {last.precision:.2%}"
    )
    console.print(f"written: {', '.join(str(file) for file in files)}", soft_wrap=True)


def _crop_labels(data: Path, file: Path) -> dict[str, Boxes]:
    """The teacher's boxes in the LSPET crops; computed once for a run folder."""
    if file.is_file():
        return read_boxes(file)
    from keytrack_ros.detection import Detector, DetectorOptions
    from keytrack_ros.inference.options import InferenceOptions

    teacher = Detector(
        DetectorOptions(model=TEACHER, score_threshold=LOWEST_TEACHER_SCORE),
        InferenceOptions(models=str(data / "models")),
    )
    with ProgressBar(
        TextColumn("teacher looks at crops"), TextColumn("{task.completed}"), TimeElapsedColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=None)
        return label_crops(data, file, teacher.detect, lambda count: bar.update(task, completed=count))


def _ran(training: DetectorTraining, options: DetectorTrainOptions) -> bool:
    """Whether the run came to its end."""
    from keytrack_ros.training.detector_log import draw_detector_curves

    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("losses {task.fields[score]:.3f} {task.fields[box]:.3f}"),
        TextColumn("held back AP {task.fields[validation]}  {task.fields[rate]:.0f} images/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with interruptible() as stopped, ProgressBar(*columns, console=console, speed_estimate_period=60) as bar:
        task: TaskID = bar.add_task(
            "", total=options.steps, completed=training.step, epoch=1, score=0, box=0, validation="-", rate=0
        )

        def report(progress: DetectorProgress) -> None:
            log = training.log
            bar.update(
                task,
                completed=progress.step,
                epoch=progress.epoch,
                score=progress.score_loss,
                box=progress.box_loss,
                validation=f"{log[-1].average_precision:.2%}" if log else "-",
                rate=progress.images_per_second,
            )
            if progress.step % options.steps_per_epoch == 0:
                draw_detector_curves(training.folder / "curves.png", log)

        training.run(report, stopped)
    return training.finished
