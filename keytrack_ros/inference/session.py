"""`Session`: one small interface behind which a network runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from keytrack_ros.errors import ModelError

Array = npt.NDArray[Any]


class Session(Protocol):
    """A loaded network."""

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each input by name; None for an axis of free length."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name. Raises ModelError if the inputs do not fit."""
        ...

    def close(self) -> None:
        """Frees what the network holds; the session is not used afterwards."""
        ...


class OnnxSession:
    """ONNX Runtime on the CPU.

    Args:
        path: an .onnx file.
        threads: how many cores one call may use; 0 = all.

    Raises:
        ModelError: the file cannot be read as a network.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        # Waiting threads sleep: detector, estimator and matcher take turns, and a robot has other work to do.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._path = path
        try:
            self._session: ort.InferenceSession | None = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own exception types are not public
            raise ModelError(f"{path}: not a network that ONNX Runtime can load: {_line(error)}") from None
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

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._session is None:
            raise ModelError(f"{self._path}: the session is closed")
        try:
            values = self._session.run(None, {name: np.ascontiguousarray(array) for name, array in inputs.items()})
        except Exception as error:  # as above
            raise ModelError(f"{self._path}: {_line(error)}") from None
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        self._session = None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
