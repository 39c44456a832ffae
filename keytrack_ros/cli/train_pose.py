"""What `keytrack train pose` does: labels, samples to look at, training with progress, curves, export."""

from __future__ import annotations

from pathlib import Path

from keytrack_ros.training.common.progress import console, percent, require_packages, run_to_the_end
from keytrack_ros.training.pose.options import PoseTrainOptions


def train_pose(data: Path, out: Path, resume: bool, options: PoseTrainOptions) -> None:
    """Runs, or goes on with, a training in the folder `out`.

    Raises KeytrackError for anything wrong with the data, the folder or the options; typer.Exit when interrupted.
    """
    require_packages()
    from keytrack_ros.training.common.run import Progress
    from keytrack_ros.training.pose.data import backgrounds, load_people
    from keytrack_ros.training.pose.export import export_pose
    from keytrack_ros.training.pose.log import draw_pose_curves, draw_samples
    from keytrack_ros.training.pose.training import PoseTraining

    people = load_people(data)
    console.print(
        f"{len(people.rows(held_back=False))} people to train on; {len(people.rows(held_back=True))} held back"
    )
    training = PoseTraining(people, backgrounds(data), out, options, resume)
    out.mkdir(parents=True, exist_ok=True)
    draw_samples(out / "samples.png", training.samples(options.steps - 1))

    def text(seen: Progress) -> str:
        held_back = training.log[-1].pckh_lspet if training.log else None
        return (
            f"epoch {seen.epoch}  loss {seen.means['loss']:.3f}  held back PCKh {percent(held_back)}  "
            f"{seen.examples_per_second:.0f} people/s"
        )

    def draw() -> None:
        draw_pose_curves(out / "curves.png", training.log)

    run_to_the_end(training, options.steps, options.steps_per_epoch, text, draw)
    draw()
    files = export_pose(training.averaged, out, options)
    last = training.log[-1]
    console.print(
        f"PCKh@0.5 of held-back limbs: LSPET {last.pckh_lspet:.2%}, frames with teachers' labels {last.pckh_frames:.2%}"
    )
    console.print(f"written: {', '.join(str(file) for file in files)}", soft_wrap=True)
