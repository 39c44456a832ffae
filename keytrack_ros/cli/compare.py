"""`keytrack compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keytrack_ros.cli.evaluate import Mode
from keytrack_ros.cli.output import JsonFile, write_json
from keytrack_ros.cli.parallel import Scheduler, Workers, in_order, shared_path, worker_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keytrack_ros.research.compare import Line, Results, Task

_WIDE = 125
"""Columns of a terminal in which the joints have room."""


def compare(
    ground_truth: Annotated[
        Path,
        typer.Argument(
            metavar="GT",
            help="PoseTrack JSON file or folder; or a folder with track files, whose held-back videos count.",
        ),
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="METHOD[,NAME=VALUE…]",
            help="tracker (as shipped), entailment, oks, iou, flow, graph or cnn, with memory, assignment (greedy, "
            "hungarian), threshold, candidates, weights; may be given several times.",
        ),
    ] = None,
    predicted: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PRED", help="Predicted keypoints, file or folder as GT; ids are not looked at. May be repeated."
        ),
    ] = None,
    keypoints: Annotated[
        str, typer.Option(help="Other keypoints to compare on, separated by commas: true, perturbed; or none.")
    ] = "true,perturbed",
    every: Annotated[int, typer.Option(min=1, help="Only every so many frames follow each other.")] = 1,
    images: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Images, for optical flow.")] = None,
    mode: Annotated[Mode, typer.Option(help="How is counted, as in `evaluate`.")] = Mode.clean,
    json_file: JsonFile = None,
    workers: Workers = None,
    scheduler: Scheduler = "",
) -> None:
    """Compare trackers on the same keypoints: ID switches, MOTA, IDF1 and milliseconds a frame.

    Keypoints are annotated, annotated with a simulated detector's errors, or predicted (the paper's Figure 4).
    Brackets: 95 % confidence intervals over sequences. Wide terminals show the joints, too; JSON has all.
    """
    from rich.console import Console

    from keytrack_ros.cli.console import shown_warnings
    from keytrack_ros.errors import OptionError
    from keytrack_ros.evaluation.protocol import PROTOCOLS
    from keytrack_ros.evaluation.scores import GROUPS
    from keytrack_ros.research.baselines import DEFAULTS, parse_baseline
    from keytrack_ros.research.compare import compare as compare_sequences

    baselines = [parse_baseline(text) for text in methods or DEFAULTS]
    if images is None and any(chosen.needs_images for chosen in baselines):
        raise OptionError("--method flow: optical flow is found in the images; add --images")
    with shown_warnings():
        if images is not None:
            images = shared_path(images, scheduler)
        if scheduler:
            baselines = [baseline.with_absolute_weights() for baseline in baselines]
        tasks = _tasks(ground_truth, predicted or [], _kinds(keypoints), every, images)
        results = compare_sequences(
            tasks, baselines, PROTOCOLS[mode.value], workers=worker_count(workers), scheduler=scheduler
        )
        lines = _lines(in_order(results, "comparing", len(tasks)))
    if json_file is not None:
        write_json(
            json_file, {kind: {name: found.to_dict() for name, found in by.items()} for kind, by in lines.items()}
        )
    console = Console(highlight=False)
    frames = sum(len(task.ground_truth) for task in tasks)
    console.print(f"{len(tasks)} sequences, {frames} frames, every {every}; mode {mode.value}")
    for kind, by_name in lines.items():
        groups = tuple(GROUPS) if console.width >= _WIDE else ()
        console.print(_table(f"{kind} keypoints", by_name, groups))


def _kinds(text: str) -> tuple[str, ...]:
    from keytrack_ros.errors import OptionError
    from keytrack_ros.research.compare import PERTURBED, TRUE

    kinds = tuple(word.strip() for word in text.split(",") if word.strip() not in ("", "none"))
    for kind in kinds:
        if kind not in (TRUE, PERTURBED):
            raise OptionError(f"--keypoints: '{kind}' is neither {TRUE} nor {PERTURBED}")
    return kinds


def _tasks(
    ground_truth: Path, predicted: Sequence[Path], kinds: tuple[str, ...], every: int, images: Path | None
) -> list[Task]:
    from keytrack_ros.annotations.files import find_sequences, pair_sequences, read_sequence
    from keytrack_ros.errors import OptionError
    from keytrack_ros.research.compare import Task
    from keytrack_ros.research.track_files import held_back_sequences, holds_tracks

    names = [path.stem for path in predicted]
    if len(set(names) | set(kinds)) < len(names) + len(kinds):
        raise OptionError(f"--predicted: names must differ: {', '.join([*kinds, *names])}")
    if not names and not kinds:
        raise OptionError("--keypoints none: there are no keypoints to compare on; add --predicted")
    if ground_truth.is_dir() and holds_tracks(ground_truth):
        if predicted:
            raise OptionError(f"--predicted: the track files in {ground_truth} have no predictions beside them")
        return [Task(sequence, {}, kinds, every) for sequence in held_back_sequences(ground_truth)]
    predictions: dict[Path, dict[str, Path]] = {path: {} for path in find_sequences(ground_truth)}
    for name, folder in zip(names, predicted, strict=True):
        for path, prediction in pair_sequences(ground_truth, folder):
            predictions[path][name] = prediction
    return [
        Task(
            read_sequence(path),
            {name: read_sequence(prediction) for name, prediction in found.items()},
            (*kinds, *names),
            every,
            images,
        )
        for path, found in predictions.items()
    ]


def _lines(done: list[Results]) -> dict[str, dict[str, Line]]:
    from keytrack_ros.research.compare import line

    lines: dict[str, dict[str, Line]] = {}
    for kind, name in done[0]:
        lines.setdefault(kind, {})[name] = line([results[kind, name] for results in done])
    return lines


def _table(title: str, lines: dict[str, Line], groups: tuple[str, ...]) -> Any:
    """One line a baseline, with the intervals below the figures."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("method", overflow="fold", min_width=12)
    for column in ("%IDSW", *groups, "MOTA", "IDF1", "switches", "ms/frame"):
        table.add_column(column, justify="right", no_wrap=True)

    def total(found: Line, name: str, digits: int) -> str:
        value = f"{found.totals[name]:.{digits}f}"
        if found.intervals is None:
            return value
        low, high = found.intervals[name]
        return f"{value}\n{escape(f'[{low:.{digits}f}, {high:.{digits}f}]')}"

    for name, found in lines.items():
        table.add_row(
            escape(name),
            total(found, "IDSW", 2),
            *(f"{found.idsw[group]:.2f}" for group in groups),
            total(found, "MOTA", 1),
            total(found, "IDF1", 1),
            str(found.switches),
            f"{found.ms:.1f}",
        )
    return table
