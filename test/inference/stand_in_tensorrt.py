# ruff: noqa: ARG002  (parameters are those of the real module)
"""NVIDIA's builder from `tensorrt_rtx`, and a stand-in for what needs a GPU: loading and running engines.

Graphs are parsed and engines built by the real module, for compute capability 8.6. The stand-in runtime looks up the
graph that an engine was built from and runs it with ONNX Runtime, on the host memory that stand_in_cuda.py allocates as
a device's. test_tensorrt_api.py compares it with the real modules' interface.
"""

from __future__ import annotations

import ctypes
import enum
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

real = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed; requirements/dev.txt names it")

ComputeCapability = real.ComputeCapability
ILogger = real.ILogger
IProgressMonitor = real.IProgressMonitor
NetworkDefinitionCreationFlag = real.NetworkDefinitionCreationFlag
ProfilingVerbosity = real.ProfilingVerbosity
__version__ = "11.4.0.106"

refuse_to_load = ""
"""Set by a test: engines are refused with this text in the log."""
no_memory_for_contexts = False
built: list[bytes] = []
"""The engines that were built."""
during_build: Any = None
"""Set by a test: called before a build."""

_graphs: dict[bytes, tuple[bytes, dict[str, Any]]] = {}
"""By engine: the ONNX graph and its profile, by input."""


class OnnxParser(real.OnnxParser):  # type: ignore[misc]
    parsed = b""

    def parse(self, model: bytes, path: str | None = None) -> bool:
        OnnxParser.parsed = model  # one build at a time: there is a lock
        return bool(super().parse(model))


class Builder(real.Builder):  # type: ignore[misc]
    def create_optimization_profile(self) -> Any:
        self.profile = super().create_optimization_profile()
        return self.profile

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        if during_build is not None:
            during_build()
        if config.num_compute_capabilities == 0:
            config.num_compute_capabilities = 1
            config.set_compute_capability(ComputeCapability.SM86, 0)
        serialized = super().build_serialized_network(network, config)
        if serialized is not None:
            inputs = [network.get_input(index) for index in range(network.num_inputs)]
            free = [item.name for item in inputs if -1 in tuple(item.shape)]
            profile = {name: [tuple(shape) for shape in self.profile.get_shape(name)] for name in free}
            _graphs[bytes(serialized)] = OnnxParser.parsed, profile
            built.append(bytes(serialized))
        return serialized


class TensorIOMode(enum.IntEnum):
    INPUT = 1
    OUTPUT = 2


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Any) -> bool:
        lowest, _, highest = self._engine.profile(name)
        fits = all(low <= axis <= high for low, axis, high in zip(lowest, shape, highest, strict=True))
        if fits:
            self._shapes[name] = tuple(shape)
        return fits

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine.inputs if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> Any:
        if name in self._shapes:
            return self._shapes[name]
        rows = next(iter(self._shapes.values()))[0]
        return tuple(rows if axis == -1 else axis for axis in self._engine.get_tensor_shape(name))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert isinstance(stream_handle, int)
        feed = {name: self._memory(name).copy() for name in self._engine.inputs}
        results = self._engine.session.run(self._engine.outputs, feed)
        for name, value in zip(self._engine.outputs, results, strict=True):
            np.copyto(self._memory(name), value)
        return True

    def _memory(self, name: str) -> Any:
        shape, dtype = self.get_tensor_shape(name), np.dtype(nptype(self._engine.get_tensor_dtype(name)))
        size = int(np.prod(shape)) * dtype.itemsize
        return np.frombuffer((ctypes.c_ubyte * size).from_address(self._addresses[name]), dtype).reshape(shape)


class ICudaEngine:
    def __init__(self, graph: bytes, profile: dict[str, Any]) -> None:
        self.session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        about = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool"}
        tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self._shapes = {t.name: tuple(a if isinstance(a, int) else -1 for a in t.shape) for t in tensors}
        self._types = {t.name: about[t.type] for t in tensors}
        self._profile = profile
        self.inputs = [item.name for item in self.session.get_inputs()]
        self.outputs = [item.name for item in self.session.get_outputs()]

    @property
    def num_io_tensors(self) -> int:
        return len(self._shapes)

    def get_tensor_name(self, index: int) -> str:
        return list(self._shapes)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> Any:
        return self._shapes[name]

    def get_tensor_dtype(self, name: str) -> Any:
        return self._types[name]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        assert profile_index == 0
        return list(self._profile[name])

    def create_execution_context(self) -> Any:
        return None if no_memory_for_contexts else IExecutionContext(self)

    def profile(self, name: str) -> tuple[Any, Any, Any]:
        return self._profile.get(name, (self._shapes[name],) * 3)


class Runtime:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        if refuse_to_load:
            self._logger.log(ILogger.Severity.ERROR, refuse_to_load)
            return None
        return ICudaEngine(*_graphs[serialized_engine])


def nptype(trt_type: Any) -> Any:
    return np.dtype(trt_type).type
