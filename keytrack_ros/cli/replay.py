"""`keytrack replay`: recordings through the tracker as fast as the machine goes, every frame, and scored."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keytrack_ros.annotations.files import find_sequences, read_sequence, sequence_name
from keytrack_ros.cli.console import console, say_error, shown_warnings
from keytrack_ros.cli.errors import FORESEEN, error_line
from keytrack_ros.cli.output import write_json
from keytrack_ros.cli.parallel import progress, worker_count
from keytrack_ros.cli.track import TrackRequest, show_results, track_recording
from keytrack_ros.errors import EvaluationError, KeytrackError, OptionError
from keytrack_ros.evaluation.evaluate import SequenceParts, combined, score_sequence
from keytrack_ros.evaluation.executors import run_jobs
from keytrack_ros.evaluation.gallery import LARGEST, Picture, gallery
from keytrack_ros.evaluation.protocol import CONFIDENCES, Protocol
from keytrack_ros.evaluation.recording import on_recording
from keytrack_ros.evaluation.report import write_report
from keytrack_ros.evaluation.report_plots import require_matplotlib
from keytrack_ros.evaluation.scores import Scores
from keytrack_ros.pipeline import PipelineOptions

_MEASURES = ("MOTA", "AP", "IDF1", "HOTA")


@dataclass(frozen=True)
class ReplayRequest:
    """What to replay and where the results go; see `keytrack replay --help`."""

    sources: tuple[str, ...]
    out: Path
    options: PipelineOptions
    ground_truth: Path | None
    protocol: Protocol
    report: Path | None = None
    topic: str | None = None
    workers: int | None = None
    scheduler: str = ""
    video: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class _Job:
    """One recording: what a process is given."""

    name: str
    track: TrackRequest
    ground_truth: Path | None
    protocol: Protocol
    reported: bool


@dataclass(frozen=True)
class _Outcome:
    """What became of it."""

    summary: dict[str, Any] | None = None
    parts: SequenceParts | None = None
    pictures: tuple[Picture, ...] = ()
    stopped: signal.Signals | None = None
    error: str | None = None


def run_replay(request: ReplayRequest) -> int:
    """Replays, scores, shows; the exit code is 0, 1 if a recording failed, or 128 + signal if stopped by one.

    Raises KeytrackError if nothing can begin: names that clash, annotations that are missing, a bad single recording.
    """
    if request.report is not None and request.ground_truth is None:
        raise OptionError("--report: there is nothing to report without annotations; add --gt")
    if request.report is not None:
        require_matplotlib()
    if request.scheduler:
        request = _with_absolute_paths(request)
    jobs = _jobs(request)
    if len(jobs) == 1 and not request.scheduler:
        outcomes = [_replay(jobs[0], shows_progress=True)]
    else:
        outcomes = _in_parallel(jobs, worker_count(request.workers), request.scheduler)
    scores = _scores(request, outcomes)
    if len(jobs) > 1:
        _show_table(jobs, outcomes, scores)
    elif outcomes[0].summary is not None:
        show_results(jobs[0].track, outcomes[0].summary)
    if scores is not None:
        scores.show(Console())
    if len(jobs) == 1 and outcomes[0].error is not None:
        raise KeytrackError(outcomes[0].error)
    stopped = [outcome.stopped for outcome in outcomes if outcome.stopped is not None]
    if stopped:
        console.print(f"stopped by {stopped[0].name}; the results hold what there was")
        return 128 + stopped[0]
    return int(any(outcome.error is not None for outcome in outcomes))


def _with_absolute_paths(request: ReplayRequest) -> ReplayRequest:
    """The same for workers with other working folders."""
    inference = request.options.inference
    models = ":".join(str(Path(folder).absolute()) for folder in inference.models.split(":") if folder)
    return replace(
        request,
        sources=tuple(str(Path(source).absolute()) for source in request.sources),
        out=request.out.absolute(),
        ground_truth=None if request.ground_truth is None else request.ground_truth.absolute(),
        options=replace(request.options, inference=replace(inference, models=models)),
    )


def _jobs(request: ReplayRequest) -> list[_Job]:
    names = [Path(source).stem for source in request.sources]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise OptionError(f"two recordings have the name '{min(twice)}', and so would their results; rename one")
    ground_truths = _ground_truths(request.ground_truth, names)
    # Numbers do not depend on how many threads compute them, so this changes the speed only.
    threads = request.options.inference.threads
    workers = min(len(names), worker_count(request.workers))
    if workers > 1 and threads == 0 and not request.scheduler:
        threads = max(1, worker_count(None) // workers)
    options = replace(request.options, inference=replace(request.options.inference, threads=threads))
    return [
        _Job(
            name,
            TrackRequest(
                source=source,
                out=request.out if len(names) == 1 else request.out / name,
                options=options,
                topic=request.topic,
                video=request.video,
                overwrite=request.overwrite,
            ),
            ground_truths.get(name),
            request.protocol,
            reported=request.report is not None,
        )
        for source, name in zip(request.sources, names, strict=True)
    ]


def _ground_truths(ground_truth: Path | None, names: Sequence[str]) -> dict[str, Path]:
    """The annotations of each recording: the one file for a single recording, of a folder those of the same name."""
    if ground_truth is None:
        return {}
    found = find_sequences(ground_truth)
    if len(names) == 1 and found == [ground_truth]:
        return {names[0]: ground_truth}
    if found == [ground_truth]:
        raise EvaluationError(
            f"{ground_truth}: one file of annotations for {len(names)} recordings; give a folder of them"
        )
    by_name = {sequence_name(path): path for path in found}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise EvaluationError(
            f"{ground_truth}: there is no ground truth for {', '.join(missing)}; files need their names"
        )
    return {name: by_name[name] for name in names}


def _replay(job: _Job, *, shows_progress: bool = False) -> _Outcome:
    """Tracks and scores one recording; an error of the user's becomes part of the outcome."""
    outcome = _Outcome()
    try:
        with shown_warnings() as warnings:
            summary, stopped = track_recording(job.track, warnings, progress=shows_progress)
            outcome = _Outcome(summary, stopped=stopped)
            if job.ground_truth is None or stopped is not None:
                return outcome
            return replace(outcome, **_scored(job, job.ground_truth))
    except FORESEEN as error:
        return replace(outcome, error=error_line(error))


def _scored(job: _Job, ground_truth: Path) -> dict[str, Any]:
    """`parts` and `pictures` of an outcome."""
    prediction = read_sequence(job.track.out / "tracks.json")
    places = prediction.frame_numbers
    pair = on_recording(read_sequence(ground_truth), prediction, places, places[-1] + 1)
    parts = replace(score_sequence(pair, job.protocol, CONFIDENCES if job.reported else ()), name=job.name)
    if not job.reported or not parts.switches:
        return {"parts": parts}
    pictures = gallery([(pair, parts.switches)], Path(job.track.source), job.track.topic)
    return {"parts": parts, "pictures": tuple(replace(picture, sequence=job.name) for picture in pictures)}


def _in_parallel(jobs: Sequence[_Job], workers: int, scheduler: str) -> list[_Outcome]:
    """All outcomes in the order of `jobs`; how many are done is shown as they are. A signal ends them all."""
    outcomes = [_Outcome() for _ in jobs]
    with progress("replaying", "bags", len(jobs)) as advance:
        results = run_jobs(_replay, [(job,) for job in jobs], workers, scheduler)
        for done, (place, outcome) in enumerate(results, start=1):
            outcomes[place] = outcome
            advance()
            if outcome.error is not None:
                say_error(outcome.error)
            elif outcome.summary is not None:
                numbers = f"{outcome.summary['frames']} frames, {outcome.summary['fps']:.1f} fps"
                console.print(f"{jobs[place].name}: {numbers} ({done} of {len(jobs)})", markup=False)
            if outcome.stopped is not None:
                break
    return outcomes


def _scores(request: ReplayRequest, outcomes: Sequence[_Outcome]) -> Scores | None:
    """Those of all recordings together, which are also written, as is the report."""
    parts = [outcome.parts for outcome in outcomes if outcome.parts is not None]
    if not parts:
        return None
    scores = combined(parts, request.protocol)
    write_json(request.out / "scores.json", scores.to_dict())
    if request.report is not None and request.ground_truth is not None:
        pictures = sorted((p for outcome in outcomes for p in outcome.pictures), key=lambda p: -p.switch.joints)
        write_report(request.report, scores, parts, pictures[:LARGEST], f"Replay against {request.ground_truth.name}")
    return scores


def _show_table(jobs: Sequence[_Job], outcomes: Sequence[_Outcome], scores: Scores | None) -> None:
    """One line a recording."""
    table = Table()
    table.add_column("recording", overflow="fold")
    for column in ("frames", "poses", "tracks", "fps", *(_MEASURES if scores is not None else ())):
        table.add_column(column, justify="right")
    for job, outcome in zip(jobs, outcomes, strict=True):
        cells = []
        if outcome.summary is not None:
            cells = [str(outcome.summary[name]) for name in ("frames", "poses", "tracks")]
            cells.append(f"{outcome.summary['fps']:.1f}")
        if outcome.parts is not None:
            totals = combined([outcome.parts], job.protocol).totals
            cells += [f"{totals[name]:.1f}" for name in _MEASURES]
        failed = "" if outcome.error is None else " [red](failed)[/]"
        table.add_row(escape(job.name) + failed, *cells)
    Console(highlight=False).print(table)
