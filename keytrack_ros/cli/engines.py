"""`keytrack build-engines`: the TensorRT engines that a tracker with the same parameters uses."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from signal import Signals
from time import monotonic

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from keytrack_ros.cli.calibration import calibration_batches, read_images
from keytrack_ros.cli.console import console, shown_warnings
from keytrack_ros.cli.signals import stop_signals
from keytrack_ros.errors import ModelError, OptionError
from keytrack_ros.inference.cards import DetectorCard, MatcherCard, PoseCard
from keytrack_ros.inference.gpu import Gpu
from keytrack_ros.inference.images import network_input
from keytrack_ros.inference.quantization import TENSORRT, quantize
from keytrack_ros.inference.registry import find_model
from keytrack_ros.inference.session import Array, BackendError, OnnxSession
from keytrack_ros.inference.tensorrt.build import Progress as Report
from keytrack_ros.inference.tensorrt.build import build_engine, progress_text
from keytrack_ros.inference.tensorrt.cache import MissingEngineError, read_engine, remove_engine
from keytrack_ros.inference.tensorrt.execution import open_engine
from keytrack_ros.inference.tensorrt.plan import EnginePlan, Sizes, plan_engine, profiles_of
from keytrack_ros.matching.entailment import OUTPUT
from keytrack_ros.matching.sessions import PAIRS, example_inputs, matcher_precision
from keytrack_ros.pipeline import PipelineOptions
from keytrack_ros.poses import ImageArray

FRAMES = 100
"""Frames that int8 engines are calibrated on."""

_PLAIN_EVERY_S = 10.0
_SUSPICIOUS = 0.05
"""Difference from ONNX Runtime, as a part of the range, above which an FP16 or FP32 engine is removed."""

Card = DetectorCard | PoseCard | MatcherCard


@dataclass(frozen=True)
class Network:
    """A network that a tracker opens, and how.

    Attributes:
        card: its model file.
        max_rows: images, crops or pairs in one call.
        precision: of its engine.
    """

    card: Card
    max_rows: int
    precision: str

    def plan(self, backend: str, capability: str | None) -> EnginePlan:
        """Its engine for a compute capability, or for this machine's GPU. Raises as `plan_engine`."""
        gpu = None if capability is None else Gpu("any", capability)
        return plan_engine(self.card.path, self.precision, self.max_rows, backend, gpu, self.image_sizes)

    @property
    def image_sizes(self) -> Sizes | None:
        """Of a detector's images; see `plan_engine`."""
        return self.card.input_sizes if isinstance(self.card, DetectorCard) else None


@dataclass(frozen=True)
class EnginesRequest:
    """What to build; see `keytrack build-engines --help`.

    `capabilities` are those of other machines' GPUs, such as "8.6"; without any, this machine's GPU.
    """

    options: PipelineOptions
    images: str | None = None
    capabilities: Sequence[str] = ()
    dry_run: bool = False
    force: bool = False

    @property
    def targets(self) -> Sequence[str | None]:
        """The compute capabilities to build for; None is this machine's GPU."""
        return self.capabilities or (None,)

    @property
    def backend(self) -> str:
        """That of the options; for other machines' GPUs TensorRT for RTX, which alone can build for them."""
        return "tensorrt_rtx" if self.capabilities or self.options.inference.backend == "tensorrt_rtx" else "tensorrt"


def run_build_engines(request: EnginesRequest) -> int:
    """Builds, or only shows, the engine of each network; returns the exit code: 0, or 128 + signal.

    Raises:
        BackendError: no TensorRT, no GPU, or TensorRT cannot build an engine.
        KeytrackError: networks, images or the folder of engines are not as they must be.
    """
    precision = request.options.inference.gpu_precision
    if precision == "int8" and request.images is None and not request.dry_run:
        raise OptionError("--precision int8 needs --images: a folder, video or bag that looks like the robot's camera")
    networks = networks_of(request.options)
    if request.dry_run:
        for network in networks:
            _show_plan(request, network)
        return 0
    with shown_warnings(), stop_signals() as stopped:
        images = read_images(request.images, FRAMES) if precision == "int8" and request.images else []
        for network in networks:
            for capability in request.targets:
                if not _build(request, network, capability, images, stopped):
                    return 128 + stopped[0]
    return 0


def networks_of(options: PipelineOptions) -> list[Network]:
    """The networks that a tracker with these options uses.

    Raises ModelError if there are none.
    """
    inference = options.inference
    folders, precision = inference.folders, inference.gpu_precision
    return [
        Network(find_model(DetectorCard, options.detector.model, folders), 1, precision),
        Network(find_model(PoseCard, options.estimator.model, folders), options.estimator.batch_size, precision),
        Network(find_model(MatcherCard, options.tracker.model, folders), PAIRS, matcher_precision(inference)),
    ]


def _show_plan(request: EnginesRequest, network: Network) -> None:
    card, precision = network.card, network.precision
    _say(f"[bold]{escape(card.name)}[/] ({card.task}): {escape(str(card.path))}, {precision}")
    for name, profile in profiles_of(card.path, network.max_rows, network.image_sizes).items():
        shapes = (profile.smallest, profile.best, profile.largest)
        _say(f"  profile of '{escape(name)}': " + ", ".join("x".join(map(str, shape)) for shape in shapes))
    for capability in request.targets:
        try:
            plan = network.plan(request.backend, capability)
        except BackendError as error:
            _say(f"  [yellow]no key on this machine[/]: {escape(str(error))}")
            return
        _say(f"  key: {plan.key}")
        _say(f"  file: {escape(str(plan.file))}{' (exists)' if plan.file.is_file() else ''}")


def _build(
    request: EnginesRequest,
    network: Network,
    capability: str | None,
    images: Sequence[ImageArray],
    stopped: Sequence[Signals],
) -> bool:
    """Builds one engine unless it exists, and compares it if it can run here; False if a signal stopped it."""
    card = network.card
    plan = network.plan(request.backend, capability)
    if not request.force and _is_good(plan, load=capability is None):
        _say(f"{escape(card.name)}: {escape(str(plan.file))} exists")
        return True
    graph = None
    if plan.precision == "int8" and not isinstance(card, MatcherCard):
        options = request.options
        graph = quantize(card.path, calibration_batches(card, images, options.detector, options.inference), TENSORRT)
    stop = threading.Event()
    console.print(f"{escape(card.name)}: building the {plan.precision} engine; this takes minutes")
    with _shown_progress(card.name) as show:

        def report(part: float, seconds: float) -> None:
            if stopped:
                stop.set()
            show(part, seconds)

        try:
            built = build_engine(plan, graph, stop, report, force=True)
        except BackendError:
            if not stopped:
                raise
            console.print(f"stopped by {stopped[0].name}; no part of the engine was stored")
            return False
    types = ", ".join(f"{count} {name}" for name, count in built.layers.items())
    _say(
        f"{escape(card.name)}: {escape(str(plan.file))}, {len(built.engine) / 1e6:.1f} MB in {built.seconds:.0f} s; "
        f"layers: {types}"
    )
    if capability is None:
        _compare(card, plan, built.engine)
    return True


def _is_good(plan: EnginePlan, load: bool) -> bool:
    """Whether the engine exists, and TensorRT can load it where it is for this machine."""
    try:
        engine = read_engine(plan)
        if load:
            open_engine(plan, engine).close()
    except MissingEngineError:
        return False
    except BackendError as error:
        console.print(f"[yellow]warning:[/] {escape(str(error))}; it is built again")
        return False
    return True


def _compare(card: Card, plan: EnginePlan, engine: bytes) -> None:
    """Prints the difference from ONNX Runtime on the CPU, for an image of noise or random pairs."""
    reference = OnnxSession(card.path)
    inputs, output = _example(card)
    inputs = {name: inputs[name] for name in reference.input_shapes}
    session = open_engine(plan, engine)
    try:
        found = session.run(inputs)[output]
    finally:
        session.close()
    expected = reference.run(inputs)[output]
    difference = float(np.abs(found - expected).max()) / max(float(np.abs(expected).max()), 1e-6)
    if not difference <= _SUSPICIOUS and plan.precision != "int8":
        remove_engine(plan)
        raise ModelError(
            f"{plan.network}: its {plan.precision} engine was removed, because it differs from ONNX Runtime by "
            f"{difference:.1%} of the range; build with --precision fp32"
        )
    _say(f"{escape(card.name)}: differs from ONNX Runtime by at most {difference:.2%} of the range")


def _example(card: Card) -> tuple[dict[str, Array], str]:
    """Example inputs by name, and the name of the output to compare."""
    if isinstance(card, MatcherCard):
        return example_inputs(card, PAIRS), OUTPUT
    width, height = card.input.size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return {card.input.name: network_input([noise], card.input)}, card.output


def _say(text: str) -> None:
    """Prints a result to stdout."""
    Console(highlight=False, soft_wrap=True).print(text)


@contextmanager
def _shown_progress(name: str) -> Iterator[Report]:
    """A progress bar in a terminal; elsewhere a line every ten seconds."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    task = bar.add_task(escape(name), total=1.0)
    said = monotonic()

    def show(part: float, seconds: float) -> None:
        nonlocal said
        bar.update(task, completed=part)
        if bar.disable and monotonic() - said >= _PLAIN_EVERY_S:
            said = monotonic()
            console.print(f"{name}: {progress_text(part, seconds)}", markup=False)

    with bar:
        yield show
