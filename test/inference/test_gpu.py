from __future__ import annotations

import inspect
import re
import sys

import pytest

from keytrack_ros.inference import gpu
from keytrack_ros.inference.session import BackendError, DeviceMemoryError
from test.inference import stand_in_cuda


@pytest.mark.usefixtures("gpu_machine")
def test_the_gpu_and_its_capability():
    assert gpu.find_gpu() == gpu.Gpu("Stand-in GPU", "8.7")


def test_no_driver(monkeypatch):
    monkeypatch.setattr(gpu, "DRIVER", "libno_such_driver.so.1")
    with pytest.raises(BackendError, match=r"there is no NVIDIA driver \(libno_such_driver\.so\.1\)"):
        gpu.find_gpu()


@pytest.mark.usefixtures("gpu_machine")
def test_driver_too_old_for_the_installed_cuda(monkeypatch):
    monkeypatch.setattr(stand_in_cuda, "driver", 11080)
    with pytest.raises(BackendError, match=r"InsufficientDriver.*supports CUDA 11\.8, installed is CUDA 12\.9"):
        gpu.find_gpu()


@pytest.mark.usefixtures("gpu_machine")
def test_gpus_hidden_from_cuda(monkeypatch):
    monkeypatch.setattr(stand_in_cuda, "devices", 0)
    with pytest.raises(BackendError, match="CUDA shows no GPU"):
        gpu.find_gpu()


@pytest.mark.usefixtures("gpu_machine")
def test_cuda_bindings_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(BackendError, match=r"cuda-bindings is not installed .*pip install 'keytrack_ros\[gpu\]'"):
        gpu.find_gpu()


@pytest.mark.usefixtures("gpu_machine")
def test_out_of_memory_is_told_from_other_errors(monkeypatch):
    monkeypatch.setattr(stand_in_cuda, "limit", 100)
    with pytest.raises(DeviceMemoryError, match="cudaMalloc: cudaErrorMemoryAllocation"):
        gpu.call(stand_in_cuda.cudaMalloc, 101)


def test_the_real_module_without_a_driver_says_so_and_lives():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    if int(runtime.cudaGetDeviceCount()[0]) == 0:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendError, match=r"cudaGetDeviceCount: .* \(cudaError\w+\)"):
        gpu.call(runtime.cudaGetDeviceCount)


def test_the_stand_in_has_the_functions_of_the_real_module():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    functions = [(n, f) for n, f in vars(stand_in_cuda).items() if inspect.isfunction(f)]
    assert len(functions) == 13
    for name, function in functions:
        real = re.match(rf"{name}\((.*?)\)", getattr(runtime, name).__doc__)
        assert real is not None, name
        parameters = [re.split(r"[ :]", part.strip())[0 if ":" in part else -1] for part in real[1].split(",") if part]
        assert parameters == list(inspect.signature(function).parameters), name
    for kind in ("cudaError_t", "cudaMemcpyKind"):
        mine, real_kind = getattr(stand_in_cuda, kind), getattr(runtime, kind)
        assert {m.name: m.value for m in mine} == {m.name: int(getattr(real_kind, m.name)) for m in mine}
    properties = runtime.cudaDeviceProp()
    assert all(hasattr(properties, name) for name in ("name", "major", "minor"))
