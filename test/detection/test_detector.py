import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.errors import ModelError
from keytrack_ros.geometry import box_iou
from keytrack_ros.inference.options import InferenceOptions
from test import toy


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_networks(tmp_path_factory.mktemp("networks"))


def detector(networks: Path, **options: object) -> Detector:
    return Detector(DetectorOptions(model=toy.DETECTOR, **options), InferenceOptions(models=str(networks)))  # type: ignore[arg-type]


def test_people_are_found_where_they_are(networks):
    places = [(100.0, 150.0), (400.0, 300.0), (650.0, 450.0)]
    boxes, scores = detector(networks).detect(toy.draw_frame(places))
    assert boxes.dtype == scores.dtype == np.float32
    assert (np.diff(scores) <= 0).all()
    centres = sorted(((boxes[:, :2] + boxes[:, 2:]) / 2).tolist())
    np.testing.assert_allclose(centres, places, atol=8)  # half a cell of 8 network pixels, in image pixels
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], [toy.PERSON_SIZE] * 3, atol=1)


def test_boxes_end_at_the_image(networks):
    boxes, _ = detector(networks, score_threshold=0.01).detect(toy.draw_frame([(24, 300)]))
    assert len(boxes) == 1
    assert boxes[0, 0] == 0


def test_nobody(networks):
    boxes, scores = detector(networks).detect(toy.draw_frame([]))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_of_overlapping_boxes_the_better_stays_and_weak_ones_go(tmp_path):
    # A network of four cells of 32 px that always says the same: two boxes with an IoU of 1/3, one weak, one a tree.
    rows = np.zeros((1, 4, 7), np.float32)
    rows[0, :, 2:4] = np.log([0.5, 1.0])  # 16 x 32 px
    rows[0, 0] = [0.5, 0.5, *rows[0, 0, 2:4], 1, 0, 0.6]
    rows[0, 1] = [-0.25, 0.5, *rows[0, 1, 2:4], 1, 0, 0.9]  # 8 px to the right of the first
    rows[0, 2] = [0.5, 0.5, *rows[0, 2, 2:4], 0.5, 0, 0.38]
    rows[0, 3] = [0.5, 0.5, *rows[0, 3, 2:4], 1, 1, 0]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["fixed", "nothing"], ["rows"]),
    ]
    network = toy.model(
        nodes, {"zero": np.array(0, np.float32), "fixed": rows}, ("image", [1, 3, 64, 64]), ("rows", [1, 4, 7])
    )
    onnx.save(network, tmp_path / "four.onnx")
    (tmp_path / "four.yaml").write_text(
        "name: four\ntask: detection\nfile: four.onnx\ninput: {name: image, size: [64, 64], color: bgr}\n"
        "output: rows\nstrides: [32]\nperson_class: 1\n"
    )

    def found(**options: float) -> list[list[float]]:
        options_ = DetectorOptions(model=str(tmp_path / "four.yaml"), **options)  # type: ignore[arg-type]
        boxes, scores = Detector(options_).detect(np.zeros((64, 64, 3), np.uint8))
        return [[*box, round(float(score), 2)] for box, score in zip(boxes.tolist(), scores, strict=True)]

    left, right, weak = [8, 0, 24, 32, 0.6], [16, 0, 32, 32, 0.9], [8, 32, 24, 64, 0.19]
    assert found() == [right, left]
    assert found(nms_iou=0.3) == [right]
    assert found(score_threshold=0.18) == [right, left, weak]
    assert found(score_threshold=0.95) == []


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYTRACK_MODELS", str(tmp_path / "elsewhere"))
    with pytest.raises(ModelError, match=r"no detection network 'nope' was found; looked in .*elsewhere.*--models"):
        Detector(DetectorOptions(model="nope"))


def test_a_network_that_is_not_what_its_model_file_says(networks, tmp_path):
    card = (networks / f"{toy.DETECTOR}.yaml").read_text()
    (tmp_path / "wrong_size.yaml").write_text(card.replace("[416, 416]", "[640, 640]"))
    with pytest.raises(
        ModelError, match=r"inputs are \{'image': \(1, 3, 416, 416\)\}, but the model file .* \[N, 3, 640"
    ):
        Detector(DetectorOptions(model=str(tmp_path / "wrong_size.yaml")), InferenceOptions(models=str(networks)))
    (tmp_path / "wrong_grid.yaml").write_text(card.replace("strides: [8]", "strides: [8, 16]"))
    wrong = Detector(DetectorOptions(model=str(tmp_path / "wrong_grid.yaml")), InferenceOptions(models=str(networks)))
    with pytest.raises(
        ModelError, match=r"output 'rows' has shape \(1, 2704, 6\); the model file .* \(1, 3380, 6 or more\)"
    ):
        wrong.detect(toy.draw_frame([]))


def test_stand_in_finds_the_people_of_a_real_clip(shared_data):
    # 164 people in 41 frames; the stand-in's own authors' code finds 153 of them at a score of 0.3.
    clip = shared_data / "clips" / "bonn_060470979"
    truth = json.loads((clip / "gt.json").read_text())
    boxes_of: dict[int, list[list[float]]] = {}
    for annotation in truth["annotations"]:
        x, y, w, h = annotation["bbox"]
        boxes_of.setdefault(annotation["image_id"], []).append([x, y, x + w, y + h])
    yolox = Detector(
        DetectorOptions(model="yolox_nano_person", score_threshold=0.3),
        InferenceOptions(models=str(shared_data / "models")),
    )
    found = boxes = 0
    for image in truth["images"]:
        detected, _ = yolox.detect(cv2.imread(str(clip / image["file_name"])))
        overlap = box_iou(np.array(boxes_of[image["id"]])[:, None], detected[None])
        found += int((overlap.max(1, initial=0) >= 0.5).sum())
        boxes += len(detected)
    assert found == 153
    assert boxes == pytest.approx(4.17 * 41, abs=2)
