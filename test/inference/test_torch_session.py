"""The torch backend; the same code runs on CUDA, where there is a GPU."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from keytrack_ros.errors import ModelError
from keytrack_ros.estimation.hrnet import build_hrnet
from keytrack_ros.inference.session import BackendError, DeviceMemoryError
from keytrack_ros.inference.torch_session import TorchNetwork, TorchSession

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")),
]


@pytest.fixture(scope="module")
def hrnet() -> nn.Module:
    torch.manual_seed(0)
    return build_hrnet("w16_small", outputs=15).eval()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("half", [False, True])
def test_it_gives_what_the_network_gives(hrnet, device, half):
    session = TorchSession(TorchNetwork(lambda: copy.deepcopy(hrnet), {"crops": (3, 64, 64)}, "heatmaps"), device, half)
    assert session.input_shapes == {"crops": (None, 3, 64, 64)}
    assert session.output_names == ["heatmaps"]
    crops = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = hrnet(torch.from_numpy(crops)).numpy()
    found = session.run({"crops": crops})["heatmaps"]
    assert found.dtype == np.float32
    tolerance = 2e-2 if half and device == "cuda" else 1e-4
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()
    session.close()
    with pytest.raises(ModelError, match="closed"):
        session.run({"crops": crops})


def test_wrong_inputs_are_refused(hrnet):
    session = TorchSession(TorchNetwork(lambda: hrnet, {"crops": (3, 64, 64)}, "heatmaps"), "cpu", half=False)
    for inputs in (
        {"images": np.zeros((1, 3, 64, 64), np.float32)},
        {"crops": np.zeros((1, 3, 64, 65), np.float32)},
        {"crops": np.zeros((1, 3, 64, 64))},
    ):
        with pytest.raises(ModelError, match=r"'crops' of \(N, \*\(3, 64, 64\)\) of float32, int64, bool are needed"):
            session.run(inputs)


def test_out_of_memory_is_told_from_other_errors():
    class Greedy(nn.Module):
        def forward(self, _images):
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    session = TorchSession(TorchNetwork(Greedy, {"x": (1, 2, 2)}, "y"), "cpu", half=False)
    with pytest.raises(DeviceMemoryError, match=r"torch: CUDA out of memory\. Tried to allocate 20 GiB"):
        session.run({"x": np.zeros((1, 1, 2, 2), np.float32)})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_cuda_is_refused(hrnet):
    with pytest.raises(BackendError, match="cannot use the GPU"):
        TorchSession(TorchNetwork(lambda: hrnet, {"x": (3, 64, 64)}, "y"), "cuda", half=True)
