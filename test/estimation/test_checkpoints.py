"""Checkpoints in the styles of their publishers, made by renaming the weights of a network of ours."""

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from keytrack_ros.errors import ModelError
from keytrack_ros.estimation.checkpoints import load_hrnet
from keytrack_ros.estimation.hrnet import build_hrnet

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Of a small HRNet with 17 outputs; no two tensors are alike."""
    torch.manual_seed(3)
    network = build_hrnet("w16_small", 17)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return dict(network.state_dict())


def flat(weights: Weights) -> npt.NDArray[np.float32]:
    """All numbers in a row, without the counters."""
    return np.concatenate([v.numpy().ravel() for k, v in weights.items() if not k.endswith("num_batches_tracked")])


def mmpose0(weights: Weights) -> Any:
    renamed = {
        f"keypoint_head.{name}" if name.startswith("final_layer") else f"backbone.{name}": value
        for name, value in weights.items()
    }
    return {"meta": {"epoch": 210, "config": "model = dict()", "CLASSES": None}, "state_dict": OrderedDict(renamed)}


def mmpose1(weights: Weights) -> Any:
    renamed = {
        f"head.{name}" if name.startswith("final_layer") else f"backbone.{name}": value
        for name, value in weights.items()
    }
    renamed["data_preprocessor.mean"] = torch.zeros(3, 1, 1)
    about = {
        "sigmas": np.full(17, 0.05, np.float32),
        "pairs": np.arange(4),
        "names": {0: "nose"},
        "best": np.float64(1),
    }
    return {"meta": {"dataset_meta": about}, "state_dict": renamed}


def in_parallel(weights: Weights) -> Weights:
    return {f"module.{name}": value for name, value in weights.items()}


STYLES: dict[str, Callable[[Weights], Any]] = {
    "official": lambda weights: OrderedDict(weights),
    "parallel": in_parallel,
    "nested": lambda weights: {"epoch": 3, "state_dict": in_parallel(weights), "perf": np.float64(0.7)},
    "best": lambda weights: {"best_state_dict": weights, "state_dict": {"module.x": torch.zeros(1)}, "optimizer": {}},
    "mmpose 0.x": mmpose0,
    "mmpose 1.x": mmpose1,
    "without counters": lambda weights: {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")},
    "half precision": lambda weights: {k: v.half() if v.is_floating_point() else v for k, v in weights.items()},
}


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_the_same_network(tmp_path: Path, weights: Weights, style: str, old_format: bool) -> None:
    file = tmp_path / "net.pth"
    torch.save(STYLES[style](weights), file, _use_new_zipfile_serialization=not old_format)
    loaded = load_hrnet(file)
    assert (loaded.variant, loaded.outputs) == ("w16_small", 17)
    assert not loaded.network.training
    np.testing.assert_allclose(flat(loaded.network.state_dict()), flat(weights), rtol=1e-3, atol=1e-4)


def test_notes_written_with_numpy_1_are_read_too(tmp_path: Path, weights: Weights) -> None:
    file = tmp_path / "net.pth"
    torch.save(mmpose1(weights), file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    assert b"numpy._core.multiarray" in content or b"numpy.core.multiarray" in content
    file.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert load_hrnet(file).outputs == 17


@pytest.mark.parametrize(("variant", "outputs"), [("w48", 17), ("w32", 15), ("w16_small", 16)])
def test_variant_and_outputs_are_seen_from_the_shapes(tmp_path: Path, variant: str, outputs: int) -> None:
    file = tmp_path / "net.pth"
    with torch.device("meta"):
        shapes = build_hrnet(variant, outputs).state_dict()
    zero = torch.zeros(())  # one number that all entries share: a small file
    torch.save({name: zero.expand(value.shape) for name, value in shapes.items()}, file)
    loaded = load_hrnet(file)
    assert (loaded.variant, loaded.outputs) == (variant, outputs)
    assert sum(p.numel() for p in loaded.network.parameters()) == sum(
        value.numel() for name, value in shapes.items() if not name.endswith(("_mean", "_var", "_tracked"))
    )


def saved(folder: Path, content: Any) -> Path:
    file = folder / "net.pth"
    torch.save(content, file)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(ModelError) as error:
        load_hrnet(file)
    text = str(error.value)
    assert text.startswith(f"{file}: ")
    assert "\n" not in text
    return text.removeprefix(f"{file}: ")


def test_missing_unexpected_and_misshaped_entries_are_named(tmp_path: Path, weights: Weights) -> None:
    changed = dict(weights)
    for name in [name for name in weights if name.startswith("layer1.0.conv")]:
        del changed[name]
    changed |= {f"extra{k}": torch.zeros(1) for k in range(6)}
    changed["bn1.bias"] = torch.zeros(7)
    assert refusal(saved(tmp_path, changed)) == (
        "not the weights of HRNet w16_small; missing: layer1.0.conv1.weight, layer1.0.conv2.weight, "
        "layer1.0.conv3.weight; unexpected: extra0, extra1, extra2, extra3 and 2 more; "
        "wrong shape: bn1.bias [7] instead of [32]"
    )


def test_another_width_is_refused(tmp_path: Path, weights: Weights) -> None:
    text = refusal(saved(tmp_path, weights | {"final_layer.weight": torch.zeros(17, 40, 1, 1)}))
    known = "w48 (48), w32 (32), w16_small (16), w24_small (24)"
    assert text == f"its final layer reads 40 channels; HRNets that are known: {known}"


def test_a_head_of_several_layers_is_refused(tmp_path: Path, weights: Weights) -> None:
    renamed = mmpose0(weights)["state_dict"]
    renamed["keypoint_head.final_layer.3.weight"] = renamed.pop("keypoint_head.final_layer.weight")
    text = refusal(saved(tmp_path, renamed))
    assert text.startswith("not an HRNet for poses: it has no convolution 'final_layer'; its entries are conv1.weight,")
    renamed["keypoint_head.deconv_layers.0.weight"] = torch.zeros(16, 16, 4, 4)
    assert "(its head has several layers)" in refusal(saved(tmp_path, renamed))


def test_an_image_classifier_is_refused(tmp_path: Path, weights: Weights) -> None:
    backbone = {name: value for name, value in weights.items() if not name.startswith("final_layer")}
    text = refusal(saved(tmp_path, backbone | {"classifier.weight": torch.zeros(1000, 16)}))
    assert text.startswith("not an HRNet for poses: it has no convolution 'final_layer' (it classifies images)")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2, 3], "not a state_dict: it holds a list without weights"),
        (torch.zeros(3), "not a state_dict: it holds a Tensor without weights"),
        ({"epoch": 3}, "not a state_dict: it holds a dict without weights"),
        ({"a": torch.zeros(1), "b": 5, "c": "x"}, "not a state_dict: b, c are not tensors"),
        ({"x": torch.zeros(1), "module.x": torch.zeros(1)}, "'x' stands in it twice, once as 'module.x'"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    assert refusal(saved(tmp_path, content)) == message


class Trap:
    """Unpickled without care, it would make a folder."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def test_nothing_in_a_file_is_executed(tmp_path: Path, weights: Weights) -> None:
    sprung = tmp_path / "sprung"
    text = refusal(saved(tmp_path, {"state_dict": weights, "meta": Trap(sprung)}))
    assert text.startswith("not a state_dict, and not read further: Trying to load unsupported GLOBAL posix.mkdir")
    plain = tmp_path / "plain.pth"
    plain.write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    assert refusal(plain).startswith("not a state_dict, and not read further: ")
    assert not sprung.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    text = refusal(saved(tmp_path, build_hrnet("w16_small")))
    assert "Unsupported global: GLOBAL keytrack_ros.estimation.hrnet.HRNet" in text


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off", b"\x80\x02}"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "net.pth"
    file.write_bytes(content)
    assert refusal(file).startswith(
        ("damaged, or not a checkpoint of torch: ", "not a state_dict, and not read further")
    )


def test_a_file_cut_off_is_refused(tmp_path: Path, weights: Weights) -> None:
    file = saved(tmp_path, weights)
    file.write_bytes(file.read_bytes()[:-1000])
    assert refusal(file).startswith("damaged, or not a checkpoint of torch: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere.pth") == "No such file or directory"
