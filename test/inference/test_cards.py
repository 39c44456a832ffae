from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import DetectorCard, ImageInput, MatcherCard, PoseCard, load_card
from keytrack_ros.inference.registry import PACKAGE_MODELS, find_model
from keytrack_ros.skeleton import COCO17
from test import toy

POSE = """\
name: net
task: pose
file: net.onnx
input: {name: x, size: [192, 256], mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375]}
output: heatmaps
joints: coco17
"""


def card(folder: Path, text: str) -> Path:
    file = folder / "net.yaml"
    file.write_text(text)
    return file


def test_a_pose_network_with_hrnets_defaults(tmp_path):
    loaded = load_card(card(tmp_path, POSE))
    assert isinstance(loaded, PoseCard)
    assert (loaded.input.size, loaded.input.color, loaded.input.std[2]) == ((192, 256), "rgb", 57.375)
    assert (loaded.padding, loaded.decoder, loaded.offset, loaded.flip_shift) == (1.25, "quarter", 0.0, 1)
    assert loaded.joints == COCO17


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("task: pose", "task: dance"), "task 'dance' is none of detection, pose, matching"),
        (("output: heatmaps\n", ""), "key 'output' is missing"),
        (("file: net.onnx\n", ""), "key 'file' is missing"),
        (("output: heatmaps", "output: heatmaps\ncolour: red"), "unknown key 'colour'; known are name, file"),
        (
            ("joints: coco17", "joints: coco18"),
            "joint set 'coco18' is none of posetrack15, posetrack17, coco17, mpii16",
        ),
        (("joints: coco17", "joints: [nose, tail]"), "unknown joint 'tail'"),
        (("joints: coco17", "joints: coco17\ndecoder: magic"), "decoder 'magic' is none of quarter, dark, argmax"),
        (("size: [192, 256]", "size: [192]"), r"size \[192\] is not \[width, height\]"),
        (("size: [192, 256]", "size: big"), "size: a list is needed"),
        (("size: [192, 256]", "size: [192.5, 256]"), "size: 192.5 is not of type int"),
        (("size: [192, 256]", "size: [192, 256], color: pink"), "color 'pink' is neither rgb nor bgr"),
        (("std: [58.395, 57.12, 57.375]", "std: [0, 1, 1]"), "mean and std need 3 numbers each, std positive"),
        (("joints: coco17", "joints: coco17\npadding: 0.5"), "padding must be at least 1"),
        (("joints: coco17", "joints: coco17\ndark_kernel: 10"), "dark_kernel 10 is not an odd number of at least 3"),
        (("joints: coco17", "joints: coco17\nfigures: [1, 2]"), "figures: a mapping of names to numbers or texts"),
        (("joints: coco17", "joints: coco17\nfigures: {a: [1]}"), "figures: a mapping of names to numbers or texts"),
        (("name: net", "name: [net"), "not YAML"),
        ((POSE, "just words"), "a model file is a YAML mapping"),
    ],
)
def test_malformed_model_files_are_refused_with_file_and_key(tmp_path, change, message):
    file = card(tmp_path, POSE.replace(*change))
    with pytest.raises(ModelError, match=message) as error:
        load_card(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_only_grids_of_cells_may_have_a_free_size_in_multiples_of_their_strides():
    card = DetectorCard(name="d", file="d.onnx", input=ImageInput("image", (544, 416), free_size=True), output="rows")
    assert card.input_sizes == ((288, 224), (544, 416), (1088, 832))
    assert replace(card, input=ImageInput("image", (544, 416))).input_size((1280, 720)) == (544, 416)
    with pytest.raises(ModelError, match=r"size \[540, 416\] is not in multiples of 32"):
        replace(card, input=ImageInput("image", (540, 416), free_size=True))
    with pytest.raises(ModelError, match="decoder end2end has one size of input"):
        replace(card, decoder="end2end")


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_no_image_gets_a_larger_input_or_a_smaller_scale(width, height):
    card = DetectorCard(name="d", file="d.onnx", input=ImageInput("image", (544, 416), free_size=True), output="rows")
    found = card.input_size((width, height))
    assert found[0] % 32 == found[1] % 32 == 0
    assert found[0] * found[1] <= 544 * 416
    assert min(found[0] / width, found[1] / height) >= min(544 / width, 416 / height)


def test_a_missing_model_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere\.yaml: No such file or directory"):
        load_card(tmp_path / "nowhere.yaml")


def test_a_damaged_network_is_refused_with_both_hashes(tmp_path):
    toy.write_networks(tmp_path)
    network = tmp_path / f"{toy.DETECTOR}.onnx"
    expected = find_model(DetectorCard, toy.DETECTOR, [tmp_path]).sha256
    network.write_bytes(network.read_bytes()[:-1])
    with pytest.raises(
        ModelError, match=rf"damaged or not {toy.DETECTOR}: SHA-256 is [0-9a-f]{{64}}, expected {expected}"
    ):
        find_model(DetectorCard, toy.DETECTOR, [tmp_path])


def test_folders_are_searched_in_order_then_the_environment(tmp_path, monkeypatch):
    first, second = toy.write_networks(tmp_path / "a"), toy.write_networks(tmp_path / "b")
    assert find_model(DetectorCard, toy.DETECTOR, [second, first]).path.parent == second
    monkeypatch.setenv("KEYTRACK_MODELS", f"{tmp_path / 'none'}:{first}")
    assert find_model(DetectorCard, toy.DETECTOR).path.parent == first
    assert find_model(DetectorCard, toy.DETECTOR, [second]).path.parent == second
    assert find_model(PoseCard, str(second / f"{toy.ESTIMATOR}.yaml")).path.parent == second


def test_auto_takes_the_first_network_whose_file_is_there(tmp_path, monkeypatch):
    monkeypatch.delenv("KEYTRACK_MODELS", raising=False)
    folder = toy.write_networks(tmp_path)
    (folder / "a_first.yaml").write_text((folder / f"{toy.DETECTOR}.yaml").read_text().replace(toy.DETECTOR, "a_first"))
    assert find_model(DetectorCard, "auto", [folder]).name == toy.DETECTOR  # a_first.onnx does not exist


def test_auto_passes_over_networks_that_want_to_be_named(tmp_path, monkeypatch):
    monkeypatch.delenv("KEYTRACK_MODELS", raising=False)
    folder = toy.write_networks(tmp_path)
    copy = (folder / f"{toy.DETECTOR}.yaml").read_text().replace(f"name: {toy.DETECTOR}", "name: a_first\nauto: false")
    (folder / "a_first.yaml").write_text(copy)
    assert find_model(DetectorCard, "auto", [folder]).name == toy.DETECTOR
    assert find_model(DetectorCard, "a_first", [folder]).name == "a_first"


def test_figures_are_kept_as_they_are(tmp_path):
    loaded = load_card(card(tmp_path, POSE + "figures: {PCKh@0.5 on the clip: 0.912, parameters: 5, data: COCO}\n"))
    assert loaded.figures == {"PCKh@0.5 on the clip": 0.912, "parameters": 5, "data": "COCO"}


def test_a_model_file_of_another_task_is_refused(tmp_path):
    toy.write_networks(tmp_path)
    with pytest.raises(ModelError, match="describes a network for detection, not pose"):
        find_model(PoseCard, str(tmp_path / f"{toy.DETECTOR}.yaml"))


def test_every_model_file_of_the_package_is_well_formed():
    cards = {file.stem: load_card(file) for file in PACKAGE_MODELS.glob("*.yaml")}
    assert {name: loaded.name for name, loaded in cards.items()} == {name: name for name in cards}
    assert isinstance(cards["yolox_nano_person"], DetectorCard)
    assert isinstance(cards["efficientpose_ii_lite"], PoseCard)
    default, paper = cards["pose_entailment"], cards["pose_entailment_paper"]
    assert isinstance(default, MatcherCard)
    assert isinstance(paper, MatcherCard)
    assert (default.input, default.auto) == ("tracks", True)
    assert (paper.input, paper.auto) == ("pairs", False)
