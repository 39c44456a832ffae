"""What `keytrack train detector` does: labels, data, training with progress, curves, export."""

from __future__ import annotations

from pathlib import Path

import cv2
from rich.progress import Progress as ProgressBar
from rich.progress import TextColumn, TimeElapsedColumn

from keytrack_ros.training.common.progress import console, percent, require_packages, run_to_the_end
from keytrack_ros.training.detector.data import Boxes, is_held_back, label_crops, load_images, read_boxes
from keytrack_ros.training.detector.options import DetectorTrainOptions

TEACHER = "yolox_nano_person"
"""Labels the LSPET crops and is imitated; found in the data folder's `models` or where networks are found otherwise."""

LOWEST_TEACHER_SCORE = 0.15


def train_detector(data: Path, out: Path, resume: bool, options: DetectorTrainOptions) -> None:
    """Runs, or goes on with, a training in the folder `out`.

    Raises KeytrackError for anything wrong with the data, the folder or the options; typer.Exit when interrupted.
    """
    require_packages()
    from keytrack_ros.detection.nano import STRIDES
    from keytrack_ros.inference.cards import DetectorCard
    from keytrack_ros.inference.registry import find_model
    from keytrack_ros.training.common.run import Progress
    from keytrack_ros.training.detector.export import export_detector
    from keytrack_ros.training.detector.log import draw_detector_curves
    from keytrack_ros.training.detector.samples import draw_samples
    from keytrack_ros.training.detector.teacher import DenseTeacher
    from keytrack_ros.training.detector.training import DetectorTraining

    images = load_images(data, options.sure_score, _crop_labels(data, out / "crops.npz"))
    known = [image for image in images if not is_held_back(image)]
    held_back = [image for image in images if is_held_back(image)]
    console.print(
        f"{len(known)} images with {sum(int(i.sure.sum()) for i in known)} people to train on; "
        f"{len(held_back)} images with {sum(int(i.sure.sum()) for i in held_back)} people held back"
    )
    teacher = None
    if options.imitate:
        card = find_model(DetectorCard, TEACHER, (data / "models",))
        teacher = DenseTeacher(card, STRIDES, options.threads)
    training = DetectorTraining(known, held_back, out, options, resume, teacher)
    out.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out / "samples.png"), draw_samples(training.maker, options.input_size, options.seed))

    def text(seen: Progress) -> str:
        held_back = training.log[-1].average_precision if training.log else None
        losses = f"{seen.means['score_loss']:.3f} {seen.means['box_loss']:.3f}"
        return (
            f"epoch {seen.epoch}  losses {losses}  held back AP {percent(held_back)}  "
            f"{seen.examples_per_second:.0f} images/s"
        )

    def draw() -> None:
        draw_detector_curves(out / "curves.png", training.log)

    run_to_the_end(training, options.steps, options.steps_per_epoch, text, draw)
    draw()
    files = export_detector(training.averaged, out, options.input_size)
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
