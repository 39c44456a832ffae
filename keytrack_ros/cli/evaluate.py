"""`keytrack evaluate` and `keytrack convert`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keytrack_ros.evaluation.evaluate import SequenceParts
    from keytrack_ros.evaluation.gallery import Picture
    from keytrack_ros.evaluation.protocol import Protocol


class Mode(str, Enum):
    """How `keytrack evaluate` counts."""

    official = "official"
    clean = "clean"


class Format(str, Enum):
    """What `keytrack convert` writes."""

    posetrack18 = "posetrack18"
    posetrack17 = "posetrack17"
    bag = "bag"


def evaluate(
    ground_truth: Annotated[
        Path, typer.Argument(metavar="GT", help="Annotations: a PoseTrack JSON file, or a folder of them.")
    ],
    prediction: Annotated[
        Path, typer.Argument(metavar="PRED", help="Predictions: a JSON file, a bag, or a folder; same names as in GT.")
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
            "without any count as nobody found.",
        ),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Image topic of that bag, if it has several.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all scores there.")] = None,
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
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one for each core.")] = None,
) -> None:
    """Score tracked poses: AP, MOTA, MOTP, IDF1 and HOTA of each joint, HOTA and IDF1 of whole people.

    Files are PoseTrack 2018 or 2017 JSON, or bags with TrackedPoseArray.
    """
    from rich.console import Console

    from keytrack_ros.annotations.files import pair_sequences
    from keytrack_ros.cli.console import shown_warnings
    from keytrack_ros.errors import OptionError, OutputError
    from keytrack_ros.evaluation.evaluate import combined, score_sequence
    from keytrack_ros.evaluation.protocol import CONFIDENCES, PROTOCOLS
    from keytrack_ros.evaluation.recording import pair_on_bag

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
    with shown_warnings():
        files = [(ground_truth, prediction)]
        if recording is not None:
            parts = [score_sequence(pair_on_bag(ground_truth, prediction, recording, topic), protocol, thresholds)]
        else:
            files = pair_sequences(ground_truth, prediction, directory_order=protocol.official)
            parts = _scored(files, protocol, workers or os.cpu_count() or 1, thresholds)
        scores = combined(parts, protocol)
        if json_file is not None:
            try:
                json_file.write_text(json.dumps(scores.to_dict(), indent=1), encoding="utf-8")
            except OSError as error:
                raise OutputError(f"{json_file}: cannot be written: {error.strerror}") from None
        if report is not None:
            from keytrack_ros.evaluation.report import write_report

            shown = images or recording
            pictures = None if shown is None else _pictures(files, parts, shown, recording, topic)
            write_report(report, scores, parts, pictures, f"{prediction.name} against {ground_truth.name}")
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


def _scored(
    pairs: list[tuple[Path, Path]], protocol: Protocol, workers: int, thresholds: Sequence[float]
) -> list[SequenceParts]:
    """Scores the sequences with a progress bar; in the order of `pairs`."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from keytrack_ros.cli.console import console
    from keytrack_ros.evaluation.evaluate import score_files

    columns = (
        TextColumn("scoring"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sequences"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    done: dict[int, SequenceParts] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=len(pairs))
        for place, parts in score_files(pairs, protocol, workers=workers, thresholds=thresholds):
            done[place] = parts
            bar.advance(task)
    return [done[place] for place in range(len(pairs))]


def convert(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="PoseTrack JSON file, bag, or a folder of them.")],
    target: Annotated[Path, typer.Argument(metavar="OUTPUT", help="File or bag; for a folder of sequences, a folder.")],
    to: Annotated[
        Format | None,
        typer.Option(help="By default posetrack18 for an OUTPUT that ends in .json, else bag.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are already there.")] = False,
) -> None:
    """Convert tracked poses between PoseTrack 2018 JSON, PoseTrack 2017 JSON and bags.

    Track ids become small integers in order of appearance, as the official tools need them.
    """
    from keytrack_ros.annotations.convert import convert as converted
    from keytrack_ros.annotations.convert import default_format
    from keytrack_ros.cli.console import shown_warnings

    with shown_warnings():
        form = to.value if to is not None else default_format(source, target)
        for place in converted(source, target, form, overwrite=overwrite):
            typer.echo(place)
