"""Engines built from ONNX graphs, strongly typed: the number types of the graph are those of the engine."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import gmtime, monotonic, strftime
from typing import Any

from keytrack_ros.errors import OutputError
from keytrack_ros.inference.precision import graph_in
from keytrack_ros.inference.session import BackendError
from keytrack_ros.inference.tensorrt.cache import MissingEngineError, building, read_engine, write_engine, write_whole
from keytrack_ros.inference.tensorrt.library import make_logger
from keytrack_ros.inference.tensorrt.plan import EnginePlan, engines_folder

logger = logging.getLogger(__name__)

Progress = Callable[[float, float], None]
"""Called with the completed part, 0..1, and the seconds since the start."""

_SAY_EVERY_S = 10.0


@dataclass(frozen=True)
class Built:
    """The result of a build.

    Attributes:
        engine: serialised.
        layers: how many layers write each number type, by TensorRT's name (HALF, FLOAT, INT8 …).
        seconds: duration; 0, without `layers`, if the engine existed.
    """

    engine: bytes
    layers: dict[str, int]
    seconds: float


def build_engine(
    plan: EnginePlan,
    graph: bytes | None = None,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
    force: bool = False,
) -> Built:
    """Builds and stores the engine of a plan. Takes minutes, without blocking other threads.

    Args:
        plan: of the engine.
        graph: the ONNX graph in the plan's precision; by default the network's, converted.
        stop: once set, the build ends at its next step.
        progress: see `Progress`; by default a line in the log every ten seconds.
        force: build even if there is an engine.

    Raises:
        BackendError: TensorRT cannot build it, it does not have the precision of the plan, or `stop` was set.
        OutputError: the folder of engines cannot be written to.
        ModelError: the graph cannot be converted.
    """
    stop = stop or threading.Event()
    with building(stop):
        if not force:
            with suppress(MissingEngineError):  # another process may have built it meanwhile
                return Built(read_engine(plan), {}, 0.0)
        name = plan.network.name
        logger.info("building the %s engine of %s; this takes minutes", plan.precision, name)
        begin = monotonic()
        if graph is None:
            graph = graph_in(plan.network, plan.precision)
        engine, layers = _build(plan, graph, stop, progress or _log_progress(name))
        seconds = monotonic() - begin
        built_at = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
        write_engine(plan, engine, {"built": built_at, "seconds": round(seconds, 1), "layers": layers})
        logger.info("built %s in %.0f s (%.1f MB)", plan.file, seconds, len(engine) / 1e6)
        return Built(engine, layers, seconds)


def number_types(network: Any) -> dict[str, int]:
    """How many layers of a network definition write each number type; those of the engine, as it is strongly typed."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    counts = Counter(layer.get_output(k).dtype.name for layer in layers for k in range(layer.num_outputs))
    return dict(sorted(counts.items()))


def _check_precision(plan: EnginePlan, layers: dict[str, int]) -> None:
    """Raises BackendError if no layer has the number type of the precision."""
    wanted = {"fp16": "HALF", "int8": "INT8", "fp32": "FLOAT"}[plan.precision]
    if not layers.get(wanted):
        found = ", ".join(f"{name} {count}" for name, count in layers.items())
        raise BackendError(f"{plan.network.name}: no layer of the {plan.precision} engine is {wanted} ({found})")


def _build(plan: EnginePlan, graph: bytes, stop: threading.Event, progress: Progress) -> tuple[bytes, dict[str, int]]:
    """The serialised engine, and its number types."""
    name, library, trt = plan.network.name, plan.library, plan.library.trt
    log = make_logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        errors = [" ".join(parser.get_error(i).desc().split()) for i in range(parser.num_errors)]
        raise BackendError(f"{name}: {library} cannot read its graph: {'; '.join([*errors, log.last_error])}")
    layers = number_types(network)
    _check_precision(plan, layers)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for the engine inspector
    config.progress_monitor = _monitor(trt, stop, progress)
    library.set_target(config, plan.capability)
    if plan.profiles:
        profile = builder.create_optimization_profile()
        for key, shapes in plan.profiles.items():
            profile.set_shape(key, shapes.smallest, shapes.best, shapes.largest)
        if config.add_optimization_profile(profile) < 0:
            raise BackendError(f"{name}: {library} refuses the profile {dict(plan.profiles)}")
    timings = engines_folder() / f"timings-{library.version}-{plan.capability}.cache"
    if library.has_timing_cache:
        config.set_timing_cache(config.create_timing_cache(_read(timings)), False)
    serialized = builder.build_serialized_network(network, config)
    if stop.is_set():
        raise BackendError("the build was stopped")
    if serialized is None:
        raise BackendError(f"{name}: {library} cannot build the engine: {log.last_error}")
    if library.has_timing_cache:
        try:
            write_whole(timings, bytes(config.get_timing_cache().serialize()))
        except OutputError as error:
            logger.warning("timings are not stored for the next build: %s", error)
    return bytes(serialized), layers


def _read(timings: Path) -> bytes:
    try:
        return timings.read_bytes()
    except OSError:
        return b""  # the next build begins without


def _monitor(trt: Any, stop: threading.Event, progress: Progress) -> Any:
    """An `IProgressMonitor`: nested phases, each with a number of steps."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._begin = monotonic()
            self._phases: dict[str, list[Any]] = {}  # by name: parent, steps, steps done

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = [parent_phase, max(num_steps, 1), 0]

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._phases[phase_name][2] = step + 1
            progress(self._done(), monotonic() - self._begin)
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._phases.pop(phase_name, None)

        def _done(self) -> float:
            roots = [name for name, (parent, _, _) in self._phases.items() if parent not in self._phases]
            return min((self._part(name) for name in roots), default=1.0)

        def _part(self, name: str) -> float:
            _, steps, done = self._phases[name]
            inner = [self._part(child) for child, (parent, _, _) in self._phases.items() if parent == name]
            return float(min(1.0, (done + max(inner, default=0.0)) / steps))

    return Monitor()


def _log_progress(name: str) -> Progress:
    said = 0.0

    def say(part: float, seconds: float) -> None:
        nonlocal said
        if seconds - said >= _SAY_EVERY_S:
            said = seconds
            logger.info("engine of %s: %s", name, progress_text(part, seconds))

    return say


def progress_text(part: float, seconds: float) -> str:
    """Progress `part` 0..1 after `seconds`, as text."""
    left = f", about {seconds * (1 - part) / part:.0f} s left" if part > 0 else ""
    return f"{part:.0%} after {seconds:.0f} s{left}"
