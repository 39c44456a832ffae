"""Image networks as ONNX files: same numbers as torch, weights of half the size, model files that read back."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import DetectorCard, ImageInput, load_card, write_card
from keytrack_ros.inference.convolutions import convolutions
from keytrack_ros.inference.precision import folded
from keytrack_ros.training.common.export import export_onnx, with_half_weights


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 2, 3))


def test_any_number_of_images_gives_what_torch_gives(tmp_path: Path) -> None:
    network, file = small_network(), tmp_path / "net.onnx"
    export_onnx(network, file, "image", (3, 16, 24), "maps", weight_bits=32)
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = np.random.default_rng(count).random((count, 3, 16, 24), np.float32)
        with torch.no_grad():
            expected = network.eval()(torch.from_numpy(images)).numpy()
        assert np.allclose(session.run(["maps"], {"image": images})[0], expected, atol=1e-5)


def test_half_weights_are_stored_as_fp16_and_used_as_fp32(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    export_onnx(small_network(), file, "image", (3, 16, 24), "maps")
    stored = {w.name: w.data_type for w in onnx.load(file).graph.initializer}
    kernels = [name for name in stored if name.endswith(".half")]
    assert len(kernels) == 2  # 432 and 288 weights; biases stay
    assert all(stored[name] == onnx.TensorProto.FLOAT16 for name in kernels)
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": np.zeros((1, 3, 16, 24), np.float32)})[0].dtype == np.float32


def test_byte_weights_have_a_factor_for_each_channel_and_are_read_back_rounded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 2, 1))
    with torch.no_grad():
        network[0].weight[0] = 0  # a channel that is not used
        network[0].weight[1] *= 100
    file = tmp_path / "net.onnx"
    export_onnx(network, file, "image", (3, 16, 24), "maps", weight_bits=8)
    stored = {w.name: w for w in onnx.load(file).graph.initializer}
    (byte,) = [name for name in stored if name.endswith(".byte")]  # the output layer of 128 weights stays
    assert stored[byte].data_type == onnx.TensorProto.INT8
    assert file.stat().st_size < 64 * 27 * 1.8 + 1500
    weights, found = network[0].weight.detach().numpy(), convolutions(file)
    largest = np.abs(weights).max((1, 2, 3), keepdims=True)
    assert (np.abs(found["0.weight"] - weights) <= 0.501 * largest / 127).all()
    assert np.array_equal(found["2.weight"], network[2].weight.detach().numpy())
    plain = {w.name: onnx.numpy_helper.to_array(w) for w in folded(file).graph.initializer}
    assert np.array_equal(plain[byte.removesuffix(".byte")], found["0.weight"])
    with torch.no_grad():
        network[0].weight.copy_(torch.from_numpy(found["0.weight"]))
        images = torch.randn(2, 3, 16, 24)
        expected = network(images).numpy()
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"image": images.numpy()})[0], expected, atol=1e-4)


def test_weights_that_fp16_cannot_hold_stay_fp32() -> None:
    weights = np.full(300, 1e6, np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [300])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [300])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    result = onnx.load_from_string(with_half_weights(model.SerializeToString()))
    assert [w.name for w in result.graph.initializer] == ["w"]
    assert not [node for node in result.graph.node if node.op_type == "Cast"]


class Unstable(nn.Module):
    """Answers differently each time, as a graph that was traced wrongly would."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0.0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return image * self.calls


def test_a_graph_that_differs_from_torch_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"net\.onnx: the FP32 graph differs by .* nothing was written"):
        export_onnx(Unstable(), tmp_path / "net.onnx", "image", (3, 8, 8), "maps")
    assert list(tmp_path.iterdir()) == []


class WrongForBright(nn.Module):
    """Traced on zeros, it forgets what it does with bright images."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * 2 if float(image.max()) > 100 else image


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_the_graph_is_compared_on_the_callers_images_too(tmp_path: Path) -> None:
    dark, bright = (np.full((1, 3, 8, 8), value, np.float32) for value in (1, 200))
    export_onnx(WrongForBright(), tmp_path / "net.onnx", "image", (3, 8, 8), "maps", samples=[dark])
    with pytest.raises(ModelError, match=r"the FP32 graph differs by 5\.0e-01 of its range"):
        export_onnx(WrongForBright(), tmp_path / "other.onnx", "image", (3, 8, 8), "maps", samples=[dark, bright])
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


def test_a_written_card_reads_back(tmp_path: Path) -> None:
    card = DetectorCard(
        name="d",
        file="d.onnx",
        licence="none",
        input=ImageInput("image", (64, 32), "rgb", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)),
        output="rows",
        strides=(8, 16),
    )
    write_card(card, tmp_path / "d.yaml")
    assert load_card(tmp_path / "d.yaml") == card
