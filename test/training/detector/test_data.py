"""Reading the detector's data: labels in COCO form, and errors that name the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from keytrack_ros.errors import DataError
from keytrack_ros.training.detector.data import fingerprint, load_images
from test.training.detector.toy_people import write_people, write_source


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_people(tmp_path)


def test_every_source_is_read_with_its_labels(data: Path) -> None:
    images = load_images(data)[0]
    assert [image.source for image in images] == ["empty"] * 3 + ["street"] * 12
    assert images[0].boxes.shape == (0, 4)  # an image without boxes shows nobody
    assert images[3].sure.tolist() == [True]
    assert images[14].sure.tolist() == [False]  # a crowd is neither person nor background
    left, top, right, bottom = (int(v) for v in images[3].boxes[0])
    assert (images[3].pixels[top:bottom, left:right] == 230).all()
    assert {image.source for image in load_images(data)[1]} == {"street"}


def test_other_categories_do_not_count(data: Path) -> None:
    file = data / "annotations/street_val.json"
    content = json.loads(file.read_text())
    content["categories"].append({"id": 2, "name": "dog"})
    content["annotations"][0]["category_id"] = 2
    file.write_text(json.dumps(content))
    assert [len(image.boxes) for image in load_images(data)[1]] == [0, 1, 1, 1]


def test_the_fingerprint_knows_labels(data: Path) -> None:
    first = fingerprint(load_images(data)[1])
    assert fingerprint(load_images(data)[1]) == first
    write_source(data, "street_val", [(5, 5, 20, 40)])
    assert fingerprint(load_images(data)[1]) != first


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "not JSON": (
        lambda d: (d / "annotations/street_val.json").write_text("{"),
        r"street_val\.json: not COCO annotations",
    ),
    "other JSON": (lambda d: (d / "annotations/street_val.json").write_text("{}"), r"not COCO annotations: KeyError"),
    "no image": (
        lambda d: (d / "images/street_val/0.png").unlink(),
        r"names 'street_val/0\.png', which is not in",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named(data: Path, case: str) -> None:
    breaks, message = BROKEN[case]
    breaks(data)
    with pytest.raises(DataError, match=message):
        load_images(data)[1]
