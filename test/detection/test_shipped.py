"""The detector that ships: found without being named, quiet where nobody is, and good enough on an annotated clip."""

import json
from pathlib import Path

import numpy as np
import pytest

from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.geometry import box_iou
from keytrack_ros.media.image_source import read_image
from keytrack_ros.training.detector.scores import matched


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KEYTRACK_MODELS", raising=False)
    return Detector(DetectorOptions(score_threshold=0.35, nms_iou=0.5))


def test_it_is_the_detector_that_runs_unless_another_is_named(shipped: Detector) -> None:
    assert shipped.card.name == "person_detector"
    assert "non-commercial" in shipped.card.licence


@pytest.mark.parametrize("level", [0, 114, 255])
def test_nobody_is_found_where_nothing_is(shipped: Detector, level: int) -> None:
    assert len(shipped.detect(np.full((480, 640, 3), level, np.uint8))[0]) == 0


def test_a_wide_camera_gets_a_wide_input_of_no_more_pixels(shipped: Detector) -> None:
    sizes = {image: shipped.card.input_size(image) for image in [(640, 480), (1280, 720), (720, 1280), (1000, 1000)]}
    assert sizes == {
        (640, 480): (608, 448),  # 0.93 network pixels for one of the image
        (1280, 720): (704, 384),  # 0.53, where 608 × 448 would have 0.47
        (720, 1280): (384, 704),
        (1000, 1000): (512, 512),
    }
    assert shipped.card.input_size((4000, 100)) == (1216, 224)  # each side is half to twice the usual one
    shipped.detect(np.zeros((720, 1280, 3), np.uint8))
    found, _ = shipped.detect(np.zeros((480, 640, 3), np.uint8))  # another camera's images, the same network
    assert found.shape == (0, 4)


def test_boxes_of_a_padded_image_are_those_of_the_image(shipped: Detector, shared_data: Path) -> None:
    clip = shared_data / "clips/bonn_060470979"
    image = read_image(sorted(clip.glob("**/*.jpg"))[0])
    height, width = image.shape[:2]
    wide = np.full((height, 2 * width, 3), 114, np.uint8)
    wide[:, :width] = image
    (boxes, scores), (same, _) = shipped.detect(image), shipped.detect(wide)
    assert shipped.card.input_size((width, height)) != shipped.card.input_size((2 * width, height))
    sure = boxes[scores > 0.5]
    assert len(sure) >= 2
    assert (box_iou(sure[:, None], same[None]).max(1) > 0.8).all()


def test_people_of_a_clip_are_found(shipped: Detector, shared_data: Path) -> None:
    clip = shared_data / "clips/bonn_060470979"
    truth = json.loads((clip / "gt.json").read_text())
    found, labels = [], []
    for image in truth["images"][::8]:
        rows = [a["bbox"] for a in truth["annotations"] if a["image_id"] == image["id"]]
        boxes = np.array(rows, np.float32)
        boxes[:, 2:] += boxes[:, :2]
        labels.append((boxes, np.ones(len(boxes), bool)))
        found.append(shipped.detect(read_image(clip / image["file_name"])))
    recall, _, false_boxes = matched(found, labels).at(0.35)
    assert recall >= 0.65
    assert false_boxes <= 1.0
