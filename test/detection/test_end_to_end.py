"""Detectors with NMS in the graph: `dets` and `labels`, a toy graph and a real export."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.errors import ModelError
from keytrack_ros.geometry import box_iou

SIZE = 64


def write(folder: Path, dets: np.ndarray, labels: np.ndarray, card: str = "labels: labels\n") -> Path:
    """A network that always gives the same rows [N, 5] and labels [N]."""
    constants = {"dets": dets[None].astype(np.float32), "labels": labels[None].astype(np.int64)}
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in constants.items()
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    outputs = [
        helper.make_tensor_value_info("dets", TensorProto.FLOAT, [1, None, None]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, [1, None]),
    ]
    graph = helper.make_graph(nodes, "detector", [image], outputs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "detector.onnx"
    )
    file = folder / "detector.yaml"
    file.write_text(
        "name: detector\ntask: detection\nfile: detector.onnx\ndecoder: end2end\noutput: dets\n"
        f"input: {{name: image, size: [{SIZE}, {SIZE}], color: bgr}}\n{card}"
    )
    return file


DETS = np.array([[8, 4, 24, 36, 0.9], [30, 10, 40, 60, 0.8], [44, 8, 56, 32, 0.4], [0, 0, 9, 9, 0.1]])


def test_people_are_boxes_of_their_class_in_image_pixels(tmp_path):
    model = write(tmp_path, DETS, np.array([0, 2, 0, 0]))
    boxes, scores = Detector(DetectorOptions(model=str(model))).detect(np.zeros((96, 128, 3), np.uint8))
    # An image twice as wide as the network; the second box is of another class, the last one too weak.
    assert boxes.tolist() == [[16, 8, 48, 72], [88, 16, 112, 64]]
    assert scores.tolist() == pytest.approx([0.9, 0.4])


def test_without_labels_all_boxes_are_people(tmp_path):
    model = write(tmp_path, DETS, np.array([0, 2, 0, 0]), "")
    assert len(Detector(DetectorOptions(model=str(model))).detect(np.zeros((64, 64, 3), np.uint8))[0]) == 3


def test_no_box_is_nobody(tmp_path):
    model = write(tmp_path, np.zeros((0, 5)), np.zeros(0))
    boxes, scores = Detector(DetectorOptions(model=str(model))).detect(np.zeros((64, 64, 3), np.uint8))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


@pytest.mark.parametrize(
    ("dets", "card", "message"),
    [
        (np.zeros((3, 6)), "labels: labels\n", r"output 'dets' has shape \(1, 3, 6\); .* makes it \(1, N, 5\)"),
        (DETS, "labels: classes\n", r"output 'classes' has shape None; .* makes it \(1, 4\)"),
    ],
)
def test_an_output_that_does_not_fit_is_named(tmp_path, dets, card, message):
    model = write(tmp_path, dets, np.zeros(len(dets)), card)
    with pytest.raises(ModelError, match=message):
        Detector(DetectorOptions(model=str(model))).detect(np.zeros((64, 64, 3), np.uint8))


def test_an_export_of_mmdeploy_finds_the_people_of_a_real_clip(shared_data, tmp_path):
    # 164 people in 41 frames; its own authors' code finds 150 of them with 4.05 boxes a frame at a score of 0.3.
    import json

    card = tmp_path / "rtmdet.yaml"
    card.write_text(
        "name: rtmdet\ntask: detection\nfile: rtmdet_nano.onnx\ndecoder: end2end\noutput: dets\nlabels: labels\n"
        "input: {name: input, size: [320, 320], color: bgr, mean: [103.53, 116.28, 123.675], "
        "std: [57.375, 57.12, 58.395]}\n"
    )
    (tmp_path / "rtmdet_nano.onnx").symlink_to(shared_data / "models/rtmdet_nano.onnx")
    clip = shared_data / "clips/bonn_060470979"
    content = json.loads((clip / "gt.json").read_text())
    people: dict[int, list[list[float]]] = {}
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        people.setdefault(annotation["image_id"], []).append([x, y, x + w, y + h])
    rtmdet = Detector(DetectorOptions(model=str(card), score_threshold=0.3, nms_iou=1.0))
    found = boxes = 0
    for image in content["images"]:
        detected, _ = rtmdet.detect(cv2.imread(str(clip / image["file_name"])))
        overlap = box_iou(np.array(people[image["id"]])[:, None], detected[None])
        found += int((overlap.max(1, initial=0) >= 0.5).sum())
        boxes += len(detected)
    assert (found, boxes) == (150, 166)
