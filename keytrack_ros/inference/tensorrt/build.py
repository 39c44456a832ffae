"""Engines made from ONNX graphs: strongly typed, so that the graph's types are the engine's."""

from __future__ import annotations

import json
import logging
import re
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
from keytrack_ros.inference.tensorrt.library import load_tensorrt, make_logger
from keytrack_ros.inference.tensorrt.plan import EnginePlan, engines_folder

logger = logging.getLogger(__name__)

Progress = Callable[[float, float], None]
"""Is told the part that is done, 0 … 1, and the seconds since the beginning."""

_SAY_EVERY_S = 10.0


@dataclass(frozen=True)
class Built:
    """What a build gave.

    Attributes:
        engine: ready to be run.
        layers: how many layers write each type of number, by TensorRT's name of it (Half, Float, Int8 …).
        seconds: that it took; 0, without `layers`, if the engine was there.
    """

    engine: bytes
    layers: dict[str, int]
    seconds: float


def build_engine(
    plan: EnginePlan,
    graph: bytes | None = None,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
    anew: bool = False,
) -> Built:
    """Builds and keeps the engine of a plan. Takes minutes; other threads go on meanwhile.

    Args:
        plan: what to build.
        graph: the ONNX graph in the plan's precision; by default the network's, converted.
        stop: once set, the build ends at its next step.
        progress: see `Progress`; by default a line in the log every ten seconds.
        anew: build even if there is an engine.

    Raises:
        BackendError: TensorRT cannot build it, its precision is not the one asked for, or `stop` was set.
        OutputError: the folder of engines cannot be written to.
        ModelError: the graph cannot be converted.
    """
    stop = stop or threading.Event()
    trt = load_tensorrt()
    with building(stop):
        if not anew:
            with suppress(MissingEngineError):  # another process may just have made it
                return Built(read_engine(plan), {}, 0.0)
        name = plan.network.name
        logger.info("building the %s engine of %s; this takes minutes", plan.precision, name)
        begin = monotonic()
        if graph is None:
            graph = graph_in(plan.network, plan.precision)
        engine = _build(trt, plan, graph, stop, progress or _log_progress(name))
        layers = layer_types(trt, engine)
        _check_precision(plan, layers)
        seconds = monotonic() - begin
        built_at = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
        write_engine(plan, engine, {"built": built_at, "seconds": round(seconds, 1), "layers": layers})
        logger.info("built %s in %.0f s (%.1f MB)", plan.file, seconds, len(engine) / 1e6)
        return Built(engine, layers, seconds)


def layer_types(trt: Any, engine: bytes) -> dict[str, int]:
    """How many layers of an engine write each type of number, as TensorRT's inspector says."""
    log = make_logger(trt)
    loaded = trt.Runtime(log).deserialize_cuda_engine(engine)
    if loaded is None:
        raise BackendError(f"the engine just built cannot be loaded: {log.last_error}")
    text = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    counts: Counter[str] = Counter()
    for layer in json.loads(text).get("Layers", []):
        outputs = layer.get("Outputs", []) if isinstance(layer, dict) else []
        counts.update({_number_type(str(tensor.get("Format/Datatype", ""))) for tensor in outputs})
    return dict(sorted(counts.items()))


def _number_type(text: str) -> str:
    """TensorRT says "Half", or, in full, "Channel major FP16 format where channel % 8 == 0"."""
    for pattern, name in (("Half|FP16", "Half"), ("BFloat16|BF16", "BFloat16"), ("Float|FP32", "Float")):
        if re.search(rf"\b({pattern})\b", text):
            return name
    found = re.search(r"\b(Int8|INT8|Int32|INT32|Int64|INT64|Bool|BOOL)\b", text)
    return found[1].capitalize() if found else "other"


def _check_precision(plan: EnginePlan, layers: dict[str, int]) -> None:
    """Raises BackendError where no layer has the type that the precision stands for."""
    wanted = {"fp16": "Half", "int8": "Int8", "fp32": "Float"}[plan.precision]
    if not layers.get(wanted):
        found = ", ".join(f"{name} {count}" for name, count in layers.items())
        raise BackendError(f"{plan.network.name}: no layer of the {plan.precision} engine is {wanted} ({found})")


def _build(trt: Any, plan: EnginePlan, graph: bytes, stop: threading.Event, progress: Progress) -> bytes:
    log = make_logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        errors = "; ".join(" ".join(parser.get_error(i).desc().split()) for i in range(parser.num_errors))
        raise BackendError(f"{plan.network.name}: TensorRT cannot read its graph: {errors or log.last_error}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # without it the inspector does not tell types
    config.progress_monitor = _monitor(trt, stop, progress)
    if plan.profiles:
        profile = builder.create_optimization_profile()
        for name, shapes in plan.profiles.items():
            profile.set_shape(name, shapes.smallest, shapes.best, shapes.largest)
        if config.add_optimization_profile(profile) < 0:
            raise BackendError(f"{plan.network.name}: TensorRT refuses the profile {dict(plan.profiles)}")
    timings = engines_folder() / f"timings-{trt.__version__}-{plan.made_for['compute_capability']}.cache"
    config.set_timing_cache(config.create_timing_cache(_read(timings)), False)
    serialized = builder.build_serialized_network(network, config)
    if stop.is_set():
        raise BackendError("the build was stopped")
    if serialized is None:
        raise BackendError(f"{plan.network.name}: TensorRT cannot build the engine: {log.last_error}")
    try:
        write_whole(timings, bytes(config.get_timing_cache().serialize()))
    except OutputError as error:
        logger.warning("timings are not kept for the next build: %s", error)
    return bytes(serialized)


def _read(timings: Path) -> bytes:
    try:
        return timings.read_bytes()
    except OSError:
        return b""  # the next build begins without


def _monitor(trt: Any, stop: threading.Event, progress: Progress) -> Any:
    """A `tensorrt.IProgressMonitor`: phases within phases, each of so many steps."""

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
    """`part` 0 … 1 done after `seconds`, for people."""
    left = f", about {seconds * (1 - part) / part:.0f} s left" if part > 0 else ""
    return f"{part:.0%} after {seconds:.0f} s{left}"
