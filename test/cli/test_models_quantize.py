"""`keytrack models quantize`, and which network then runs on the CPU."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from keytrack_ros.cli.app import app
from keytrack_ros.cli.models_import import ImportRequest, import_network
from keytrack_ros.errors import ModelError
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.estimation.hrnet import build_hrnet
from keytrack_ros.inference import cpu
from keytrack_ros.inference.cards import DetectorCard, PoseCard, file_sha256, write_card
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.quantization import output_nodes
from keytrack_ros.inference.registry import PACKAGE_MODELS, find_model
from test import toy

BOX = np.array([[170.0, 220, 230, 380]], np.float32)

TOLERANCE = 0.1 if cpu.has_int8_instructions() else 0.3
"""Of scores in INT8. Without VNNI or AMX sums saturate at 16 bits, so that such CPUs run FP32 unless told otherwise."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 frames with two toy people each, over noise."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number, places in enumerate(toy.walk(40, 2)):
        noise = rng.integers(0, 60, (*toy.FRAME_SIZE[::-1], 3), np.uint8)
        cv2.imwrite(str(folder / f"{number:02}.png"), np.maximum(noise, toy.draw_frame(places)))
    return folder


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the toy networks and the small HRNet `h15`, imported from a checkpoint of random weights."""
    folder = tmp_path_factory.mktemp("imported")
    torch.manual_seed(0)
    torch.save(build_hrnet("w16_small", outputs=15).state_dict(), folder / "h15.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        import_network(ImportRequest(file=folder / "h15.pth", name="h15", size=(64, 96)))
    toy.write_networks(folder / "keytrack_ros/models")
    return folder


@pytest.fixture
def networks(imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of networks in a copy of that cache, on a CPU with VNNI."""
    shutil.copytree(imported, tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    set_flags(tmp_path, monkeypatch, "fpu sse avx512_vnni")
    return tmp_path / "cache/keytrack_ros/models"


def set_flags(folder: Path, monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    (folder / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(cpu, "CPUINFO", folder / "cpuinfo")


def quantize(*arguments: str | Path) -> tuple[int, str]:
    detector = ["--detector", toy.DETECTOR]
    result = CliRunner().invoke(app, ["models", "quantize", *map(str, arguments), *detector])
    return result.exit_code, " ".join(result.output.split())


def opened(precision: str, caplog: pytest.LogCaptureFixture) -> tuple[Estimator, logging.LogRecord]:
    """The pose network h15 on the CPU, and the log line that says what runs."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        estimator = Estimator(EstimatorOptions(model="h15"), InferenceOptions(precision=precision, threads=1))
    (line,) = [record for record in caplog.records if " runs on " in record.getMessage()]
    return estimator, line


@pytest.mark.usefixtures("networks")
def test_an_imported_hrnet_is_quantised_and_runs_in_int8(pictures, caplog, tmp_path, monkeypatch):
    code, output = quantize("h15", "--images", pictures)
    assert code == 0, output
    assert "h15_int8: " in output
    assert (
        "calibrated on 72 inputs; differs from FP32 by " in output
    )  # 80 crops, every tenth is kept for the comparison
    card, int8 = find_model(PoseCard, "h15"), find_model(PoseCard, "h15_int8")
    assert int8.fp32_sha256 == file_sha256(card.path)
    assert (int8.auto, int8.joints, int8.input) == (False, card.joints, card.input)
    assert int8.path.stat().st_size < 0.45 * card.path.stat().st_size
    weights = {item.name: item.data_type for item in onnx.load(int8.path).graph.initializer}
    assert list(weights.values()).count(onnx.TensorProto.INT8) >= 58

    estimator, line = opened("auto", caplog)
    assert line.getMessage().startswith("h15_int8.onnx runs on ONNX Runtime")
    assert line.levelno == logging.INFO
    exact, line = opened("fp32", caplog)
    assert line.getMessage().startswith("h15.onnx runs on ONNX Runtime")
    image = cv2.imread(str(pictures / "00.png"))
    found, expected = (each.estimate(image, BOX) for each in (estimator, exact))
    assert 0 < np.abs(found.scores - expected.scores).max() < TOLERANCE

    assert quantize("h15", "--images", pictures)[0] == 1  # the files exist
    set_flags(tmp_path, monkeypatch, "fpu sse avx2")
    assert opened("auto", caplog)[1].getMessage().startswith("h15.onnx runs on")
    line = opened("int8", caplog)[1]
    assert line.levelno == logging.WARNING
    assert "this CPU has neither VNNI nor AMX" in line.getMessage()


def test_an_int8_network_of_another_fp32_network_is_not_used(networks, caplog):
    card = find_model(PoseCard, "h15")
    shutil.copyfile(card.path, networks / "h15_int8.onnx")
    other = replace(card, name="h15_int8", file="h15_int8.onnx", auto=False, fp32_sha256="0" * 64)
    write_card(other, networks / "h15_int8.yaml")
    for precision in ("auto", "int8"):
        line = opened(precision, caplog)[1]
        assert line.levelno == logging.WARNING
        assert line.getMessage().startswith("h15.onnx runs on")
        assert "h15_int8.onnx was made from another network" in line.getMessage()
        assert "`keytrack models quantize h15` renews it" in line.getMessage()


@pytest.mark.usefixtures("networks")
def test_without_an_int8_network_fp32_runs(caplog):
    assert opened("auto", caplog)[1].levelno == logging.INFO
    line = opened("int8", caplog)[1]
    assert line.levelno == logging.WARNING
    assert "no pose network 'h15_int8' was found" in line.getMessage()


@pytest.mark.usefixtures("networks")
def test_what_cannot_be_quantised_is_refused_with_the_reason(pictures, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    cv2.imwrite(str(few / "0.png"), toy.draw_frame([(200, 300)]))
    for arguments, text in (
        (("h15", "--images", few), "1 people found by the detector; at least 50 are needed to calibrate h15"),
        ((toy.DETECTOR, "--images", few), "1 frames; at least 50 are needed"),
        (("h15", "--images", tmp_path / "nothing"), "nothing"),
        (("pose_entailment", "--images", pictures), "matchers stay FP32"),
        (("hrnet_w24_int8", "--images", pictures), "is an INT8 network already"),
        (("none", "--images", pictures), "there is no network 'none'"),
    ):
        code, output = quantize(*arguments)
        assert code == 1
        assert text in output


@pytest.mark.usefixtures("networks")
def test_an_int8_network_that_computes_something_else_is_not_kept(pictures, monkeypatch, networks):
    monkeypatch.setattr("keytrack_ros.cli.models_quantize.MAX_DIFFERENCE", 1e-6)
    code, output = quantize("h15", "--images", pictures)
    assert code == 1
    assert "INT8 changes its outputs by" in output
    assert not list(networks.glob("*int8*"))


def test_the_layers_behind_the_last_convolutions_stay_fp32():
    detector = output_nodes(find_model(DetectorCard).path)
    assert {"/Sigmoid", "/Concat_4"} <= set(detector)
    assert len([name for name in detector if name.endswith("/Conv")]) == 6  # box and score on three scales
    assert output_nodes(find_model(PoseCard).path) == ["/final_layer/Conv"]


@pytest.mark.parametrize("kind", [DetectorCard, PoseCard])
def test_the_shipped_int8_networks_belong_to_the_shipped_fp32_networks(kind):
    card = find_model(kind, folders=[PACKAGE_MODELS])
    int8 = find_model(kind, f"{card.name}_int8", [PACKAGE_MODELS])
    assert int8.fp32_sha256 == card.sha256, f"run `keytrack models quantize {card.name} --out keytrack_ros/models`"


def test_a_named_int8_network_runs_anywhere_as_it_is(caplog, tmp_path, monkeypatch):
    set_flags(tmp_path, monkeypatch, "fpu")
    with caplog.at_level(logging.INFO):
        Estimator(EstimatorOptions(model="hrnet_w24_int8"), InferenceOptions(device="cpu", threads=1))
    assert "hrnet_w24_int8.onnx runs on ONNX Runtime" in caplog.text
    with pytest.raises(ModelError, match="no pose network 'none'"):
        Estimator(EstimatorOptions(model="none"))
