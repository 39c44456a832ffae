"""Reading the detector's data: labels, what is held back, and errors that name file and key."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from keytrack_ros.errors import DataError
from keytrack_ros.training.detector.data import (
    LabelledImage,
    fingerprint,
    is_held_back,
    label_crops,
    load_images,
    read_boxes,
    taught,
)
from test.training.detector.toy_people import write_boxes, write_people, write_tar


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_people(tmp_path)


def by_name(images: list[LabelledImage]) -> dict[str, LabelledImage]:
    return {image.name: image for image in images}


def test_every_source_is_read_with_its_labels(data: Path) -> None:
    images = by_name(load_images(data, 0.4, {}))
    assert len(images) == 24 + 3 + 2
    assert images["jhmdb_c0003_f0001.jpg"].group == "delta_walk"  # both frames of a clip, and other clips of its video
    annotated = images["a.jpg"]
    assert annotated.source == "coco"
    assert annotated.boxes.tolist() == [[10, 5, 30, 50], [50, 5, 75, 25]]
    assert annotated.sure.tolist() == [True, False]  # a crowd is neither person nor background
    assert images["b.jpg"].source == "coco_negative"
    assert images["b.jpg"].boxes.shape == (0, 4)
    assert images["c.jpg"].sure.tolist() == [False]  # the teacher says 0.3


def test_of_a_teachers_boxes_weak_ones_are_doubtful_and_second_ones_of_a_person_go() -> None:
    boxes = np.array([[0, 0, 10, 20], [0, 0, 10, 18], [50, 0, 60, 20]], np.float32)
    found, sure = taught((boxes, np.array([0.8, 0.3, 0.3], np.float32)), 0.4)
    assert found.tolist() == [[0, 0, 10, 20], [50, 0, 60, 20]]
    assert sure.tolist() == [True, False]


def test_crops_take_the_teachers_box_or_the_grown_box_of_the_joints(data: Path) -> None:
    teacher = np.array([[10, 10, 30, 50]], np.float32), np.array([0.2], np.float32)
    images = by_name(load_images(data, 0.4, {"im1.jpg": teacher}))
    # The joints lie in 12..28, 12..48. A weak box of the teacher that fits them is the labelled person all the same.
    assert images["im1.jpg"].boxes.tolist() == [[10, 10, 30, 50]]
    np.testing.assert_allclose(images["im2.jpg"].boxes, [[10.4, 8.4, 29.6, 51.6]], rtol=1e-6)  # a tenth each side
    assert images["im1.jpg"].sure.all()
    assert images["im2.jpg"].sure.all()


def test_a_video_is_held_back_whole_or_not_at_all(data: Path) -> None:
    sides: dict[str, set[bool]] = {}
    for image in load_images(data, 0.4, {}):
        sides.setdefault(image.group, set()).add(is_held_back(image))
    assert all(len(side) == 1 for side in sides.values())
    assert any(True in side for side in sides.values())


def test_the_fingerprint_knows_labels(data: Path) -> None:
    first = fingerprint(load_images(data, 0.4, {}))
    assert fingerprint(load_images(data, 0.4, {})) == first
    assert fingerprint(load_images(data, 0.2, {})) != first  # c.jpg now has a person


def test_the_teachers_boxes_in_crops_are_kept(data: Path) -> None:
    file, counts = data / "run/crops.npz", []
    answer = np.array([[1, 2, 3, 4]], np.float32), np.array([0.5], np.float32)
    found = label_crops(data, file, lambda _: answer, counts.append)
    assert counts == [1, 2]
    assert sorted(found) == sorted(read_boxes(file)) == ["im1.jpg", "im2.jpg"]
    assert found["im2.jpg"][0].tolist() == [[1, 2, 3, 4]]


def test_a_wrong_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder 'images'; name the folder that holds"):
        load_images(tmp_path, 0.4, {})


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "pseudo missing": (lambda d: (d / "pseudo/jhmdb_00.npz").unlink(), r"jhmdb_00\.npz: No such file"),
    "pseudo damaged": (lambda d: cut(d / "pseudo/jhmdb_00.npz"), r"jhmdb_00\.npz: not an \.npz file"),
    "key missing": (lambda d: np.savez(d / "pseudo/jhmdb_00.npz", name=["x"]), r"key 'box' is missing; it has name"),
    "shape": (
        lambda d: np.savez(d / "pseudo/jhmdb_00.npz", name=["x"], box=np.zeros((1, 3)), score=[1]),
        r"key 'box' has shape \(1, 3\); \('N', 4\) is needed",
    ),
    "not finite": (
        lambda d: write_boxes(d / "pseudo/jhmdb_00.npz", [("jhmdb_c0000_f0000.jpg", (0, 0, float("nan"), 1), 1)]),
        r"key 'box' holds numbers that are not finite",
    ),
    "unknown member": (
        lambda d: write_boxes(d / "pseudo/jhmdb_00.npz", [("other.jpg", (0, 0, 1, 1), 1)]),
        r"jhmdb_00\.npz: names 'other\.jpg', which is not in .*jhmdb_00\.tar",
    ),
    "not in the index": (
        lambda d: (d / "images/people_frames/index.csv").write_text("tar,member,source\n"),
        r"member 'jhmdb_c0000_f0000\.jpg' is not in .*index\.csv",
    ),
    "index": (lambda d: (d / "images/people_frames/index.csv").write_text("a,b\n1,2\n"), r"not a table with the col"),
    "tar": (lambda d: (d / "images/lspet/lspet_00.tar").write_bytes(b"x" * 2000), r"lspet_00\.tar: damaged"),
    "tar missing": (lambda d: (d / "images/coco_mini/coco_mini.tar").unlink(), r"coco_mini\.tar: No such file"),
    "coco": (
        lambda d: (d / "images/coco_mini/person_keypoints.json").write_text('{"images": []}'),
        r"person_keypoints\.json: not COCO annotations",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named(data: Path, case: str) -> None:
    breaks, message = BROKEN[case]
    breaks(data)
    with pytest.raises(DataError, match=message):
        load_images(data, 0.4, {})


def test_a_member_that_is_no_image_is_named(data: Path) -> None:
    tar = data / "images/lspet/lspet_00.tar"
    write_tar(tar, {})
    import io
    import tarfile

    with tarfile.open(tar, "w") as archive:
        member = tarfile.TarInfo("im1.jpg")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"text"))
    with pytest.raises(DataError, match=r"lspet_00\.tar: member 'im1\.jpg' is not an image"):
        load_images(data, 0.4, {})
