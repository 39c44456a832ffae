"""A TensorRT engine behind `Session`: memory for the largest call is allocated once, return values are checked."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.chunked_session import ChunkedSession
from keytrack_ros.inference.gpu import call, cuda_runtime
from keytrack_ros.inference.session import Array, BackendError, DeviceMemoryError, Session
from keytrack_ros.inference.tensorrt.library import Library, make_logger
from keytrack_ros.inference.tensorrt.plan import EnginePlan


@dataclass(frozen=True)
class _Tensor:
    """An input or output: its memory on the device and, page-locked, on the host, both for its largest shape."""

    name: str
    dtype: Any
    free: bool
    largest: tuple[int, ...]
    device: int
    host: int

    def array(self, shape: Sequence[int]) -> Array:
        """The first bytes of the host's memory as an array of that shape."""
        size = math.prod(shape) * self.dtype.itemsize
        return np.frombuffer((ctypes.c_ubyte * size).from_address(self.host), self.dtype).reshape(shape)


class TensorRTSession:
    """Runs an engine on a CUDA stream of its own.

    Calls from several threads run one after another. A call has at most as many rows as the engine's profile;
    `ChunkedSession` runs longer ones in pieces.

    Args:
        library: that built the engine.
        engine: serialised, for this GPU and version.
        name: of the network, for messages.
        precision: of the engine, for messages.

    Raises:
        BackendError: TensorRT or CUDA refuses.
        DeviceMemoryError: the GPU has too little memory for it.
    """

    def __init__(self, library: Library, engine: bytes, name: str, precision: str) -> None:
        self._library = library
        self._trt = library.trt
        self._cuda = cuda_runtime()
        self._name = name
        self._precision = precision
        self._log = make_logger(self._trt)
        self._tensors: dict[str, _Tensor] = {}
        self._stream: Any = None
        self._turn = threading.Lock()
        self._runtime = self._trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise BackendError(f"{name}: TensorRT cannot load its engine: {self._log.last_error}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise DeviceMemoryError(f"{name}: the GPU has too little memory for its engine: {self._log.last_error}")
        try:
            self._stream = call(self._cuda.cudaStreamCreate)
            self._allocate()
        except ModelError:
            self.close()
            raise

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        return self._input_shapes

    @property
    def output_names(self) -> Sequence[str]:
        return self._outputs

    @property
    def runs_on(self) -> str:
        return f"{self._library} (CUDA, {self._precision})"

    @property
    def max_rows(self) -> int | None:
        """Rows in the largest call; None if the engine has no free axis."""
        return min((self._tensors[name].largest[0] for name in self._inputs if self._tensors[name].free), default=None)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with self._turn:
            return self._run(inputs)

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._context is None:
            raise ModelError(f"{self._name}: the session is closed")
        if set(inputs) != set(self._inputs):
            raise ModelError(f"{self._name}: inputs are {', '.join(inputs)}; the engine has {', '.join(self._inputs)}")
        for name, array in inputs.items():
            self._upload(self._tensors[name], array)
        missing = self._context.infer_shapes()
        if missing:
            raise ModelError(f"{self._name}: TensorRT cannot tell the shapes of {', '.join(missing)}")
        if not self._context.execute_async_v3(int(self._stream)):
            raise ModelError(f"{self._name}: TensorRT failed: {self._log.last_error}")
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        results = {}
        for name in self._outputs:
            tensor = self._tensors[name]
            results[name] = tensor.array(tuple(self._context.get_tensor_shape(name)))
            call(self._cuda.cudaMemcpyAsync, tensor.host, tensor.device, results[name].nbytes, kind, self._stream)
        call(self._cuda.cudaStreamSynchronize, self._stream)
        # Copies, since the next call writes to the same memory.
        return {name: array.copy() for name, array in results.items()}

    def close(self) -> None:
        for tensor in self._tensors.values():
            call(self._cuda.cudaFree, tensor.device)
            call(self._cuda.cudaFreeHost, tensor.host)
        self._tensors = {}
        if self._stream is not None:
            call(self._cuda.cudaStreamDestroy, self._stream)
            self._stream = None
        self._context = self._engine = None

    def _allocate(self) -> None:
        """Allocates every tensor at its largest shape and sets its address."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = self._trt.TensorIOMode.INPUT
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == inputs]
        self._outputs = [name for name in names if name not in self._inputs]
        shapes = {name: tuple(int(axis) for axis in self._engine.get_tensor_shape(name)) for name in names}
        self._input_shapes: dict[str, tuple[int | None, ...]] = {
            name: tuple(None if axis < 0 else axis for axis in shapes[name]) for name in self._inputs
        }
        largest: dict[str, tuple[int, ...]] = {}
        for name in self._inputs:
            free = -1 in shapes[name]
            largest[name] = tuple(self._engine.get_tensor_profile_shape(name, 0)[2]) if free else shapes[name]
            self._set_shape(name, largest[name])
        self._context.infer_shapes()
        for name in self._outputs:
            largest[name] = tuple(self._context.get_tensor_shape(name))
            if -1 in largest[name]:
                raise BackendError(f"{self._name}: the shape of output '{name}' depends on the data")
        for name in names:
            dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
            size = max(1, math.prod(largest[name]) * dtype.itemsize)
            device = call(self._cuda.cudaMalloc, size)
            try:
                host = call(self._cuda.cudaMallocHost, size)
            except ModelError:
                call(self._cuda.cudaFree, device)
                raise
            self._tensors[name] = _Tensor(name, dtype, -1 in shapes[name], largest[name], int(device), int(host))
            if not self._context.set_tensor_address(name, int(device)):
                raise BackendError(f"{self._name}: TensorRT refuses the memory of '{name}': {self._log.last_error}")

    def _upload(self, tensor: _Tensor, array: Array) -> None:
        if array.dtype != tensor.dtype:
            raise ModelError(f"{self._name}: '{tensor.name}' is {array.dtype}; the engine's is {tensor.dtype}")
        fits = array.ndim == len(tensor.largest) and all(
            have == want or (tensor.free and have <= want)
            for have, want in zip(array.shape, tensor.largest, strict=True)
        )
        if not fits:
            raise ModelError(
                f"{self._name}: '{tensor.name}' has shape {array.shape}; the engine takes at most {tensor.largest}"
            )
        self._set_shape(tensor.name, array.shape)
        np.copyto(tensor.array(array.shape), array)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        call(self._cuda.cudaMemcpyAsync, tensor.device, tensor.host, array.nbytes, kind, self._stream)

    def _set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if not self._context.set_input_shape(name, shape):
            raise ModelError(f"{self._name}: TensorRT refuses shape {shape} for '{name}': {self._log.last_error}")


def open_engine(plan: EnginePlan, engine: bytes) -> Session:
    """A session of the plan's engine, for calls of any length. Raises as `TensorRTSession`."""
    session = TensorRTSession(plan.library, engine, plan.network.name, plan.precision)
    return ChunkedSession(session, session.max_rows)
