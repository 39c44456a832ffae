"""Which backend runs a network: chosen from the options and the machine, and logged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import onnxruntime as ort

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.background_engine import UpgradingSession
from keytrack_ros.inference.chunked_session import ChunkedSession
from keytrack_ros.inference.gpu import require_driver
from keytrack_ros.inference.int8 import CpuNetwork
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.session import BackendError, DeviceMemoryError, OnnxSession, Session
from keytrack_ros.inference.torch_session import TorchNetwork, TorchSession

logger = logging.getLogger(__name__)

_ORDER = (
    ("tensorrt", "cuda"),
    ("tensorrt_rtx", "cuda"),
    ("onnxruntime", "cuda"),
    ("torch", "cuda"),
    ("onnxruntime", "cpu"),
    ("torch", "cpu"),
)
"""Best first."""

_ONLY_NAMED = {("tensorrt_rtx", "cuda"), ("torch", "cpu")}
"""Used only when selected explicitly."""

_NAMES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX", "onnxruntime": "ONNX Runtime", "torch": "torch"}


def open_session(
    path: Path,
    options: InferenceOptions,
    max_rows: int = 1,
    torch_network: TorchNetwork | None = None,
    on_cpu: CpuNetwork | None = None,
    image_sizes: tuple[tuple[int, int], ...] | None = None,
) -> Session:
    """The network on the best backend that the options allow and the machine has; one log line names it.

    A named `device` is a requirement, except that the CPU runs while an engine is built; a named `backend` is tried
    first, and if it cannot run the network the next one does, with a warning.

    Args:
        path: an .onnx file.
        options: device, backend and their options.
        max_rows: rows (images, crops, pairs) in one call; more are run in pieces where the backend has a limit.
        torch_network: for the backend torch, which is skipped without it.
        on_cpu: the file for ONNX Runtime on the CPU, if it is another one.
        image_sizes: width and height of the smallest, the usual and the largest images, where the network takes any.

    Raises:
        ModelError: the file is no network, or `device` is cuda and nothing can run it there.
    """
    opening = _Opening(path, options, max_rows, torch_network, on_cpu or CpuNetwork(path), image_sizes)
    candidates = _candidates(options)
    refusals: list[str] = []
    if any(device == "cuda" for _, device in candidates):
        try:
            require_driver()
        except BackendError as error:
            refusals.append(str(error))
            candidates = [(backend, device) for backend, device in candidates if device != "cuda"]
    has_gpu = not refusals  # a GPU that lies idle is worth a warning
    if options.device == "cpu" and options.backend in ("tensorrt", "tensorrt_rtx"):
        refusals.append(f"{_NAMES[options.backend]} does not run on the CPU")
    for backend, device in chain(candidates, opening.meanwhile()):
        try:
            session = opening.open(backend, device)
        except (BackendError, DeviceMemoryError) as error:
            refusals.append(f"{_NAMES[backend]}: {error}")
            continue
        name = path.name
        if (backend, device) == ("onnxruntime", "cpu"):
            name = opening.on_cpu.path.name
            refusals += [opening.on_cpu.warning] if opening.on_cpu.warning else []
        wanted = options.backend in ("auto", backend) and not ((has_gpu or opening.on_cpu.warning) and refusals)
        logger.log(
            logging.INFO if wanted else logging.WARNING,
            "%s runs on %s%s",
            name,
            session.runs_on,
            f"; {'; '.join(refusals)}" if refusals else "",
        )
        return UpgradingSession(session, opening.better, path.name) if opening.better else session
    raise BackendError(
        f"{path}: nothing can run it with inference.device = {options.device}: {'; '.join(refusals)}; "
        "set inference.device to auto or cpu"
    )


def _candidates(options: InferenceOptions) -> list[tuple[str, str]]:
    """(backend, device) that the options allow, the named backend first."""
    allowed = [
        (backend, device)
        for backend, device in _ORDER
        if options.device in ("auto", device) and ((backend, device) not in _ONLY_NAMED or options.backend == backend)
    ]
    return sorted(allowed, key=lambda candidate: candidate[0] != options.backend)


class _Opening:
    """Opens one network on one backend after another.

    Attributes:
        on_cpu: the file for ONNX Runtime on the CPU.
        better: makes the session that takes over once it is built, or None.
    """

    def __init__(
        self,
        path: Path,
        options: InferenceOptions,
        max_rows: int,
        torch_network: TorchNetwork | None,
        on_cpu: CpuNetwork,
        image_sizes: tuple[tuple[int, int], ...] | None,
    ) -> None:
        self._path = path
        self._image_sizes = image_sizes
        self._options = options
        self._max_rows = max_rows
        self.on_cpu = on_cpu
        self._torch_network = torch_network
        self.better: Callable[[threading.Event], Session] | None = None

    def meanwhile(self) -> Iterator[tuple[str, str]]:
        """The backend that runs while an engine is built, if no other one is allowed to."""
        if self.better is not None and self._options.device == "cuda":
            yield "onnxruntime", "cpu"

    def open(self, backend: str, device: str) -> Session:
        """Raises BackendError or DeviceMemoryError if this backend cannot, ModelError if none can."""
        if backend in ("tensorrt", "tensorrt_rtx"):
            return self._tensorrt(backend)
        if backend == "torch":
            return self._torch(device)
        if device == "cuda":
            return ChunkedSession(OnnxSession(self._path, self._options.threads, "CUDAExecutionProvider"))
        return OnnxSession(self.on_cpu.path, self._options.threads)

    def _tensorrt(self, backend: str) -> Session:
        from keytrack_ros.inference.tensorrt.build import build_engine
        from keytrack_ros.inference.tensorrt.cache import MissingEngineError, read_engine
        from keytrack_ros.inference.tensorrt.execution import open_engine
        from keytrack_ros.inference.tensorrt.plan import plan_engine

        try:
            precision = self._options.gpu_precision
            plan = plan_engine(self._path, precision, self._max_rows, backend, image_sizes=self._image_sizes)
        except BackendError as error:
            if backend == "tensorrt":
                self._use_tensorrt_provider(error)
            raise
        try:
            return open_engine(plan, read_engine(plan))
        except DeviceMemoryError:
            raise
        except BackendError as error:
            if not self._options.allow_engine_build or plan.precision == "int8":
                raise
            # An intact engine that TensorRT refuses would be found again.
            force = not isinstance(error, MissingEngineError)
            self.better = lambda stop: open_engine(plan, build_engine(plan, stop=stop, force=force).engine)
            raise BackendError(f"{error}; it is built now") from None

    def _use_tensorrt_provider(self, error: BackendError) -> None:
        """Where NVIDIA's module is missing: ONNX Runtime's TensorRT provider, if it has one, takes over later.

        It builds missing engines when it is opened, so it needs the same permission.
        """
        available = "TensorrtExecutionProvider" in ort.get_available_providers()
        if not available or not self._options.allow_engine_build or self._options.gpu_precision == "int8":
            return
        from keytrack_ros.inference.tensorrt.plan import engines_folder, profiles_of

        profiles = profiles_of(self._path, self._max_rows, self._image_sizes)
        shapes = {
            f"trt_profile_{word}_shapes": ",".join(
                f"{name}:{'x'.join(map(str, getattr(profile, size)))}" for name, profile in profiles.items()
            )
            for word, size in (("min", "smallest"), ("opt", "best"), ("max", "largest"))
        }
        options = {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(engines_folder()),
            "trt_timing_cache_enable": "True",
            "trt_fp16_enable": str(self._options.gpu_precision == "fp16"),
            **(shapes if profiles else {}),
        }
        self.better = lambda _stop: ChunkedSession(
            OnnxSession(self._path, self._options.threads, "TensorrtExecutionProvider", options),
            self._max_rows if profiles else None,
        )
        logger.info(
            "%s: ONNX Runtime's TensorRT provider is prepared, which may take minutes (%s)", self._path.name, error
        )

    def _torch(self, device: str) -> Session:
        if self._torch_network is None:
            raise BackendError("its torch weights are not beside it")
        try:
            session = TorchSession(self._torch_network, device, half=self._options.gpu_precision == "fp16")
        except (BackendError, DeviceMemoryError):
            raise
        except ModelError as error:  # the ONNX file may be good where the weights beside it are not
            raise BackendError(str(error)) from None
        return ChunkedSession(session) if device == "cuda" else session
