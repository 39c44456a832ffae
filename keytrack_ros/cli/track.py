"""`keytrack track`: a recording in, tracks as JSON, bag and video out."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import keytrack_ros
from keytrack_ros.cli.annotated_video import AnnotatedVideo
from keytrack_ros.cli.console import FrameProgress, Warnings, console, shown_warnings
from keytrack_ros.cli.explain import ExplainRequest, Explanations
from keytrack_ros.cli.held_back import HeldBack
from keytrack_ros.cli.signals import stop_signals
from keytrack_ros.cli.summary import RunStatistics, show_summary
from keytrack_ros.errors import OptionError, OutputError
from keytrack_ros.media.bag_writer import BagWriter
from keytrack_ros.media.files import require_free, write_text
from keytrack_ros.media.frames import Frame, FrameSource, Selection
from keytrack_ros.media.paths import shown
from keytrack_ros.media.posetrack_writer import PoseTrackWriter
from keytrack_ros.media.sources import open_source
from keytrack_ros.options import flatten
from keytrack_ros.pipeline import Pipeline, PipelineOptions
from keytrack_ros.poses import Poses, TrackState
from keytrack_ros.tracker.tracker import Comparison

_NAMES = {"tracks": "tracks.json", "bag": "tracks", "video": "tracks.mp4", "summary": "summary.json"}


@dataclass(frozen=True)
class TrackRequest:
    """What to track and where the results go; see `keytrack track --help`."""

    source: str
    out: Path
    options: PipelineOptions
    start: int = 0
    every: int = 1
    frames: int | None = None
    topic: str | None = None
    fps: float | None = None
    bits: int = 0
    video: bool = True
    overwrite: bool = False
    explain: ExplainRequest | None = None


class _Results:
    """The files of one run. Closing completes them with what there is."""

    def __init__(self, request: TrackRequest, source: FrameSource, statistics: RunStatistics) -> None:
        self._paths = _result_paths(request)
        name = shown(Path(request.source).stem) or "video"
        with ExitStack() as stack:  # files that are open already are closed if a later one cannot be opened
            self._json = stack.enter_context(PoseTrackWriter(self._paths["tracks"], name, overwrite=request.overwrite))
            self._bag = stack.enter_context(BagWriter(self._paths["bag"], overwrite=request.overwrite))
            self._video = None
            if "video" in self._paths:
                self._video = AnnotatedVideo(self._paths["video"], source.fps, overwrite=request.overwrite)
                stack.enter_context(self._video)
            self._explanations = None
            if request.explain is not None:
                threshold = request.options.tracker.match_threshold
                self._explanations = Explanations(request.explain, threshold, overwrite=request.overwrite)
                stack.enter_context(self._explanations)
            self._stack = stack.pop_all()
        self._held_back = HeldBack(request.options.tracker)
        self._statistics = statistics

    def write(self, frame: Frame, comparison: Comparison | None, hidden: Poses) -> None:
        """Writes what is decided with the next frame: see `HeldBack`."""
        tracked = hidden if comparison is None else Poses.concatenate([comparison.tracked, hidden])
        for decided, poses in self._held_back.add(frame, tracked):
            self._write(decided, poses)
        if self._explanations is not None and comparison is not None:
            self._explanations.write(frame, comparison)

    def write_rest(self) -> None:
        """Writes the frames that are still held back, at the end."""
        for frame, poses in self._held_back.rest():
            self._write(frame, poses)

    def _write(self, frame: Frame, poses: Poses) -> None:
        height, width = frame.image_bgr.shape[:2]
        self._json.write(poses, frame.index, (width, height), file_name=frame.name)
        self._bag.write_poses(poses, frame.stamp_ns, (width, height), frame_id=frame.frame_id)
        if self._video is not None:
            self._video.write(frame.image_bgr, poses)
        self._statistics.add(poses)

    def __enter__(self) -> _Results:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def run_track(request: TrackRequest) -> int:
    """Tracks, shows progress and the summary; returns the exit code: 0, or 128 + signal if stopped by one.

    Raises as `track_recording`.
    """
    with shown_warnings() as warnings:
        summary, stopped = track_recording(request, warnings)
    show_results(request, summary)
    if stopped is None:
        return 0
    console.print(f"stopped by {stopped.name} after {summary['frames']} frames; the results hold what there was")
    return 128 + stopped


def track_recording(
    request: TrackRequest, warnings: Warnings, *, progress: bool = True
) -> tuple[dict[str, Any], signal.Signals | None]:
    """Tracks the people of a recording and writes the results.

    Returns the summary, which is also written, and the signal by which it was stopped before its end, if any.

    Raises KeytrackError for bad input, missing networks and results that are there already.
    """
    paths = _result_paths(request)
    for name in _NAMES.values():
        require_free(request.out / name, overwrite=request.overwrite)
        if request.explain is not None and request.explain.path.absolute() == (request.out / name).absolute():
            raise OptionError(f"--explain {request.explain.path}: has the name of another result; choose another")
    _refuse_own_input(request)
    with open_source(
        request.source,
        topic=request.topic,
        fps=request.fps,
        start=request.start,
        every=request.every,
        frames=request.frames,
        in_stamp_order=True,
        bits=request.bits,
    ) as source:
        if request.explain is not None:
            selection = Selection(request.start, request.every, request.frames)
            request.explain.check(selection, source.total, overwrite=request.overwrite)
        pipeline = Pipeline.from_options(request.options)
        request.out.mkdir(parents=True, exist_ok=True)
        for name in _NAMES.values():  # nothing of an earlier run stays among the results of this one
            if (request.out / name).is_file():
                (request.out / name).unlink()
        statistics = RunStatistics()
        began = perf_counter()
        with (
            closing(pipeline),
            stop_signals(source.stop) as stopped,
            _Results(request, source, statistics) as results,
            FrameProgress(source.name, source.count, shown=progress) as bar,
        ):
            _run(source, pipeline, results, statistics, stopped, bar)
            results.write_rest()
        summary: dict[str, Any] = {
            "version": keytrack_ros.__version__,
            "input": shown(request.source),
            "selection": {"start": request.start, "every": request.every, "frames": request.frames},
            **statistics.summary(perf_counter() - began),
            "unreadable_frames": source.unreadable,
            "interrupted": bool(stopped),
            "networks": pipeline.fingerprints,
            "options": {name: value for name, _, value in flatten(request.options)},
            "warnings": warnings.texts,
        }
    write_text(paths["summary"], json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary, stopped[0] if stopped else None


def show_results(request: TrackRequest, summary: Mapping[str, Any]) -> None:
    """Prints the summary and where the results are."""
    paths = {what: shown(path) for what, path in _result_paths(request).items() if path.exists()}
    if request.explain is not None:
        paths |= {what: shown(path) for what, path in request.explain.files.items() if path.exists()}
    show_summary(shown(Path(request.source).name), summary, paths)


def _run(
    source: FrameSource,
    pipeline: Pipeline,
    results: _Results,
    statistics: RunStatistics,
    stopped: list[signal.Signals],
    progress: FrameProgress,
) -> None:
    frames = iter(source)
    stretch = 0
    while not stopped:
        began = perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        read = perf_counter()
        if frame.stretch != stretch:  # time itself jumped
            pipeline.reset()
            stretch = frame.stretch
        poses = pipeline.process(frame.image_bgr, frame.stamp_s)
        processed = perf_counter()
        results.write(frame, pipeline.comparison, poses[poses.states == TrackState.LOST])
        statistics.add_times({"reading": read - began, **pipeline.stage_seconds, "writing": perf_counter() - processed})
        progress.advance(len(poses))


def _refuse_own_input(request: TrackRequest) -> None:
    """Raises OptionError if a result would take the place of what is read."""
    source = Path(request.source).absolute()
    for name in _NAMES.values():
        result = (request.out / name).absolute()
        same = source.exists() and result.exists() and result.samefile(source)
        if same or result == source or result in source.parents:
            out = shown(request.out)
            raise OptionError(f"--out {out}: the result {name} would overwrite the input; name another folder")


def _result_paths(request: TrackRequest) -> dict[str, Path]:
    if request.out.exists() and not request.out.is_dir():
        raise OutputError(f"{request.out}: is a file; the results need a folder")
    return {what: request.out / name for what, name in _NAMES.items() if what != "video" or request.video}
