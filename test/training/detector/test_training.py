"""Training of the detector: curves that a stop does not change, and the command from data to a usable network."""

import csv
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from keytrack_ros.cli.app import app
from keytrack_ros.cli.training_progress import INTERRUPTED
from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.errors import DataError, OptionError
from keytrack_ros.inference.cards import load_card
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import PACKAGE_MODELS
from keytrack_ros.training.common.export import NO_LICENCE
from keytrack_ros.training.common.setup import cosine_rate
from keytrack_ros.training.detector.data import LabelledImage, load_images
from keytrack_ros.training.detector.export import export_detector
from keytrack_ros.training.detector.options import DetectorTrainOptions
from keytrack_ros.training.detector.samples import Sample
from keytrack_ros.training.detector.training import DetectorTraining, image_size, network_images, padded
from test.training.detector.toy_people import write_people

SMALL = {"first_size": 64, "input_size": 96, "batch_size": 2, "threads": 1, "device": "cpu", "warm_up": 0.25}
SMALL |= {"optimiser": "adamw"}  # Muon's products take a second a step on CPUs without bfloat16
EXPORTED = {"export_width": 128, "export_height": 96}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("data"))


Images = tuple[list[LabelledImage], list[LabelledImage]]


@pytest.fixture(scope="module")
def images(data: Path) -> Images:
    return load_images(data)


def training(images: Images, folder: Path, resume: bool = False, **values: object) -> DetectorTraining:
    options = DetectorTrainOptions(**{**SMALL, "epochs": 2, "steps_per_epoch": 3, **values})  # type: ignore[arg-type]
    return DetectorTraining(*images, folder, options, resume)


def test_a_stopped_and_resumed_run_equals_one_never_stopped(images: Images, tmp_path: Path) -> None:
    whole = training(images, tmp_path / "whole", optimiser="muon")
    whole.run(lambda _: None)
    first = training(images, tmp_path / "parts", optimiser="muon")
    first.run(lambda _: None, stopped=lambda: first.step == 2)
    assert first.step == 2
    second = training(images, tmp_path / "parts", resume=True, optimiser="muon")
    second.run(lambda _: None)
    for part in ("network", "averaged"):
        state = getattr(second, part).state_dict()
        assert all(torch.equal(value, state[name]) for name, value in getattr(whole, part).state_dict().items())
    assert [(e.score_loss, e.box_loss) for e in second.log] == [(e.score_loss, e.box_loss) for e in whole.log]
    with (tmp_path / "parts/log.csv").open() as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["3", "6"]


def test_a_checkpoint_of_other_options_is_refused(images: Images, tmp_path: Path) -> None:
    training(images, tmp_path, optimiser="muon").save()
    with pytest.raises(DataError, match="belongs to another run: seed is 1 there and 2 here"):
        training(images, tmp_path, resume=True, optimiser="muon", seed=2)
    with pytest.raises(DataError, match="optimiser is 'muon' there and 'adamw' here"):
        training(images, tmp_path, resume=True, optimiser="adamw")


def test_an_option_newer_than_the_checkpoint_counts_as_its_default_there(images: Images, tmp_path: Path) -> None:
    run = training(images, tmp_path)
    run.save()
    content = torch.load(run.checkpoint)
    del content["configuration"]["average_steps"]
    torch.save(content, run.checkpoint)
    assert training(images, tmp_path, resume=True).step == 0
    with pytest.raises(DataError, match="average_steps is 1000 there and 7 here"):
        training(images, tmp_path, resume=True, average_steps=7)


def test_a_run_may_begin_with_the_weights_of_another(images: Images, tmp_path: Path) -> None:
    first = training(images, tmp_path / "first")
    first.run(lambda _: None)
    second = training(images, tmp_path / "second", start=str(first.checkpoint), seed=9)
    for a, b in zip(second.network.parameters(), first.averaged.parameters(), strict=True):
        assert torch.equal(a, b)
    second.save()
    first.checkpoint.unlink()  # a resumed run does not need it again
    assert training(images, tmp_path / "second", resume=True, start=str(first.checkpoint), seed=9).step == 0
    torch.save({"format": 1, "configuration": {}}, tmp_path / "other.pt")
    with pytest.raises(DataError, match="holds no averaged weights of such a network"):
        training(images, tmp_path / "third", start=str(tmp_path / "other.pt"))


def test_an_exported_network_is_trained_further(images: Images, tmp_path: Path) -> None:
    first = training(images, tmp_path / "first")
    first.run(lambda _: None)
    file, _ = export_detector(first.averaged, tmp_path, (96, 96))
    second = training(images, tmp_path / "second", start=str(file), batch_norm=False, frozen_stages=2)
    pixels = torch.randn(1, 3, 96, 96, generator=torch.manual_seed(0))
    with torch.no_grad():
        expected = first.averaged(pixels)
        assert torch.allclose(second.network(pixels), expected, atol=2e-2 * float(expected.abs().max()))  # FP16 weights
    before = {name: value.clone() for name, value in second.network.state_dict().items()}
    second.run(lambda _: None)
    for name, value in second.network.state_dict().items():
        if name.startswith(("stem.", "stages.")):
            assert torch.equal(value, before[name]) == name.startswith(("stem.", "stages.0.")), name
    assert export_detector(second.averaged, tmp_path / "again", (128, 64))[0].is_file()


@pytest.mark.parametrize("licence", ["CC BY 4.0", ""])
def test_the_licence_goes_into_the_model_file(images: Images, tmp_path: Path, licence: str) -> None:
    card = load_card(training(images, tmp_path, licence=licence).export()[-1])
    assert card.licence == (licence or NO_LICENCE)


def test_an_exported_network_is_refused_with_batch_normalisation_or_as_another(images: Images, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="start: an exported network has no batch normalisation; add --no-batch-norm"):
        DetectorTrainOptions(start="person_detector.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    for name, says in (
        ("none.onnx", "No such file"),
        ("broken.onnx", "not an ONNX file"),
        (PACKAGE_MODELS / "hrnet_w24.onnx", "its convolutions are not those of NanoDetector"),
    ):
        with pytest.raises(DataError, match=says):
            training(images, tmp_path / "run", start=str(tmp_path / name), batch_norm=False)


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ("street", "'street' is not SOURCE=SHARE"),
        ("street=a", "'street=a' is not"),
        ("a=0.7,b=0.7", "all together at most 1"),
    ],
)
def test_shares_that_cannot_be_read_are_refused(shares: str, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        DetectorTrainOptions(shares=shares)
    assert DetectorTrainOptions(shares="street=0.4,empty=0.1").source_shares == {"street": 0.4, "empty": 0.1}


def test_images_without_people_cannot_be_trained_on(images: Images, tmp_path: Path) -> None:
    empty = [image for image in images[0] if image.source == "empty"]
    with pytest.raises(DataError, match="no image to train on"):
        DetectorTraining(empty, empty, tmp_path, DetectorTrainOptions())


@pytest.mark.parametrize(
    ("name", "value"), [("first_size", 100), ("input_size", 410), ("export_height", 100), ("first_size", 448)]
)
def test_sizes_that_do_not_fit_are_refused(name: str, value: int) -> None:
    with pytest.raises(OptionError, match=f"{name}: {value} is"):
        DetectorTrainOptions(**{name: value})  # type: ignore[arg-type]


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    options = DetectorTrainOptions(epochs=1, steps_per_epoch=1000, learning_rate=1.0, warm_up=0.1)
    assert cosine_rate(0, options) == pytest.approx(0.01)
    assert cosine_rate(99, options) == pytest.approx(1.0)
    assert cosine_rate(550, options) == pytest.approx(0.505)
    assert cosine_rate(1000, options) == pytest.approx(0.01)


def test_images_grow_in_the_second_half() -> None:
    options = DetectorTrainOptions(epochs=1, steps_per_epoch=1000)
    sizes = [image_size(step, options) for step in range(1000)]
    assert sizes[:500] == [256] * 500
    assert sizes[-150:] == [416] * 150
    assert sorted(set(sizes)) == [256, 288, 320, 352, 384, 416]
    assert sizes == sorted(sizes)


def test_network_images_are_rgb_and_the_fill_is_zero() -> None:
    pixels = np.full((32, 32, 3), 114, np.uint8)
    pixels[0, 0] = 1, 2, 3  # blue, green, red
    tensor = network_images([pixels], torch.device("cpu"))
    assert tensor.shape == (1, 3, 32, 32)
    np.testing.assert_allclose(tensor[0, :, 0, 0], (np.array([3, 2, 1]) - 114) / 58, rtol=1e-5)
    assert (tensor[0, :, 1, 1] == 0).all()


def test_batches_are_padded_with_boxes_that_are_nothing() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    two = Sample(pixels, np.ones((2, 4), np.float32), np.array([True, False]))
    none = Sample(pixels, np.zeros((0, 4), np.float32), np.zeros(0, bool))
    batch = padded([two, none])
    assert batch.people.tolist() == [[True, False], [False, False]]
    assert batch.doubtful.tolist() == [[False, True], [False, False]]


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    values = [f"--{name.replace('_', '-')}={value}" for name, value in {**SMALL, **EXPORTED}.items()]
    return ["train", "detector", f"--data={data}", f"--out={out}", "--epochs=2", "--steps-per-epoch=2", *values, *more]


def test_the_command_leaves_a_network_that_the_detector_runs(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, arguments(data, tmp_path))
    assert result.exit_code == 0, result.output
    written = {file.name for file in tmp_path.iterdir()}
    network = {"person_detector.onnx", "person_detector.yaml"}
    assert written == {"checkpoint.pt", "curves.png", "log.csv", "samples.png"} | network
    assert cv2.imread(str(tmp_path / "samples.png")).shape == (4 * 96, 4 * 96, 3)
    detector = Detector(DetectorOptions(model=str(tmp_path / "person_detector.yaml"), score_threshold=0.0))
    assert detector.card.input.size == (128, 96)
    boxes, scores = detector.detect(np.full((60, 80, 3), 90, np.uint8))
    assert len(boxes) == len(scores) > 0
    assert (tmp_path / "person_detector.onnx").stat().st_size < 2.1e6  # FP16 weights


def test_ctrl_c_saves_a_checkpoint_from_which_resume_continues(data: Path, tmp_path: Path, monkeypatch) -> None:
    train_step = DetectorTraining.train_step

    def interrupted(self: DetectorTraining) -> Mapping[str, float]:
        if self.step == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(self)

    monkeypatch.setattr(DetectorTraining, "train_step", interrupted)
    result = CliRunner().invoke(app, arguments(data, tmp_path))
    assert result.exit_code == INTERRUPTED
    assert "stopped at step 1; resume with the same command and --resume" in result.output
    assert (tmp_path / "person_detector.onnx").is_file()  # the network so far
    result = CliRunner().invoke(app, arguments(data, tmp_path, "--resume"))
    assert result.exit_code == 0, result.output


def test_without_a_teacher_the_command_says_what_it_needs(data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KEYTRACK_MODELS", raising=False)
    result = CliRunner().invoke(app, arguments(data, tmp_path / "run", "--teacher=yolox_nano_person"))
    assert result.exit_code == 1
    assert "no detection network 'yolox_nano_person' was found" in result.output


def test_a_network_learns_from_two_teachers(data: Path, images: Images, tmp_path: Path) -> None:
    plain = training(images, tmp_path / "plain")
    plain.run(lambda _: None)
    file = str(next(f for f in plain.export() if f.suffix == ".yaml"))
    result = CliRunner().invoke(app, arguments(data, tmp_path / "run", f"--teacher={file},{file}"))
    assert result.exit_code == 0, result.output
    with (tmp_path / "run" / "log.csv").open() as log:
        taught = [float(row["score_loss"]) for row in csv.DictReader(log)]
    with (tmp_path / "plain" / "log.csv").open() as log:
        assert taught[0] != pytest.approx(float(next(csv.DictReader(log))["score_loss"]), rel=1e-3)
    assert all(np.isfinite(taught))


def test_a_wrong_data_folder_is_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, arguments(tmp_path, tmp_path / "run", "--resume"))
    assert result.exit_code == 1
    assert "error:" in result.output
    assert InferenceOptions().folders == []
