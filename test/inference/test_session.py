import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import ImageInput
from keytrack_ros.inference.images import network_input
from keytrack_ros.inference.session import BackendError, OnnxSession
from test import toy


def test_shapes_outputs_and_wrong_inputs(tmp_path):
    toy.write_networks(tmp_path)
    session = OnnxSession(tmp_path / f"{toy.ESTIMATOR}.onnx", threads=1)
    assert session.input_shapes == {"crops": (None, 3, 64, 48)}
    output = session.run({"crops": np.full((2, 3, 64, 48), 255, np.float32)})
    assert output["heatmaps"].shape == (2, 15, 32, 24)
    np.testing.assert_allclose(output["heatmaps"].max((2, 3)), 1, rtol=1e-4)
    with pytest.raises(ModelError, match=r"toy_pose\.onnx: .*crops"):
        session.run({"crops": np.zeros((2, 3, 64, 49), np.float32)})
    session.close()
    with pytest.raises(ModelError, match="the session is closed"):
        session.run({})


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07"])
def test_what_is_not_a_network_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "broken.onnx"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.onnx: not a network that ONNX Runtime can load") as error:
        OnnxSession(file)
    assert "\n" not in str(error.value)


def test_network_input_normalises_in_the_networks_channel_order():
    image = np.zeros((2, 2, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 10, 20, 30  # blue, green, red
    about = ImageInput("x", (2, 2), "rgb", mean=(10.0, 10.0, 10.0), std=(2.0, 4.0, 5.0))
    batch = network_input([image, image], about)
    assert batch.shape == (2, 3, 2, 2)
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch[1, :, 0, 0], [10, 2.5, 0])
    np.testing.assert_allclose(network_input([image], ImageInput("x", (2, 2), "bgr"))[0, :, 0, 0], [10, 20, 30])


def test_an_operator_that_onnx_runtime_lacks_is_named(tmp_path):
    node = helper.make_node("Teleport", ["x"], ["y"], domain="elsewhere")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("elsewhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match=r"odd\.onnx: not a network that ONNX Runtime can load: .*Teleport"):
        OnnxSession(tmp_path / "odd.onnx")


def test_a_provider_whose_libraries_do_not_fit_is_refused_and_not_replaced_in_silence(tmp_path, monkeypatch):
    # What a wrong CUDA version does: the provider is there by name, and ONNX Runtime quietly takes the CPU instead.
    toy.write_networks(tmp_path)
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("ONNX Runtime has its CUDA provider here")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(BackendError, match="cannot start; CUDA and cuDNN must be those that onnxruntime names"),
    ):
        OnnxSession(tmp_path / f"{toy.ESTIMATOR}.onnx", provider="CUDAExecutionProvider")
