"""What `keytrack train detector` does: labels, data, training with progress, curves, export."""

from __future__ import annotations

from pathlib import Path

import cv2

from keytrack_ros.training.common.progress import console, percent, require_packages, run_to_the_end
from keytrack_ros.training.detector.data import TRAIN, VALIDATION, load_images
from keytrack_ros.training.detector.options import DetectorTrainOptions


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

    known, held_back = load_images(data, TRAIN), load_images(data, VALIDATION)
    console.print(
        f"{len(known)} images with {sum(int(i.sure.sum()) for i in known)} people to train on; "
        f"{len(held_back)} images with {sum(int(i.sure.sum()) for i in held_back)} people held back"
    )
    teacher = None
    if options.teacher:
        teacher = DenseTeacher(find_model(DetectorCard, options.teacher), STRIDES, options.threads)
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
