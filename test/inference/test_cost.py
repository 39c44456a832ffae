from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cost import network_cost
from keytrack_ros.inference.registry import PACKAGE_MODELS
from keytrack_ros.training.common.export import with_half_weights
from test import toy


def convolutions() -> onnx.ModelProto:
    # [n, 3, 8, 6] → stride 2, 3x3, 4 channels: [n, 4, 4, 3] → depthwise 3x3: the same → up by 2 to 5 channels
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["p", "b"], ["q"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=4),
        helper.make_node("ConvTranspose", ["q", "c"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    weights = {
        "a": np.ones((4, 3, 3, 3), np.float32),
        "b": np.ones((4, 1, 3, 3), np.float32),
        "c": np.ones((4, 5, 2, 2), np.float32),
    }
    return toy.model(nodes, weights, ("x", ["n", 3, 8, 6]), ("y", ["n", 5, 8, 6]))


def test_convolutions_of_one_image(tmp_path: Path) -> None:
    onnx.save(convolutions(), tmp_path / "net.onnx")
    cost = network_cost(tmp_path / "net.onnx")
    assert cost.multiply_adds == 4 * 4 * 3 * (3 * 9) + 4 * 4 * 3 * 9 + 4 * 4 * 3 * (5 * 4)
    assert cost.parameters == 108 + 36 + 80


def test_weights_stored_as_fp16_count_the_same(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = toy.model(nodes, {"w": np.ones((20, 30), np.float32)}, ("x", ["n", 20]), ("y", ["n", 30]))
    (tmp_path / "half.onnx").write_bytes(with_half_weights(model.SerializeToString()))
    cost = network_cost(tmp_path / "half.onnx")
    assert (cost.parameters, cost.multiply_adds) == (600, 600)


def test_matrix_products(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),  # [n, 5, 20] · [20, 30]
        helper.make_node("Reshape", ["p", "shape"], ["q"]),  # [n, 150]
        helper.make_node("Gemm", ["q", "v"], ["y"], transB=1),  # · [150, 7]
    ]
    constants = {
        "w": np.ones((20, 30), np.float32),
        "shape": np.array([0, 150]),
        "v": np.ones((7, 150), np.float32),
    }
    onnx.save(toy.model(nodes, constants, ("x", ["n", 5, 20]), ("y", ["n", 7])), tmp_path / "net.onnx")
    cost = network_cost(tmp_path / "net.onnx")
    assert cost.multiply_adds == 5 * 30 * 20 + 7 * 150
    assert cost.parameters == 600 + 1050  # the whole numbers of the reshaping are none


def test_the_shipped_matcher_has_the_parameters_of_its_paper_with_five_segments() -> None:
    # 473,218 but for the key bias of the last layer: it adds the same to every score, so the graph is without it.
    assert network_cost(PACKAGE_MODELS / "pose_entailment_paper.onnx").parameters == 473_218 - 128


def test_the_shipped_image_networks_are_counted() -> None:
    assert network_cost(PACKAGE_MODELS / "person_detector.onnx", (544, 416)).multiply_adds == 1_056_765_424
    assert network_cost(PACKAGE_MODELS / "hrnet_w24.onnx").multiply_adds == 849_788_928
    # Stored in 8 bits; batch normalisation is folded, so each pair of its numbers is a bias.
    assert network_cost(PACKAGE_MODELS / "hrnet_w24.onnx").parameters == 2_729_943
    assert network_cost(PACKAGE_MODELS / "person_detector.onnx", (544, 416)).parameters == 976_783 - 2_560


@pytest.mark.parametrize("content", [b"", b"not a network"])
def test_what_is_no_network_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"net\.onnx: not a network") as error:
        network_cost(tmp_path / "net.onnx")
    assert "\n" not in str(error.value)
