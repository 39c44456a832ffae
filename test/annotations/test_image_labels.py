"""Boxes and keypoints of images in the public formats: what is read, where images are found, what is held back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.annotations.image_labels import TRAIN, VALIDATION, is_held_back, read_sources
from keytrack_ros.errors import DataError


def write_image(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.zeros((60, 80, 3), np.uint8))


def write_json(file: Path, images: list[dict[str, Any]], people: list[dict[str, Any]], joints: Any = ()) -> None:
    category = {"id": 1, "name": "person", "keypoints": list(joints)}
    dog = {"id": 18, "name": "dog"}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": people, "categories": [category, dog]}))


def test_coco_as_its_publisher_packs_it(tmp_path):
    # annotations/ has three files of the same images, which lie in a folder of the part.
    write_image(tmp_path / "images/train2017/000001.jpg")
    write_image(tmp_path / "val2017/000002.jpg")
    nose = [10, 20, 2, *[0] * 48]
    people = [
        {"image_id": 7, "category_id": 1, "bbox": [5, 6, 20, 30], "keypoints": nose, "num_keypoints": 1},
        {"image_id": 7, "category_id": 1, "bbox": [50, 6, 20, 30], "iscrowd": 1, "keypoints": [0] * 51},
        {"image_id": 7, "category_id": 18, "bbox": [1, 1, 2, 2]},
    ]
    for part, name in (("train2017", "000001.jpg"), ("val2017", "000002.jpg")):
        images = [{"id": 7, "file_name": name, "width": 80, "height": 60}]
        for kind in ("instances", "person_keypoints"):
            write_json(tmp_path / f"annotations/{kind}_{part}.json", images, people, skeleton.COCO17)
        (tmp_path / f"annotations/captions_{part}.json").write_text("{}")
    train, val = read_sources(tmp_path)
    assert [(s.name, s.part, len(s.images)) for s in (train, val)] == [
        ("person_keypoints", TRAIN, 1),
        ("person_keypoints", VALIDATION, 1),
    ]
    image = train.images[0]
    assert image.file == tmp_path / "images/train2017/000001.jpg"
    assert val.images[0].file == tmp_path / "val2017/000002.jpg"
    assert image.size == (80, 60)
    assert image.boxes.tolist() == [[5, 6, 25, 36], [50, 6, 70, 36]]
    assert image.ignored.tolist() == [False, True]
    assert image.present[0].nonzero()[0].tolist() == [skeleton.INDEX["nose"]]
    assert image.keypoints[0, 0].tolist() == [10, 20]
    assert image.weights.sum() == 1  # COCO has no head points: they are unknown, not absent
    assert image.labelled.tolist() == [1, 0]


def test_posetrack_2018_has_a_file_for_each_video(tmp_path):
    labelled, other = "images/train/0001_mpii/000000.jpg", "images/train/0001_mpii/000001.jpg"
    write_image(tmp_path / labelled)
    points = np.zeros((17, 3))
    points[skeleton.POSETRACK17.index("head_top")] = 30, 10, 1
    points[skeleton.POSETRACK17.index("left_ankle")] = 40, 50, 1
    write_json(
        tmp_path / "annotations/train/0001_mpii.json",
        [
            {
                "id": 1,
                "file_name": labelled,
                "vid_id": "0001",
                "is_labeled": True,
                "ignore_regions_x": [[60, 70, 70]],
                "ignore_regions_y": [[5, 5, 25]],
            },
            {"id": 2, "file_name": other, "vid_id": "0001", "is_labeled": False},  # its image need not be there
        ],
        [{"image_id": 1, "category_id": 1, "track_id": 3, "keypoints": points.ravel().tolist()}],
        skeleton.POSETRACK17,
    )
    write_image(tmp_path / "images/val/0002/0.jpg")
    held_back = [{"id": 1, "file_name": "images/val/0002/0.jpg", "vid_id": "0002"}]
    write_json(tmp_path / "annotations/val/0002.json", held_back, [], skeleton.POSETRACK17)
    train, _ = read_sources(tmp_path)
    (image,) = train.images
    assert (train.name, image.group) == (tmp_path.name, "0001")
    # The person has no box: that of the keypoints grows by a tenth. An ignore region is a box without keypoints.
    np.testing.assert_allclose(image.boxes, [[29, 6, 41, 54], [60, 5, 70, 25]])
    assert image.ignored.tolist() == [False, True]
    assert image.present.sum(1).tolist() == [2, 0]
    assert image.labelled.tolist() == [2, 0]


def test_motchallenge_folders(tmp_path):
    lines = {
        "a": "1,1,11,21,10,30,1,1,0.9\n1,2,41,21,10,30,0,1,0.1\n1,3,1,1,9,9,1,3,1\n2,1,12,21,10,30,1,7,1\n",
        "b": "3,1,11,21,10,30,1,-1,-1,-1\n",  # 2015: world coordinates in place of a class
    }
    for name, text in lines.items():
        file = tmp_path / f"mot17_train/{name}/gt/gt.txt"
        file.parent.mkdir(parents=True)
        file.write_text(text)
        for frame in (1, 2, 3):
            write_image(file.parents[1] / f"img1/{frame:06d}.jpg")
    (tmp_path / "mot17_train/a/seqinfo.ini").write_text("[Sequence]\nimDir=img1\nimExt=.jpg\nimWidth=80\nimHeight=60\n")
    (tmp_path / "mot17_val").symlink_to(tmp_path / "mot17_train")
    train, val = read_sources(tmp_path)
    assert (train.name, train.part, val.part) == ("mot17", TRAIN, VALIDATION)
    first, second, third = train.images
    assert first.boxes.tolist() == [[10, 20, 20, 50], [40, 20, 50, 50]]  # the car is left out, pixels count from 0
    assert first.ignored.tolist() == [False, True]  # flag 0
    assert second.ignored.tolist() == [True]  # a static person
    assert third.ignored.tolist() == [False]
    assert (first.size, third.size) == ((80, 60), None)
    assert [image.group for image in train.images] == ["a", "a", "b"]


def test_keypoint_weights_tell_what_is_known(tmp_path):
    write_image(tmp_path / "images/x.png")
    points = np.zeros((15, 3))
    points[0], points[1] = (5, 6, 2), (7, 8, 2)
    person = {
        "image_id": 0,
        "category_id": 1,
        "bbox": [0, 0, 40, 40],
        "keypoints": points.ravel().tolist(),
        "keypoint_weights": [0.5, 0, 1, *[0] * 12],
    }
    write_json(tmp_path / "annotations/x_train.json", [{"id": 0, "file_name": "x.png"}], [person], skeleton.NAMES)
    write_json(tmp_path / "annotations/x_val.json", [], [])
    image = read_sources(tmp_path)[0].images[0]
    assert image.weights[0, :4].tolist() == [0.5, 0, 1, 0]
    assert image.present[0, :4].tolist() == [True, False, False, False]  # the third is known to be absent
    assert image.size is None


def test_a_teachers_answer_is_found_by_joint_names_and_what_it_lacks_has_no_score(tmp_path):
    write_image(tmp_path / "images/x.png")
    names = skeleton.COCO17
    answer = np.full((17, 3), 0.25)
    answer[names.index("left_knee")] = 5, 6, 0.75
    answer[names.index("nose")] = np.nan
    about = {"image_id": 0, "category_id": 1, "bbox": [0, 0, 40, 40], "keypoints": [0] * 51}
    people = [{**about, "teacher_keypoints": a} for a in (answer.ravel().tolist(), [])] + [about]
    write_json(tmp_path / "annotations/x_train.json", [{"id": 0, "file_name": "x.png"}], people, names)
    write_json(tmp_path / "annotations/x_val.json", [], [])
    taught = read_sources(tmp_path)[0].images[0].taught
    assert taught[0, skeleton.INDEX["left_knee"]].tolist() == [5, 6, 0.75]
    lacking = [skeleton.INDEX[name] for name in ("nose", "head_top", "head_bottom")]
    assert (taught[0, lacking, 2] == 0).all()
    assert np.isfinite(taught).all()
    assert (taught[1:] == 0).all()


def test_without_a_validation_part_a_tenth_of_the_images_is_held_back_by_name(tmp_path):
    images = [{"id": k, "file_name": f"{k}.png"} for k in range(200)]
    for image in images:
        write_image(tmp_path / "images" / image["file_name"])
    write_json(tmp_path / "annotations/mine_train.json", images, [])
    train, val = read_sources(tmp_path)
    assert len(train.images) + len(val.images) == 200
    assert 10 <= len(val.images) <= 30
    assert all(is_held_back(image.group) for image in val.images)
    assert not any(is_held_back(image.group) for image in train.images)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"x_train\.json: not COCO annotations"),
        ("{}", r"x_train\.json: not COCO annotations: KeyError\('categories'\)"),
        (
            '{"categories": [], "annotations": [], "images": [{"id": 1, "file_name": "gone.jpg"}]}',
            r"x_train\.json: names 'gone\.jpg', which is not in .*/images or ",
        ),
    ],
)
def test_what_is_broken_is_named(tmp_path, text, message):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/x_train.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_sources(tmp_path)


def test_ground_truth_that_is_none_and_missing_frames_are_named(tmp_path):
    file = tmp_path / "train/a/gt/gt.txt"
    file.parent.mkdir(parents=True)
    file.write_text("hello\n")
    with pytest.raises(DataError, match=r"gt\.txt: not MOTChallenge ground truth"):
        read_sources(tmp_path)
    file.write_text("4,1,1,1,9,9,1,1,1\n")
    with pytest.raises(DataError, match=r"gt\.txt: names frame 4, but .*img1/000004\.jpg is missing"):
        read_sources(tmp_path)


def test_a_folder_without_annotations_is_named(tmp_path):
    with pytest.raises(DataError, match=r"has neither annotations/\*_train\.json nor train/\*/gt/gt\.txt;"):
        read_sources(tmp_path)
