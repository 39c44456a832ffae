"""Which backend runs a network: chosen from the options and from what the machine can do, and said in the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import onnxruntime as ort

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.background_engine import UpgradingSession
from keytrack_ros.inference.chunked_session import SplitSession
from keytrack_ros.inference.gpu import require_driver
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.session import BackendError, DeviceMemoryError, OnnxSession, Session
from keytrack_ros.inference.torch_session import TorchNetwork, TorchSession

logger = logging.getLogger(__name__)

_ORDER = (
    ("tensorrt", "cuda"),
    ("onnxruntime", "cuda"),
    ("torch", "cuda"),
    ("onnxruntime", "cpu"),
    ("torch", "cpu"),
)
"""Best first. torch on the CPU, slower than ONNX Runtime there, only serves who asks for it."""

_NAMES = {"tensorrt": "TensorRT", "onnxruntime": "ONNX Runtime", "torch": "torch"}


def open_session(
    path: Path, options: InferenceOptions, most: int = 1, torch_network: TorchNetwork | None = None
) -> Session:
    """The network on the best backend that the options allow and the machine has. One line in the log says which.

    A `device` that is named is kept to, but for the CPU's help while an engine is built; a `backend` that is named is
    tried first, and if it cannot run the network the next one does, with a warning.

    Args:
        path: an .onnx file.
        options: device, backend and what belongs to them.
        most: rows (images, people, pairs) in one call; more are run in pieces where the backend needs a limit.
        torch_network: for the backend torch; without it that backend is passed over.

    Raises:
        ModelError: the file is no network, or `device` is cuda and nothing can run it there.
    """
    opening = _Opening(path, options, most, torch_network)
    candidates = _candidates(options)
    refusals: list[str] = []
    if any(device == "cuda" for _, device in candidates):
        try:
            require_driver()
        except BackendError as error:
            refusals.append(str(error))
            candidates = [(backend, device) for backend, device in candidates if device != "cuda"]
    here = not refusals  # a GPU that is not used as it could be is worth a warning
    if options.device == "cpu" and options.backend == "tensorrt":
        refusals.append("TensorRT does not run on the CPU")
    for backend, device in chain(candidates, opening.meanwhile()):
        try:
            session = opening.open(backend, device)
        except (BackendError, DeviceMemoryError) as error:
            refusals.append(f"{_NAMES[backend]}: {error}")
            continue
        wanted = options.backend in ("auto", backend) and not (here and refusals)
        logger.log(
            logging.INFO if wanted else logging.WARNING,
            "%s runs on %s%s",
            path.name,
            session.runs_on,
            f"; {'; '.join(refusals)}" if refusals else "",
        )
        return UpgradingSession(session, opening.better, path.name) if opening.better else session
    raise BackendError(
        f"{path}: nothing can run it with inference.device = {options.device}: {'; '.join(refusals)}; "
        "set inference.device to auto or cpu"
    )


def _candidates(options: InferenceOptions) -> list[tuple[str, str]]:
    """(backend, device) that the options allow, the wanted backend first."""
    allowed = [
        (backend, device)
        for backend, device in _ORDER
        if options.device in ("auto", device) and ((backend, device) != ("torch", "cpu") or options.backend == "torch")
    ]
    return sorted(allowed, key=lambda candidate: candidate[0] != options.backend)


class _Opening:
    """Opens one network on one backend after another.

    Attributes:
        better: makes a session that is to take over once it is there, if there will be one.
    """

    def __init__(self, path: Path, options: InferenceOptions, most: int, torch_network: TorchNetwork | None) -> None:
        self._path = path
        self._options = options
        self._most = most
        self._torch_network = torch_network
        self.better: Callable[[threading.Event], Session] | None = None

    def meanwhile(self) -> Iterator[tuple[str, str]]:
        """What runs while an engine is built, where nothing else may: asked when all candidates have refused."""
        if self.better is not None and self._options.device == "cuda":
            yield "onnxruntime", "cpu"

    def open(self, backend: str, device: str) -> Session:
        """Raises BackendError or DeviceMemoryError if this backend cannot, ModelError if none can."""
        if backend == "tensorrt":
            return self._tensorrt()
        if backend == "torch":
            return self._torch(device)
        if device == "cuda":
            return SplitSession(OnnxSession(self._path, self._options.threads, "CUDAExecutionProvider"))
        return OnnxSession(self._path, self._options.threads)

    def _tensorrt(self) -> Session:
        from keytrack_ros.inference.tensorrt.build import build_engine
        from keytrack_ros.inference.tensorrt.cache import MissingEngineError, read_engine
        from keytrack_ros.inference.tensorrt.execution import open_engine
        from keytrack_ros.inference.tensorrt.plan import plan_engine

        try:
            plan = plan_engine(self._path, self._options.precision, self._most)
        except BackendError as error:
            self._use_tensorrt_provider(error)
            raise
        try:
            return open_engine(plan, read_engine(plan))
        except DeviceMemoryError:
            raise
        except BackendError as error:
            if not self._options.allow_engine_build or plan.precision == "int8":
                raise
            # One that is there and whole, but that TensorRT refuses, would be found again.
            anew = not isinstance(error, MissingEngineError)
            self.better = lambda stop: open_engine(plan, build_engine(plan, stop=stop, anew=anew).engine)
            raise BackendError(f"{error}; it is built now") from None

    def _use_tensorrt_provider(self, error: BackendError) -> None:
        """Where NVIDIA's module is missing, but ONNX Runtime has its own way to TensorRT: that one takes over later.

        It builds its engines, too, whenever it is opened without them, so it needs the same permission.
        """
        available = "TensorrtExecutionProvider" in ort.get_available_providers()
        if not available or not self._options.allow_engine_build or self._options.precision == "int8":
            return
        from keytrack_ros.inference.tensorrt.plan import engines_folder, profiles_of

        profiles = profiles_of(self._path, self._most)
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
            "trt_fp16_enable": str(self._options.precision == "fp16"),
            **(shapes if profiles else {}),
        }
        self.better = lambda _stop: SplitSession(
            OnnxSession(self._path, self._options.threads, "TensorrtExecutionProvider", options),
            self._most if profiles else None,
        )
        logger.info(
            "%s: ONNX Runtime's TensorRT provider is prepared, which may take minutes (%s)", self._path.name, error
        )

    def _torch(self, device: str) -> Session:
        if self._torch_network is None:
            raise BackendError("its torch weights are not beside it")
        try:
            session = TorchSession(self._torch_network, device, half=self._options.precision == "fp16")
        except (BackendError, DeviceMemoryError):
            raise
        except ModelError as error:  # the ONNX file may be good where the weights beside it are not
            raise BackendError(str(error)) from None
        return SplitSession(session) if device == "cuda" else session
