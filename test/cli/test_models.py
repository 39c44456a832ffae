"""`keytrack models`: what is fetched, imported and exported is what torch computes, and anything else is refused."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from typer.testing import CliRunner

from keytrack_ros import skeleton
from keytrack_ros.cli.app import app
from keytrack_ros.cli.models_import import ImportRequest, export_network, import_network, parse_size, require_torch
from keytrack_ros.errors import KeytrackError, ModelError, OptionError, OutputError
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.estimation.crops import crop_image, crop_transforms, to_image
from keytrack_ros.estimation.heatmaps import decode
from keytrack_ros.estimation.hrnet import build_hrnet
from keytrack_ros.inference.cards import PoseCard
from keytrack_ros.inference.images import network_input
from keytrack_ros.inference.published import PUBLISHED, PublishedNetwork
from keytrack_ros.inference.registry import find_model
from keytrack_ros.inference.session import OnnxSession
from keytrack_ros.skeleton import INDEX
from test import toy
from test.file_server import FileServer, serving

SIZE = (64, 96)
BOXES = np.array([[300.0, 200, 420, 420], [80, 100, 180, 330]], np.float32)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small networks are slower with several threads of torch, on a busy machine much slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder for networks, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KEYTRACK_MODELS", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "keytrack_ros" / "models"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small HRNets whose heatmaps reach 0..1: h15.pth, h17.pth and, in mmpose's style, h17_coco_96x64.pth."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for outputs in (15, 17):
        torch.manual_seed(outputs)
        network = build_hrnet("w16_small", outputs)
        torch.nn.init.normal_(network.final_layer.weight, std=0.003)
        torch.save(network.state_dict(), folder / f"h{outputs}.pth")
    renamed = {
        f"keypoint_head.{name}" if name.startswith("final_layer") else f"backbone.{name}": value
        for name, value in network.state_dict().items()
    }
    torch.save({"meta": {}, "state_dict": renamed}, folder / "h17_coco_96x64.pth")
    return folder


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    return toy.draw_frame([(360, 310), (130, 215)])


def torch_heatmaps(checkpoint: Path, frame: np.ndarray, card: PoseCard) -> tuple[np.ndarray, np.ndarray]:
    """[2, outputs, h, w] of the two boxes and the crops' transforms, computed by torch."""
    weights = torch.load(checkpoint, weights_only=True)
    network = build_hrnet("w16_small", len(weights["final_layer.bias"])).eval()
    network.load_state_dict(weights)
    transforms = crop_transforms(BOXES, card.input.size, 1.25)
    with torch.no_grad():
        crops = network_input(crop_image(frame, transforms, card.input.size), card.input)
        return network(torch.from_numpy(crops)).numpy(), transforms


def largest_difference(card: PoseCard, checkpoint: Path, frame: np.ndarray) -> float:
    """Between the network's heatmaps and torch's, as a part of torch's largest."""
    expected, transforms = torch_heatmaps(checkpoint, frame, card)
    crops = network_input(crop_image(frame, transforms, card.input.size), card.input)
    found = OnnxSession(card.path, threads=1).run({card.input.name: crops})[card.output]
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_an_imported_checkpoint_is_the_estimator_that_torch_is(
    cache: Path, checkpoints: Path, frame: np.ndarray
) -> None:
    import_network(ImportRequest(checkpoints / "h15.pth", "mine", size=SIZE))
    poses = Estimator(EstimatorOptions(model="mine")).estimate(frame, BOXES)
    card = find_model(PoseCard, "mine")
    heatmaps, transforms = torch_heatmaps(checkpoints / "h15.pth", frame, card)
    points, scores = decode(heatmaps, "quarter", 0)
    np.testing.assert_allclose(poses.keypoints, to_image(points * 4, transforms), atol=1e-3)
    np.testing.assert_allclose(poses.scores, scores, atol=1e-5)
    assert card.joints == skeleton.NAMES
    assert card.figures["parameters"] == sum(p.numel() for p in build_hrnet("w16_small", 15).parameters())
    assert sorted(file.name for file in cache.iterdir()) == ["mine.onnx", "mine.pth", "mine.yaml"]


def test_coco_and_posetrack_heads_end_as_the_fifteen(cache: Path, checkpoints: Path, frame: np.ndarray) -> None:
    assert not cache.exists()
    for name, joints in (("a", "coco17"), ("b", "posetrack17")):
        import_network(ImportRequest(checkpoints / "h17.pth", name, joints=joints, size=SIZE))
    coco, posetrack = (Estimator(EstimatorOptions(model=name)).estimate(frame, BOXES) for name in ("a", "b"))
    heatmaps, transforms = torch_heatmaps(checkpoints / "h17.pth", frame, find_model(PoseCard, "a"))
    points = to_image(decode(heatmaps, "quarter", 0)[0] * 4, transforms)
    # 0 nose, 1 and 2 eyes (COCO) or head_bottom and head_top (PoseTrack), 3 and 4 ears, then the same twelve
    np.testing.assert_allclose(posetrack.keypoints, np.delete(points, [3, 4], 1), atol=1e-3)
    np.testing.assert_allclose(coco.keypoints[:, 3:], points[:, 5:], atol=1e-3)
    middle, nose = points[:, 5:7].mean(1), points[:, 0]
    np.testing.assert_allclose(coco.keypoints[:, INDEX["head_top"]], middle + 1.47 * (nose - middle), atol=0.01)


def test_size_and_joints_are_read_from_the_files_name(cache: Path, checkpoints: Path, frame: np.ndarray) -> None:
    card = import_network(ImportRequest(checkpoints / "h17_coco_96x64.pth", "net"))
    assert card.path.parent == cache
    assert (card.input.size, card.joints) == ((64, 96), skeleton.COCO17)  # names say height x width
    assert largest_difference(card, checkpoints / "h17.pth", frame) < 1e-4


def test_half_weights_take_half_the_room(cache: Path, checkpoints: Path, frame: np.ndarray) -> None:
    whole = import_network(ImportRequest(checkpoints / "h15.pth", "whole", size=SIZE))
    half = import_network(ImportRequest(checkpoints / "h15.pth", "half", size=SIZE, half=True))
    assert half.path.parent == cache
    assert half.path.stat().st_size < 0.6 * whole.path.stat().st_size
    assert 1e-7 < largest_difference(half, checkpoints / "h15.pth", frame) < 5e-3


def test_export_at_another_size_checked_on_an_image(
    cache: Path, checkpoints: Path, frame: np.ndarray, tmp_path: Path
) -> None:
    import_network(ImportRequest(checkpoints / "h15.pth", "mine", size=SIZE))
    assert cache.is_dir()
    cv2.imwrite(str(tmp_path / "frame.png"), frame)
    out = tmp_path / "out" / "large.onnx"
    export_network("mine", out, (96, 128), image=tmp_path / "frame.png")
    card = find_model(PoseCard, str(out.with_suffix(".yaml")))
    assert (card.name, card.input.size, card.path) == ("large", (96, 128), out)
    assert largest_difference(card, checkpoints / "h15.pth", frame) < 1e-4
    with pytest.raises(OutputError, match=r"large\.onnx: exists already"):
        export_network("mine", out)
    assert export_network("mine", out, overwrite=True).input.size == SIZE


def test_a_network_is_replaced_only_if_asked(cache: Path, checkpoints: Path) -> None:
    import_network(ImportRequest(checkpoints / "h15.pth", "mine", size=SIZE))
    second = ImportRequest(checkpoints / "h17.pth", "mine", joints="coco17", size=SIZE)
    with pytest.raises(OutputError, match=r"mine\.yaml: exists already"):
        import_network(second)
    assert len(find_model(PoseCard, "mine").joints) == 15
    import_network(ImportRequest(second.file, "mine", joints="coco17", size=SIZE, overwrite=True))
    assert len(find_model(PoseCard, "mine").joints) == 17
    assert (cache / "mine.pth").read_bytes() == second.file.read_bytes()


def test_an_imported_network_must_be_asked_for(cache: Path, checkpoints: Path, tmp_path: Path) -> None:
    folder = toy.write_networks(tmp_path / "networks")
    import_network(ImportRequest(checkpoints / "h15.pth", "aaa", size=SIZE))
    (folder / "aaa.yaml").write_text((cache / "aaa.yaml").read_text())
    (folder / "aaa.onnx").write_bytes((cache / "aaa.onnx").read_bytes())
    assert find_model(PoseCard, "auto", [folder]).name == toy.ESTIMATOR
    assert find_model(PoseCard, "aaa", [folder]).path == folder / "aaa.onnx"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"file": "h17.pth"},
            "what its 17 outputs show cannot be told from its name; add --joints coco17, posetrack17",
        ),
        ({"file": "h17.pth", "joints": "posetrack15"}, "has 17 outputs, but --joints posetrack15 are 15"),
        ({"joints": "coco18"}, "--joints coco18: none of posetrack15, posetrack17, coco17, mpii16, and no list"),
        ({"joints": "nose,tail"}, "unknown joint 'tail'"),
        ({"size": (60, 96)}, "--size 60x96: HRNet needs multiples of 32"),
        ({"name": "auto"}, "--as auto: a name of letters"),
        ({"name": "pose_entailment"}, "--as pose_entailment: a network of the package has that name; take another"),
        ({"name": "../mine"}, "a name of letters, digits"),
        ({"file": "nowhere.pth"}, r"nowhere\.pth: No such file"),
        ({"file": "nowhere.onnx"}, r"nowhere\.onnx: not a network that ONNX Runtime can load"),
        ({"image": Path("nowhere.png")}, r"nowhere\.png: cannot be read as an image"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing(
    cache: Path, checkpoints: Path, change: dict[str, object], message: str
) -> None:
    request = {"file": "h15.pth", "name": "mine", "size": SIZE, **change}
    request["file"] = checkpoints / str(request["file"])
    with pytest.raises(KeytrackError, match=message) as error:
        import_network(ImportRequest(**request))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert not cache.exists() or list(cache.iterdir()) == []


def onnx_file(folder: Path, outputs: list[str], height: int | str = 96, extra_input: bool = False) -> Path:
    """A network of 15 mean-grey maps for each of the outputs."""
    nodes = [helper.make_node("AveragePool", ["crops"], ["small"], kernel_shape=[4, 4], strides=[4, 4])]
    nodes += [helper.make_node("Conv", ["small", "kernels"], [name]) for name in outputs]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("crops", onnx.TensorProto.FLOAT, ["n", 3, height, 64])]
        + ([value("scale", onnx.TensorProto.FLOAT, [1])] if extra_input else []),
        [value(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.ones((15, 3, 1, 1), np.float32), "kernels")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    file = folder / "foreign.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def test_a_foreign_onnx_file(cache: Path, tmp_path: Path, frame: np.ndarray) -> None:
    file = onnx_file(tmp_path, ["maps"])
    card = import_network(ImportRequest(file, "foreign", joints="posetrack15", decoder="dark", licence="mine"))
    assert (card.input.name, card.input.size, card.output) == ("crops", (64, 96), "maps")
    assert (card.decoder, card.licence) == ("dark", "mine")
    assert (cache / "foreign.onnx").read_bytes() == file.read_bytes()
    assert len(Estimator(EstimatorOptions(model="foreign")).estimate(frame, BOXES)) == 2
    with pytest.raises(ModelError, match="foreign: its torch weights are not kept; the network itself is"):
        export_network("foreign", tmp_path / "out.onnx")


def simcc_file(folder: Path, bins: dict[str, int]) -> Path:
    """A network for crops of 64 x 96 with 15 rows of that many numbers for each of the outputs."""
    nodes = [
        helper.make_node("ReduceMean", ["crops", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["each"]),
        *[helper.make_node("Mul", ["each", f"{name}_weights"], [name]) for name in bins],
    ]
    arrays = {f"{name}_weights": np.ones((15, count), np.float32) for name, count in bins.items()}
    arrays |= {"axes": np.array([1, 2, 3]), "last": np.array([1, 2])}
    outputs = [(name, ["n", 15, count]) for name, count in bins.items()]
    model = toy.model(nodes, arrays, ("crops", ["n", 3, 96, 64]), *outputs)
    (folder / "rtmpose.onnx").write_bytes(model.SerializeToString())
    return folder / "rtmpose.onnx"


@pytest.mark.usefixtures("cache")
def test_simcc_outputs_are_told_by_their_lengths(tmp_path: Path, frame: np.ndarray) -> None:
    file = simcc_file(tmp_path, {"a": 192, "b": 128})
    card = import_network(ImportRequest(file, "rtmpose", joints="posetrack15"))
    assert (card.decoder, card.output, card.output_y) == ("simcc", "b", "a")
    assert len(Estimator(EstimatorOptions(model="rtmpose")).estimate(frame, BOXES)) == 2
    with pytest.raises(ModelError, match="has SimCC's outputs b and a; --decoder is for heatmaps"):
        import_network(ImportRequest(file, "dark", joints="posetrack15", decoder="dark"))
    with pytest.raises(ModelError, match=r"one of \[N, 15, h, w\] is needed, or SimCC's two of \[N, 15, columns\]"):
        import_network(ImportRequest(simcc_file(tmp_path, {"a": 192, "b": 192}), "no", joints="posetrack15"))


@pytest.mark.parametrize(
    ("network", "request_", "message"),
    [
        ({"outputs": ["a"]}, {}, "which joint each output shows cannot be seen from the file; add --joints"),
        ({"outputs": ["a"]}, {"joints": "coco17"}, r"outputs are {'a': \(1, 15, 24, 16\)}; one of \[N, 17, h, w\]"),
        ({"outputs": ["a", "b"]}, {"joints": "posetrack15"}, r"one of \[N, 15, h, w\] is needed"),
        ({"outputs": ["a"], "height": "h"}, {"joints": "posetrack15"}, "images of any size; say with --size WxH"),
        ({"outputs": ["a"]}, {"joints": "posetrack15", "size": (64, 64)}, "takes images of 64x96, not of 64x64"),
        ({"outputs": ["a"], "extra_input": True}, {"joints": "posetrack15"}, "a pose network has one, "),
    ],
)
def test_onnx_files_with_unexpected_inputs_or_outputs_are_refused(
    cache: Path, tmp_path: Path, network: dict[str, object], request_: dict[str, object], message: str
) -> None:
    file = onnx_file(tmp_path, **network)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=message) as error:
        import_network(ImportRequest(file, "foreign", **request_))  # type: ignore[arg-type]
    assert str(error.value).startswith(f"{file}: ")
    assert list(cache.iterdir()) == []


def test_sizes() -> None:
    assert parse_size("288x384") == (288, 384)
    for text in ("288", "288X384", "x3", "-1x2"):
        with pytest.raises(OptionError, match="width x height is needed, such as 192x256"):
            parse_size(text)


def test_missing_packages_are_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match="to export it, onnx must be installed: pip install onnx"):
        require_torch("to export it")


@pytest.fixture
def publisher(cache: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server that publishes `toy_hrnet`, and `shut_hrnet` where no program gets in."""
    assert not cache.exists()
    with serving(FileServer((checkpoints / "h17.pth").read_bytes())) as server:
        toy_network = PublishedNetwork(
            name="toy_hrnet",
            file=f"toy-{server.sha256[:8]}_20200101.pth",
            sha256=server.sha256[:8],
            size=SIZE,
            joints="posetrack17",
            folder=server.address,
            page="the page",
            licence="free",
            accuracy="AP 1.0",
            decoder="dark",
        )
        monkeypatch.setitem(PUBLISHED, "toy_hrnet", toy_network)
        shut = {**{name: getattr(toy_network, name) for name in toy_network.__dataclass_fields__}, "folder": ""}
        monkeypatch.setitem(PUBLISHED, "shut_hrnet", PublishedNetwork(**{**shut, "name": "shut_hrnet"}))
        yield server


def keytrack(*arguments: str) -> tuple[int, str]:
    """Exit code and all that was printed, in one line."""
    result = CliRunner().invoke(app, ["models", *arguments], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, " ".join(result.output.split())


def test_fetch_list_info_and_use(cache: Path, publisher: FileServer, frame: np.ndarray) -> None:
    code, said = keytrack("fetch", "toy_hrnet")
    assert code == 0, said
    assert "use it with --set estimator.model=toy_hrnet" in said
    card = find_model(PoseCard, "toy_hrnet")
    assert (card.decoder, card.input.size, card.licence) == ("dark", SIZE, "free")
    assert card.joints == skeleton.POSETRACK17
    assert len(Estimator(EstimatorOptions(model="toy_hrnet")).estimate(frame, BOXES)) == 2
    _, said = keytrack("list")
    assert "toy_hrnet (here): AP 1.0" in said
    assert "shut_hrnet: AP 1.0" in said
    assert "in your cache; licence: free" in said
    assert "shipped with the package" in said
    _, said = keytrack("info", "toy_hrnet")
    parameters = sum(p.numel() for p in build_hrnet("w16_small", 17).parameters())
    for row in (
        "input: 'input', 64 x 96 (width x height), rgb",
        "joints: 17: posetrack17",
        "decoder: dark",
        f"parameters: {parameters:,}",
        "published accuracy: AP 1.0",
        f"SHA-256: {hashlib.sha256(card.path.read_bytes()).hexdigest()}",
    ):
        assert row in said
    # again: nothing is sent
    requests = len(publisher.ranges)
    assert keytrack("fetch", "toy_hrnet")[0] == 0
    assert len(publisher.ranges) == requests
    # and the fetched file is what export works from
    assert keytrack("export", "toy_hrnet", "--onnx", str(cache / "small.onnx"), "--size", "32x64", "--half")[0] == 0
    assert find_model(PoseCard, "small").input.size == (32, 64)


def test_a_file_brought_by_hand_is_taken(cache: Path, publisher: FileServer) -> None:
    name = PUBLISHED["shut_hrnet"].file
    code, said = keytrack("fetch", "shut_hrnet")
    assert code == 1
    assert f"no program can fetch it; get {name} in a browser from the page, put it into {cache}, and run" in said
    cache.mkdir(parents=True, exist_ok=True)
    (cache / name).write_bytes(publisher.content)
    assert keytrack("fetch", "shut_hrnet")[0] == 0
    assert publisher.ranges == []
    assert find_model(PoseCard, "shut_hrnet").input.size == SIZE


def test_a_damaged_file_is_refused_with_both_hashes(cache: Path, publisher: FileServer) -> None:
    name, sha256 = PUBLISHED["toy_hrnet"].file, publisher.sha256[:8]
    cache.mkdir(parents=True)
    (cache / name).write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    for command in (("fetch", "toy_hrnet"), ("import", str(cache / name), "--as", "mine")):
        code, said = keytrack(*command)
        assert code == 1
        assert f"{name}: damaged or not toy_hrnet: SHA-256 is {found}, expected {sha256}…" in said
    assert [file.name for file in cache.iterdir()] == [name]


def test_a_network_damaged_in_the_cache_is_refused(cache: Path, publisher: FileServer) -> None:
    assert keytrack("fetch", "toy_hrnet")[0] == 0
    (cache / "toy_hrnet.onnx").write_bytes(publisher.content)
    code, said = keytrack("fetch", "toy_hrnet")
    assert code == 1
    assert "damaged or not toy_hrnet: SHA-256 is " in said
    assert f"to fetch it again, delete {cache / 'toy_hrnet.yaml'}" in said


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("fetch", "resnet"), "'resnet' is not known; known are hrnet_w48_posetrack18_384x288, "),
        (("info", "resnet"), "there is no network 'resnet'; there are efficientpose_ii_lite, "),
        (
            ("info", "hrnet_w32_coco_256x192"),
            "hrnet_w32_coco_256x192 (COCO val2017: AP 74.9 with a detector) is not on this machine; `keytrack models "
            "fetch hrnet_w32_coco_256x192` gets it",
        ),
        (("export", "pose_entailment", "--onnx", "x.onnx"), "no pose network 'pose_entailment' was found"),
        (("import", "x.pth", "--as", "y", "--size", "big"), "--size big: width x height is needed"),
    ],
)
def test_foreseeable_errors_end_in_one_line(cache: Path, command: tuple[str, ...], message: str) -> None:
    code, said = keytrack(*command)
    assert code == 1
    assert f"error: {message}" in said
    assert not cache.exists()


def test_info_of_a_shipped_network() -> None:
    _, said = keytrack("info", "pose_entailment_paper")
    # 473,218 in torch: the graph leaves out the last layer's key bias, which no answer depends on.
    assert "parameters: 473,090 multiply-adds: " in said
    assert "origin: shipped with the package" in said
