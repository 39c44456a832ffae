"""Graphs in other precisions. ONNX Runtime computes FP16 graphs on the CPU, too: what is lost can be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.precision import graph_in
from keytrack_ros.inference.quantization import CPU, TENSORRT, quantize
from keytrack_ros.inference.registry import PACKAGE_MODELS, find_model
from keytrack_ros.inference.session import BackendError
from keytrack_ros.matching.sessions import example_inputs

RNG = np.random.default_rng(0)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two convolutions; the weights of the first are stored as FP16 and cast, as our exports have them."""
    first = RNG.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float16)
    second = RNG.normal(0, 0.3, (4, 8, 1, 1)).astype(np.float32)
    bias = RNG.normal(0, 0.1, 4).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["w1.half"], ["w1"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["image", "w1"], ["a"], pads=[1, 1, 1, 1], name="first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2", "bias"], ["maps"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["n", 4, 16, 16])],
        [numpy_helper.from_array(v, n) for n, v in (("w1.half", first), ("w2", second), ("bias", bias))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def run(graph: bytes, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Computes in FP32 between quantisation and dequantisation: 8-bit kernels saturate on CPUs without VNNI."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run(None, inputs)[0]


def types(graph: bytes) -> dict[str, int]:
    """Types of everything in a graph by name, after shape inference."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph)).graph
    values = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.input, *inferred.output)}
    return values | {item.name: item.data_type for item in inferred.initializer}


def test_fp32_is_the_network_with_its_casts_of_weights_carried_out(small):
    graph = graph_in(small, "fp32")
    assert [node.op_type for node in onnx.load_from_string(graph).graph.node] == ["Conv", "Relu", "Conv"]
    assert set(types(graph).values()) == {TensorProto.FLOAT}
    image = {"image": RNG.normal(0, 1, (2, 3, 16, 16)).astype(np.float32)}
    np.testing.assert_allclose(run(graph, image), run(small.read_bytes(), image), atol=1e-5)


def test_fp16_computes_in_fp16_and_keeps_inputs_and_outputs(small):
    graph = graph_in(small, "fp16")
    found = types(graph)
    assert (found.pop("image"), found.pop("maps")) == (TensorProto.FLOAT, TensorProto.FLOAT)
    assert set(found.values()) == {TensorProto.FLOAT16}
    image = {"image": RNG.normal(0, 1, (2, 3, 16, 16)).astype(np.float32)}
    np.testing.assert_allclose(run(graph, image), run(small.read_bytes(), image), atol=0.02)


@pytest.mark.parametrize("name", ["pose_entailment", "pose_entailment_paper"])
def test_fp16_of_a_shipped_matcher_moves_no_probability_by_more_than_5e_3(name):
    card = find_model(MatcherCard, name, [PACKAGE_MODELS])
    file = card.path
    names = {item.name for item in ort.InferenceSession(file, providers=["CPUExecutionProvider"]).get_inputs()}
    inputs = {name: array for name, array in example_inputs(card, 512).items() if name in names}

    def probabilities(graph: bytes) -> np.ndarray:
        logits = run(graph, inputs)
        return 1 / (1 + np.exp(-(logits if logits.ndim == 1 else logits[:, 1] - logits[:, 0])))

    exact, half = probabilities(file.read_bytes()), probabilities(graph_in(file, "fp16"))
    assert np.ptp(exact) > 0.1  # they tell something
    assert np.abs(half - exact).max() < 5e-3


def test_int8_of_tensorrt_is_explicit_symmetric_and_close(small):
    batches = [{"image": RNG.normal(0, 1, (4, 3, 16, 16)).astype(np.float32)} for _ in range(8)]
    graph = quantize(small, batches, TENSORRT)
    model = onnx.load_from_string(graph).graph
    kinds = [node.op_type for node in model.node]
    assert kinds.count("QuantizeLinear") >= 2
    constants = {item.name: numpy_helper.to_array(item) for item in model.initializer}
    for node in model.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) == 3:
            assert constants[node.input[2]].dtype == np.int8
            assert not constants[node.input[2]].any()  # TensorRT knows no zero points
        if node.op_type == "Conv" and len(node.input) == 3:
            assert constants[node.input[2]].dtype == np.float32
    scales = [constants[n.input[1]] for n in model.node if n.op_type == "DequantizeLinear" and n.input[0] in constants]
    assert sorted(scale.size for scale in scales) == [4, 8]  # weights: one for each channel
    expected = run(small.read_bytes(), batches[0])
    assert np.abs(run(graph, batches[0]) - expected).max() < 0.05 * np.abs(expected).max()


def test_int8_of_the_cpu_has_unsigned_activations_and_spares_the_named_nodes(small):
    batches = [{"image": RNG.normal(0, 1, (4, 3, 16, 16)).astype(np.float32)} for _ in range(8)]
    graph = quantize(small, batches, CPU, fp32_nodes=["second"])
    model = onnx.load_from_string(graph).graph
    constants = {item.name: numpy_helper.to_array(item) for item in model.initializer}
    zero_points = [constants[n.input[2]] for n in model.node if n.op_type == "QuantizeLinear"]
    assert {zero.dtype for zero in zero_points} == {np.dtype(np.uint8)}
    assert constants["w2"].dtype == np.float32  # of the node that stays FP32
    assert "w1" not in constants
    expected = run(small.read_bytes(), batches[0])
    assert np.abs(run(graph, batches[0]) - expected).max() < 0.05 * np.abs(expected).max()


def test_int8_without_images_and_what_is_no_network(tmp_path):
    with pytest.raises(BackendError, match="needs images"):
        graph_in(tmp_path / "any.onnx", "int8")
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    for convert in (lambda file: graph_in(file, "fp16"), lambda file: quantize(file, [], TENSORRT)):
        with pytest.raises(ModelError, match=r"broken\.onnx: not a network"):
            convert(tmp_path / "broken.onnx")
