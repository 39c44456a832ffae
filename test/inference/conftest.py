"""A machine with a GPU: NVIDIA's real builder, and stand-ins for the runtime, CUDA and the driver."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keytrack_ros.inference import gpu
from test.inference import stand_in_cuda
from test.toy import write_networks


@pytest.fixture
def gpu_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The cache is empty; gives the folder of engines."""
    from test.inference import stand_in_tensorrt

    monkeypatch.setitem(sys.modules, "tensorrt", stand_in_tensorrt)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", stand_in_cuda)
    monkeypatch.setattr(gpu, "DRIVER", "libc.so.6")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stand_in_tensorrt.built.clear()
    stand_in_cuda.memory.clear()  # of a test that has failed
    yield tmp_path / "cache" / "keytrack_ros" / "engines"
    assert not stand_in_cuda.memory, "memory of the device was not given back"


@pytest.fixture(scope="session")
def toy_networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy detector and pose network."""
    return write_networks(tmp_path_factory.mktemp("toy_networks"))
