"""What `keytrack train matcher` does: tracks, training with progress, curves, export."""

from __future__ import annotations

from pathlib import Path

from keytrack_ros.training.common.progress import console, percent, require_packages, run_to_the_end
from keytrack_ros.training.matcher.options import TrainOptions


def train_matcher(data: Path, out: Path, resume: bool, options: TrainOptions) -> None:
    """Runs, or goes on with, a training in the folder `out`.

    Raises KeytrackError for anything wrong with the data, the folder or the options; typer.Exit when interrupted.
    """
    require_packages()
    from keytrack_ros.training.common.run import Progress
    from keytrack_ros.training.matcher.curves import draw_curves
    from keytrack_ros.training.matcher.export import export_matcher
    from keytrack_ros.training.matcher.tracks import held_back_videos, load_tracks, training_videos, validation_videos
    from keytrack_ros.training.matcher.training import MatcherTraining

    tracks = load_tracks(data)
    names, others = training_videos(tracks), held_back_videos(tracks)
    if options.choose:
        others = validation_videos(tracks)
        names = [name for name in names if name not in others]
    known, held_back = tracks.select(names), tracks.select(others)
    console.print(
        f"{len(known.names)} videos with {len(known)} poses to train on; validated on {len(held_back.names)} others "
        f"with {len(held_back)} poses"
    )
    training = MatcherTraining(known, held_back, out, options, resume)
    example = "scenes" if options.input == "tracks" else "pairs"

    def text(seen: Progress) -> str:
        held_back = training.log[-1].validation_accuracy if training.log else None
        return (
            f"epoch {seen.epoch}  loss {seen.means['loss']:.4f}  accuracy {seen.means['accuracy']:.2%}  "
            f"held back {percent(held_back)}  {seen.examples_per_second:.0f} {example}/s"
        )

    def draw() -> None:
        draw_curves(out / "loss.png", training.log)

    run_to_the_end(training, options.steps, options.steps_per_epoch, text, draw)
    draw()
    prior = options.prior if options.input == "pairs" else 0.5
    name = "pose_entailment" if options.input == "tracks" else "pose_entailment_paper"
    files = export_matcher(training.network, out, prior, name)
    last = training.log[-1]
    console.print(
        f"loss {last.loss:.4f}, accuracy {last.accuracy:.2%}; on held-back videos {last.validation_loss:.4f} and "
        f"{last.validation_accuracy:.2%}"
    )
    console.print(f"written: {', '.join(str(file) for file in files)}", soft_wrap=True)
