"""Networks whose input is not what their model file says are refused before anything runs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from keytrack_ros.errors import ModelError
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.inference.cards import ImageInput, PoseCard
from keytrack_ros.inference.images import open_image_network
from keytrack_ros.inference.options import InferenceOptions
from test import toy


def network(folder: Path, shape: list[int | str], name: str = "crops", extra: bool = False) -> PoseCard:
    """A network that gives back its input, and a card that says [N, 3, 64, 48]."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
    if extra:
        inputs.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, [1]))
    output = helper.make_tensor_value_info("maps", TensorProto.FLOAT, shape)
    graph = helper.make_graph([helper.make_node("Identity", [name], ["maps"])], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "net.onnx")
    return PoseCard(
        "net",
        "net.onnx",
        path=folder / "net.onnx",
        input=ImageInput("crops", (48, 64)),
        output="maps",
        joints=("nose",),
    )


@pytest.mark.parametrize("shape", [["n", 3, 64, 48], [4, 3, 64, 48], ["n", 3, "h", "w"]])
def test_free_and_fixed_axes_that_fit(tmp_path: Path, shape: list[int | str]) -> None:
    session = open_image_network(network(tmp_path, shape), InferenceOptions(threads=1))
    crops = np.zeros((4, 3, 64, 48), np.float32)
    assert session.run({"crops": crops})["maps"].shape == (4, 3, 64, 48)


@pytest.mark.parametrize(
    "unexpected",
    [
        {"shape": ["n", 3, 48, 64]},
        {"shape": ["n", 1, 64, 48]},
        {"shape": ["n", 64, 48, 3]},
        {"shape": ["n", 3]},
        {"shape": ["n", 3, 64, 48], "name": "image"},
        {"shape": ["n", 3, 64, 48], "extra": True},
    ],
)
def test_unexpected_inputs_are_named_with_what_was_expected(tmp_path: Path, unexpected: dict[str, object]) -> None:
    card = network(tmp_path, **unexpected)  # type: ignore[arg-type]
    with pytest.raises(
        ModelError, match=r"net\.onnx: inputs are \{.*\}, but the model file of net names 'crops' with \[N, 3, 64, 48\]"
    ):
        open_image_network(card, InferenceOptions(threads=1))


def test_a_pose_network_with_another_size_than_its_model_file_says(tmp_path: Path) -> None:
    toy.write_networks(tmp_path)
    card = (tmp_path / f"{toy.ESTIMATOR}.yaml").read_text()
    assert "[48, 64]" in card
    (tmp_path / "other.yaml").write_text(card.replace("[48, 64]", "[64, 64]"))
    with pytest.raises(ModelError, match=r"'crops' with \[N, 3, 64, 64\]"):
        Estimator(EstimatorOptions(model=str(tmp_path / "other.yaml")))
