# ruff: noqa: ARG002  (parameters are those of the real module)
"""Stands in for NVIDIA's module `tensorrt`, whose builder cannot be had without a GPU's machine.

Only what the package uses is here, under the names and parameters of the real module; test_tensorrt_api.py holds it
against that. An "engine" is the ONNX graph with its profile; it is run by ONNX Runtime on the host memory that
stand_in_cuda.py deals out as a device's.
"""

from __future__ import annotations

import ctypes
import enum
import json
import pickle
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

__version__ = "11.4.0.106"

refuse_to_build = ""
"""Set by a test: the builder fails with this text in its log."""
refuse_to_load = ""
"""Set by a test: engines are refused with this text in the log."""
no_memory_for_contexts = False
built: list[bytes] = []
"""The graphs that were built."""
during_build: Any = None
"""Set by a test: called in the middle of a build."""


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        pass

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ProfilingVerbosity(enum.IntEnum):
    DETAILED = 2


class LayerInformationFormat(enum.IntEnum):
    JSON = 1


class TensorIOMode(enum.IntEnum):
    INPUT = 1
    OUTPUT = 2


class IProgressMonitor:
    def __init__(self) -> None:
        pass

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class IHostMemory:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __bytes__(self) -> bytes:
        return self._content


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> Any:
        return IHostMemory(self._content + b".")


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = (tuple(min), tuple(opt), tuple(max))


class IBuilderConfig:
    def __init__(self) -> None:
        self.profiles: list[IOptimizationProfile] = []
        self._cache: ITimingCache | None = None
        self._verbosity = ProfilingVerbosity.DETAILED - 2
        self._monitor: IProgressMonitor | None = None

    @property
    def profiling_verbosity(self) -> Any:
        return self._verbosity

    @profiling_verbosity.setter
    def profiling_verbosity(self, value: Any) -> None:
        self._verbosity = value

    @property
    def progress_monitor(self) -> Any:
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, value: Any) -> None:
        self._monitor = value

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return not ignore_mismatch

    def get_timing_cache(self) -> Any:
        return self._cache


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.graph = b""


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    def __init__(self, network: Any, logger: Any) -> None:
        self._network = network
        self._errors: list[ParserError] = []
        self._logger = logger

    def parse(self, model: bytes, path: str | None = None) -> bool:
        unknown = {node.op_type for node in onnx.load_from_string(model).graph.node} & {"Det", "Unique"}
        self._errors = [ParserError(f"No importer registered for op: {name}") for name in sorted(unknown)]
        self._network.graph = model
        return not unknown

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]


class Builder:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> Any:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> Any:
        return IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        assert network.flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        monitor = config.progress_monitor
        monitor.phase_start("build", None, 2)
        for outer in range(2):
            monitor.phase_start("tactics", "build", 5)
            for inner in range(5):
                if not monitor.step_complete("tactics", inner):
                    return None
            monitor.phase_finish("tactics")
            if outer == 0 and during_build is not None:
                during_build()
            if not monitor.step_complete("build", outer):
                return None
        monitor.phase_finish("build")
        if refuse_to_build:
            self._logger.log(ILogger.Severity.ERROR, refuse_to_build)
            return None
        built.append(network.graph)
        shapes = config.profiles[0].shapes if config.profiles else {}
        detailed = config.profiling_verbosity == ProfilingVerbosity.DETAILED
        return IHostMemory(pickle.dumps((network.graph, shapes, detailed)))


class EngineInspector:
    def __init__(self, graph: bytes, detailed: bool) -> None:
        self._graph = graph
        self._detailed = detailed

    def get_engine_information(self, format: Any) -> str:
        assert format == LayerInformationFormat.JSON
        graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(self._graph)).graph
        names = {onnx.TensorProto.FLOAT: "Float", onnx.TensorProto.FLOAT16: "Half", onnx.TensorProto.INT8: "Int8"}
        types = {value.name: names.get(value.type.tensor_type.elem_type, "Int64") for value in graph.value_info}
        layers: list[Any] = [node.name for node in graph.node]
        if self._detailed:
            layers = [
                {
                    "Name": node.name,
                    "Outputs": [{"Name": o, "Format/Datatype": types.get(o, "Float")} for o in node.output],
                }
                for node in graph.node
            ]
        return json.dumps({"Layers": layers, "Bindings": []})


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
    def __init__(self, content: bytes) -> None:
        self._graph, self._profiles, self._detailed = pickle.loads(content)
        self.session = ort.InferenceSession(self._graph, providers=["CPUExecutionProvider"])
        about = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool"}
        tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self._shapes = {t.name: tuple(a if isinstance(a, int) else -1 for a in t.shape) for t in tensors}
        self._types = {t.name: about[t.type] for t in tensors}
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
        return list(self._profiles[name])

    def create_execution_context(self) -> Any:
        return None if no_memory_for_contexts else IExecutionContext(self)

    def create_engine_inspector(self) -> Any:
        return EngineInspector(self._graph, self._detailed)

    def profile(self, name: str) -> tuple[Any, Any, Any]:
        return self._profiles.get(name, (self._shapes[name],) * 3)


class Runtime:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        if refuse_to_load:
            self._logger.log(ILogger.Severity.ERROR, refuse_to_load)
            return None
        return ICudaEngine(serialized_engine)


def nptype(trt_type: Any) -> Any:
    return np.dtype(trt_type).type
