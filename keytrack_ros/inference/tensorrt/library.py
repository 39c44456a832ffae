"""NVIDIA's modules `tensorrt` (10.3 to 11) and `tensorrt_rtx` (TensorRT for RTX): everything that differs between them.

Both have the same classes. TensorRT times kernels on the GPU that an engine is built for, so an engine is built there
and holds for GPUs of that name. TensorRT for RTX compiles kernels when an engine is loaded, so an engine is built on
any machine, without a GPU, and holds for a compute capability; its timing cache does nothing.
"""

from __future__ import annotations

import importlib
import logging
import re
from dataclasses import dataclass
from typing import Any

from keytrack_ros.errors import OptionError
from keytrack_ros.inference.gpu import Gpu
from keytrack_ros.inference.session import BackendError

logger = logging.getLogger(__name__)

OLDEST = (10, 3)
"""Oldest version of `tensorrt` that has every name used here (JetPack 6.2 brings it)."""

TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}
"""The two backends."""


@dataclass(frozen=True)
class Library:
    """One of the two modules.

    Attributes:
        backend: tensorrt or tensorrt_rtx.
        trt: the module.
    """

    backend: str
    trt: Any

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    def __str__(self) -> str:
        return f"{TITLES[self.backend]} {self.version}"

    def target(self, gpu: Gpu) -> dict[str, str]:
        """What an engine for the GPU depends on, beside the network; part of its key."""
        target = {self.backend: self.version, "compute_capability": gpu.capability}
        return target if self.backend == "tensorrt_rtx" else {**target, "gpu": gpu.name}

    def set_target(self, config: Any, capability: str) -> None:
        """Configures a build for a compute capability such as "8.6".

        Raises BackendError if it is one that TensorRT for RTX does not support.
        """
        if self.backend != "tensorrt_rtx":
            return  # the GPU of this machine
        name = f"SM{capability.replace('.', '')}"
        known = self.trt.ComputeCapability.__members__
        if name not in known:
            supported = ", ".join(sorted(member for member in known if member.startswith("SM")))
            raise BackendError(f"{self} has no compute capability {name}; it has {supported}")
        config.num_compute_capabilities = 1
        config.set_compute_capability(known[name], 0)

    @property
    def has_timing_cache(self) -> bool:
        return self.backend == "tensorrt"


def load_library(backend: str = "tensorrt") -> Library:
    """The module of a backend. Raises BackendError if it is not installed, cannot be loaded, or is too old."""
    try:
        module = importlib.import_module(backend)
    except (ImportError, OSError) as error:  # a missing library of it is an OSError
        reason = " ".join(str(error).split())
        extra = "rtx" if backend == "tensorrt_rtx" else "gpu"
        raise BackendError(f"{backend} cannot be imported ({reason}): pip install 'keytrack_ros[{extra}]'") from None
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if backend == "tensorrt" and version < OLDEST:
        raise BackendError(f"TensorRT {module.__version__} is too old; {OLDEST[0]}.{OLDEST[1]} or later is needed")
    return Library(backend, module)


def parse_capabilities(text: str) -> list[str]:
    """ "sm_86,sm_89" → ["8.6", "8.9"]. Raises OptionError for anything else."""
    found = [re.fullmatch(r"sm_?(\d+)(\d)", part.strip().lower()) for part in text.split(",")]
    if not all(found):
        raise OptionError(f"--for {text}: compute capabilities such as sm_86,sm_89 are needed")
    return [f"{match[1]}.{match[2]}" for match in found if match]


def make_logger(trt: Any) -> Any:
    """An `ILogger` that forwards to `logging` and keeps the last error in `last_error`.

    Its errors are warnings in our log: the call that caused them reports the failure.
    """
    severities = trt.ILogger.Severity
    levels = {
        severities.INTERNAL_ERROR: logging.WARNING,
        severities.ERROR: logging.WARNING,
        severities.WARNING: logging.DEBUG,
        severities.INFO: logging.DEBUG,
        severities.VERBOSE: logging.NOTSET,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.last_error = ""

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level >= logging.WARNING:
                self.last_error = " ".join(msg.split())[:300]
            if level > logging.NOTSET:
                logger.log(level, "TensorRT: %s", msg)

    return Logger()
