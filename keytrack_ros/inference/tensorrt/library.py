"""NVIDIA's module `tensorrt`, imported when it is first needed, and its log."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from keytrack_ros.inference.session import BackendError

logger = logging.getLogger(__name__)

OLDEST = (10, 3)
"""The oldest version that has every name used here (JetPack 6.2 brings it)."""


def load_tensorrt() -> Any:
    """The module `tensorrt`. Raises BackendError if it is not installed, cannot be loaded, or is too old."""
    try:
        module = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:  # a library of it that is missing is an OSError
        reason = " ".join(str(error).split())
        raise BackendError(f"tensorrt cannot be imported ({reason}): pip install 'keytrack_ros[gpu]'") from None
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if version < OLDEST:
        raise BackendError(f"TensorRT {module.__version__} is too old; {OLDEST[0]}.{OLDEST[1]} or later is needed")
    return module


def make_logger(trt: Any) -> Any:
    """A `tensorrt.ILogger` that passes on to `logging` and keeps the last error in `last_error`.

    Its errors are warnings in our log: whether something has failed, the call that follows says.
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
