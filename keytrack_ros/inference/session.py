"""`Session`: one small interface behind which a network runs, and ONNX Runtime behind it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from keytrack_ros.errors import ModelError

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]

_SLOWER_FUSED = ("SkipLayerNormFusion",)
"""Optimisations of ONNX Runtime that are disabled: on the CPU the fused operator is much slower than its parts."""

_NO_MEMORY = ("out of memory", "failed to allocate memory", "alloc_failed", "cudaerrormemoryallocation")


class BackendError(ModelError):
    """This backend cannot run the network on this machine; another one may."""


class DeviceMemoryError(ModelError):
    """The device has too little memory for this call; one with fewer rows may succeed."""


class Session(Protocol):
    """A loaded network."""

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each input by name; None for an axis of free length."""
        ...

    @property
    def output_names(self) -> Sequence[str]:
        """Names of the outputs."""
        ...

    @property
    def runs_on(self) -> str:
        """Backend and device, for the log."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name; may be called from several threads.

        Raises ModelError if the inputs do not fit, or if they are too many for the device.
        """
        ...

    def close(self) -> None:
        """Frees the network; the session is not used afterwards."""
        ...


class OnnxSession:
    """ONNX Runtime, on the CPU or with its CUDA or TensorRT provider.

    Args:
        path: an .onnx file.
        threads: cores that one call may use; 0 = all.
        provider: name of ONNX Runtime's execution provider.
        provider_options: its options; see ONNX Runtime's documentation.

    Raises:
        BackendError: the provider is not installed, cannot start or cannot load the network; the CPU's can start.
        ModelError: the file cannot be read as a network.
    """

    def __init__(
        self,
        path: Path,
        threads: int = 0,
        provider: str = "CPUExecutionProvider",
        provider_options: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path
        self._provider = provider
        self._threads = threads or os.cpu_count() or 1
        if provider not in ort.get_available_providers():
            raise BackendError(f"the installed onnxruntime has no {provider}; onnxruntime-gpu has")
        if provider != "CPUExecutionProvider":
            _load_cuda_libraries()
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        # Waiting threads sleep: detector, estimator and matcher take turns, and a robot has other work to do.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if provider == "CPUExecutionProvider":
            # Plans of memory are kept for each shape; with batches of any size they held 36 MiB and saved no time.
            options.enable_mem_pattern = False
        options.log_severity_level = 3
        try:
            self._session: ort.InferenceSession | None = ort.InferenceSession(
                str(path),
                options,
                providers=[(provider, dict(provider_options or {}))],
                disabled_optimizers=list(_SLOWER_FUSED),
                # It would try the CPU after any error, here or in `run`, and print that.
                enable_fallback=0,
            )
        except Exception as error:  # ONNX Runtime's own exception types are not public
            text = f"{path}: not a network that ONNX Runtime can load: {_line(error)}"
            if provider != "CPUExecutionProvider":  # another backend may
                raise BackendError(f"{text} with its {provider}") from None
            raise ModelError(text) from None
        # Where a provider's libraries do not fit (CUDA version, cuDNN), ONNX Runtime takes the CPU without an error.
        if provider not in self._session.get_providers():
            raise BackendError(f"{provider} cannot start; CUDA and cuDNN must be those that onnxruntime names")
        self._input_shapes: dict[str, tuple[int | None, ...]] = {
            item.name: tuple(d if isinstance(d, int) else None for d in item.shape)
            for item in self._session.get_inputs()
        }
        self._outputs = [item.name for item in self._session.get_outputs()]

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        return self._input_shapes

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in the graph's order."""
        return self._outputs

    @property
    def runs_on(self) -> str:
        device = self._provider.removesuffix("ExecutionProvider")
        cores = f", {self._threads} thread{'s' * (self._threads > 1)}" if device == "CPU" else ""
        return f"ONNX Runtime {ort.__version__} ({device}{cores})"

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._session is None:
            raise ModelError(f"{self._path}: the session is closed")
        try:
            values = self._session.run(None, {name: np.ascontiguousarray(array) for name, array in inputs.items()})
        except Exception as error:  # as above
            line = _line(error)
            kind = DeviceMemoryError if any(text in line.lower() for text in _NO_MEMORY) else ModelError
            raise kind(f"{self._path}: {line}") from None
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        self._session = None


def _load_cuda_libraries() -> None:
    """Loads CUDA and cuDNN from NVIDIA's wheels, which the dynamic loader does not search."""
    if hasattr(ort, "preload_dlls"):  # from 1.21
        said = io.StringIO()  # it prints
        with contextlib.redirect_stdout(said):
            ort.preload_dlls()
        if said.getvalue():
            logger.debug("onnxruntime: %s", " ".join(said.getvalue().split()))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
