"""`keytrack evaluate`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keytrack_ros.cli.output import JsonFile, refuse_inputs, write_json
from keytrack_ros.cli.parallel import Scheduler, Workers, in_order, shared_path, worker_count

if TYPE_CHECKING:
    from keytrack_ros.evaluation.evaluate import SequenceParts
    from keytrack_ros.evaluation.gallery import Picture


class Mode(str, Enum):
    """How `keytrack evaluate` counts."""

    official = "official"
    clean = "clean"


def evaluate(
    ground_truth: Annotated[
        Path,
        typer.Argument(
            metavar="GT",
            help="Annotations: a PoseTrack JSON file, a folder of them, or MOTChallenge ground truth (a folder with "
            "gt.txt or gt/gt.txt, or a folder of such folders).",
        ),
    ],
    prediction: Annotated[
        Path,
        typer.Argument(
            metavar="PRED", help="Predictions: a JSON file, a bag, MOTChallenge text, or a folder; same names as in GT."
        ),
    ],
    mode: Annotated[
        Mode, typer.Option(help="official: as poseval and PoseTrack21's code count; clean: as the definitions say.")
    ] = Mode.official,
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="Score unlabelled frames, too: all that is predicted there is false.")
    ] = False,
    recording: Annotated[
        Path | None,
        typer.Option(
            metavar="BAG",
            help="Bag with the images of one sequence: predictions (a bag) find their frames by stamp, and frames "
            "without any count as empty.",
        ),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Image topic of that bag, if it has several.")] = None,
    json_file: JsonFile = None,
    report: Annotated[
        Path | None, typer.Option(metavar="HTML", help="Write a page with tables, plots and a confidence sweep there.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Images of the sequences (of a single one also its bag or video): the report shows each ID switch.",
        ),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = "",
) -> None:
    """Score tracked poses: AP, MOTA, MOTP, IDF1 and HOTA of each joint, HOTA and IDF1 of whole people.

    Files are PoseTrack 2018 or 2017 JSON, or bags with TrackedPoseArray. Against MOTChallenge ground truth boxes are
    scored instead: MOTA, IDF1, HOTA, and how many ids each person got.
    """
    from rich.console import Console

    from keytrack_ros.annotations.files import pair_sequences
    from keytrack_ros.annotations.motchallenge import is_motchallenge
    from keytrack_ros.cli.console import shown_warnings
    from keytrack_ros.errors import OptionError
    from keytrack_ros.evaluation.evaluate import combined, score_files, score_sequence
    from keytrack_ros.evaluation.protocol import CONFIDENCES, PROTOCOLS
    from keytrack_ros.evaluation.recording import pair_on_bag

    outputs = {"--json": json_file, "--report": report}
    refuse_inputs(outputs, filter(None, (ground_truth, prediction, recording, images)))
    protocol = PROTOCOLS[mode.value]
    if all_frames and protocol.official:
        raise OptionError("--all-frames: the official tools leave unlabelled frames out; add --mode clean")
    if images is not None and report is None:
        raise OptionError("--images: the pictures are part of the report; add --report")
    if all_frames:
        protocol = protocol.with_frames("all")
    if report is not None:
        from keytrack_ros.evaluation.report_plots import require_matplotlib

        require_matplotlib()
    thresholds = CONFIDENCES if report is not None else ()
    count = worker_count(workers)
    ground_truth, prediction = (shared_path(path, scheduler) for path in (ground_truth, prediction))
    with shown_warnings():
        files = [(ground_truth, prediction)]
        if recording is not None:
            parts = [score_sequence(pair_on_bag(ground_truth, prediction, recording, topic), protocol, thresholds)]
        else:
            files = pair_sequences(ground_truth, prediction, directory_order=protocol.official)
            refuse_inputs(outputs, (path for pair in files for path in pair))
            if any(is_motchallenge(annotated) for annotated, _ in files):
                if report is not None or all_frames:
                    raise OptionError("--report, --all-frames: are for keypoints; MOTChallenge ground truth has boxes")
                _evaluate_boxes(files, count, scheduler, json_file)
                return
            results = score_files(files, protocol, workers=count, scheduler=scheduler, thresholds=thresholds)
            parts = in_order(results, "scoring", len(files))
        scores = combined(parts, protocol)
        if json_file is not None:
            write_json(json_file, scores.to_dict())
        if report is not None:
            from keytrack_ros.evaluation.report import write_report

            shown = images or recording
            pictures = None if shown is None else _pictures(files, parts, shown, recording, topic)
            write_report(report, scores, parts, pictures, f"{prediction.name} against {ground_truth.name}")
    scores.show(Console())


def _evaluate_boxes(files: list[tuple[Path, Path]], workers: int, scheduler: str, json_file: Path | None) -> None:
    from rich.console import Console

    from keytrack_ros.annotations.files import sequence_name
    from keytrack_ros.evaluation.boxes import BoxScores, score_box_files
    from keytrack_ros.evaluation.executors import run_jobs

    counts = in_order(run_jobs(score_box_files, files, workers, scheduler), "scoring", len(files))
    names = [sequence_name(annotated) for annotated, _ in files]
    scores = BoxScores(dict(zip(names, counts, strict=True)))
    if json_file is not None:
        write_json(json_file, scores.to_dict())
    scores.show(Console())


def _pictures(
    files: list[tuple[Path, Path]], parts: list[SequenceParts], images: Path, recording: Path | None, topic: str | None
) -> list[Picture]:
    """Pictures of the switches, of those sequences only that have some."""
    from keytrack_ros.annotations.files import read_sequence
    from keytrack_ros.evaluation.frames import SequencePair
    from keytrack_ros.evaluation.gallery import gallery
    from keytrack_ros.evaluation.recording import pair_on_bag

    shown = []
    for (ground_truth, prediction), part in zip(files, parts, strict=True):
        if part.switches and recording is not None:
            shown.append((pair_on_bag(ground_truth, prediction, recording, topic), part.switches))
        elif part.switches:
            shown.append((SequencePair(read_sequence(ground_truth), read_sequence(prediction)), part.switches))
    return gallery(shown, images, topic)
