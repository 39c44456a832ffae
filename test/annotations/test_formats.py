"""PoseTrack 2018, PoseTrack 2017 and bags: what is written is read back, and what the formats say is understood."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keytrack_ros import skeleton
from keytrack_ros.annotations.bags import read_bag, write_bag
from keytrack_ros.annotations.convert import FORMATS, convert_sequences
from keytrack_ros.annotations.files import find_sequences, pair_sequences, read_sequence
from keytrack_ros.annotations.posetrack_reader import POSETRACK17_IDS, read_posetrack
from keytrack_ros.annotations.posetrack_writer import write_posetrack17, write_posetrack18
from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.errors import InputError
from keytrack_ros.evaluation.evaluate import evaluate
from keytrack_ros.evaluation.protocol import OFFICIAL
from keytrack_ros.media.posetrack_writer import PoseTrackWriter
from test.evaluation.toy_sequences import Person, random_ground_truth, random_prediction, sequence
from test.people import people

REGION = np.array([[300.0, 145], [1000, 145], [1000.5, 400]])


@pytest.fixture
def ground_truth() -> LabelledSequence:
    frames = [
        [Person(7, 100.25, without=["nose", "left_ankle"]), Person(3, 400)],
        [],
        [Person(3, 402, score=0.25)],
    ]
    return sequence(frames, ignore_regions=(REGION, REGION + 1))


def assert_same(a: LabelledSequence, b: LabelledSequence, *, tolerance: float = 0.0) -> None:
    for name in ("image_index", "track_ids", "present", "listed"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist(), name
    for name in ("keypoints", "scores"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("write", [write_posetrack17, write_posetrack18])
def test_json_round_trip(ground_truth: LabelledSequence, tmp_path: Path, write: Any):
    write(ground_truth, tmp_path / "000001_mpii_test.json")
    again = read_posetrack(tmp_path / "000001_mpii_test.json")
    assert_same(ground_truth, again)
    np.testing.assert_allclose(again.head_boxes, ground_truth.head_boxes)
    assert again.visibility.tolist() == ground_truth.visibility.tolist()
    assert [image.labelled for image in again.images] == [True, False, True]
    assert [image.file_name for image in again.images] == [image.file_name for image in ground_truth.images]
    for image in again.images:
        np.testing.assert_array_equal(image.ignore_regions, [REGION, REGION + 1])


def test_posetrack18_layout(ground_truth: LabelledSequence, tmp_path: Path):
    write_posetrack18(ground_truth, tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["categories"][0]["keypoints"] == list(skeleton.POSETRACK17)
    first = data["annotations"][0]
    assert len(first["keypoints"]) == 51
    assert first["keypoints"][:3] == [0, 0, 0]  # the nose is absent
    assert first["keypoints"][3:6] == [100.25, 142, 1]
    assert first["keypoints"][9:15] == [0] * 6  # the ears never are there
    assert first["bbox_head"] == [85.25, 100, 30, 40]
    assert first["scores"] == []
    assert data["annotations"][2]["scores"][3:6] == [0, 0, 0.25]
    # PoseTrack's numbers of images: source 1 (mpii), sequence 1, frame.
    assert [image["id"] for image in data["images"]] == [10000010000, 10000010001, 10000010002]


def test_posetrack17_layout(ground_truth: LabelledSequence, tmp_path: Path):
    write_posetrack17(ground_truth, tmp_path / "a.json")
    entry = json.loads((tmp_path / "a.json").read_text())["annolist"][0]
    rectangle = entry["annorect"][0]
    assert rectangle["track_id"] == [7]
    assert [rectangle[corner] for corner in ("x1", "y1", "x2", "y2")] == [[85.25], [100], [115.25], [140]]
    points = {POSETRACK17_IDS[p["id"][0]]: (p["x"][0], p["y"][0]) for p in rectangle["annopoints"][0]["point"]}
    assert len(points) == 13
    assert points["head_bottom"] == (100.25, 142)


def test_posetrack17_person_without_points_is_not_scored_but_the_frame_is(tmp_path: Path):
    # poseval keeps the frame, since somebody is in it, and counts it as one miss and one false positive.
    bare = {"track_id": [1], "x1": [85], "y1": [100], "x2": [115], "y2": [140], "annopoints": []}
    frames = [{"image": [{"name": f"{k}.jpg"}], "annorect": [bare]} for k in range(3)]
    (tmp_path / "gt.json").write_text(json.dumps({"annolist": frames}))
    write_posetrack17(sequence([[Person(1, 100)]] * 3), tmp_path / "pred.json")
    read = read_posetrack(tmp_path / "gt.json")
    assert read.listed.tolist() == [False] * 3
    scores = evaluate([(tmp_path / "gt.json", tmp_path / "pred.json")], OFFICIAL)
    assert scores.counts["misses"].tolist() == scores.counts["false_positives"].tolist() == [2] * 15


def test_visibility_flag_matters_only_for_a_point_at_zero(tmp_path: Path):
    write_posetrack18(sequence([[Person(1, 100)]]), tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    keypoints = data["annotations"][0]["keypoints"]
    keypoints[:9] = [0, 0, 0, 0, 0, 1, 50, 60, 0]  # nose absent; head_bottom and head_top not
    (tmp_path / "a.json").write_text(json.dumps(data))
    assert read_posetrack(tmp_path / "a.json").present[0, :3].tolist() == [False, True, True]


def test_fifteen_slots_in_the_order_of_the_file(tmp_path: Path):
    write_posetrack18(sequence([[Person(1, 100)]]), tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    names = list(skeleton.NAMES)[::-1]
    data["categories"][0]["keypoints"] = names
    slots = np.array(data["annotations"][0]["keypoints"]).reshape(17, 3)
    order = [skeleton.POSETRACK17.index(name) for name in names]
    data["annotations"][0]["keypoints"] = slots[order].ravel().tolist()
    (tmp_path / "b.json").write_text(json.dumps(data))
    assert_same(read_posetrack(tmp_path / "a.json"), read_posetrack(tmp_path / "b.json"))


def test_what_the_tracker_writes_is_read(tmp_path: Path):
    poses = people((100, 200), (400, 200), track_ids=np.array([4, 9]))
    with PoseTrackWriter(tmp_path / "tracks.json", "walk") as writer:
        writer.write(poses, 0, (640, 480))
        writer.write(poses[:0], 1, (640, 480))
    read = read_posetrack(tmp_path / "tracks.json")
    assert len(read) == 2
    assert read.track_ids.tolist() == [4, 9]
    np.testing.assert_allclose(read.keypoints, poses.keypoints, atol=0.006)
    np.testing.assert_allclose(read.scores, poses.scores, atol=1e-4)
    assert read.images[0].size == (640, 480)


def test_bag_round_trip(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    ground_truth = random_ground_truth(3)
    prediction = random_prediction(3, ground_truth).renumbered(1)
    write_bag(prediction, tmp_path / "bag")
    again = read_bag(tmp_path / "bag")
    # A bag has no confidence for an absent keypoint, and coordinates of single precision.
    assert_same(prediction, again, tolerance=1e-3)
    assert "head boxes" in caplog.text
    stamps = [image.stamp_ns for image in again.images]
    assert stamps[:2] == [0, 40_000_000]


def test_ids_become_small_integers_in_order_of_appearance():
    many = sequence([[Person(90000, 100), Person(17, 400)], [Person(17, 400), Person(5, 700)]])
    assert many.renumbered().track_ids.tolist() == [0, 1, 1, 2]
    assert many.renumbered(1).track_ids.tolist() == [1, 2, 2, 3]


@pytest.mark.parametrize("form", FORMATS)
def test_conversion_through_each_format_keeps_the_scores(tmp_path: Path, form: str):
    ground_truth = random_ground_truth(5)
    prediction = random_prediction(5, ground_truth)
    write_posetrack18(ground_truth, tmp_path / "gt.json")
    write_posetrack18(prediction, tmp_path / "pred.json")
    (there,) = convert_sequences(tmp_path / "pred.json", tmp_path / "there", form)
    (back,) = convert_sequences(there, tmp_path / "back.json", "posetrack18")
    before = evaluate([(tmp_path / "gt.json", tmp_path / "pred.json")], OFFICIAL)
    for path in (there, back):
        after = evaluate([(tmp_path / "gt.json", path)], OFFICIAL)
        for name in ("AP", "MOTA", "IDF1"):
            assert after.totals[name] == pytest.approx(before.totals[name]), name
    assert read_sequence(back).track_ids.max() < prediction.track_ids.max()


def test_convert_a_folder(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name in ("000002_mpii_test", "000001_mpii_test"):
        write_posetrack18(sequence([[Person(1, 100)]], name), tmp_path / "in" / f"{name}.json")
    written = list(convert_sequences(tmp_path / "in", tmp_path / "out", "posetrack17"))
    assert written == [tmp_path / "out/000001_mpii_test.json", tmp_path / "out/000002_mpii_test.json"]
    assert "annolist" in json.loads(written[0].read_text())


def test_sequences_of_a_folder(tmp_path: Path):
    for name in ("c", "a", "b"):
        write_posetrack18(sequence([[Person(1, 100)]], name), tmp_path / f"{name}.json")
    write_bag(replace(sequence([[Person(1, 100)]]), name="d"), tmp_path / "d")
    assert [path.stem for path in find_sequences(tmp_path)] == ["a", "b", "c", "d"]
    listed = [name for name in os.listdir(tmp_path) if name.endswith(".json")]  # noqa: PTH208
    # poseval's order is that of the directory; bags, which it does not know, come after.
    assert [path.name for path in find_sequences(tmp_path, directory_order=True)] == [*listed, "d"]


def test_pairs_go_by_name_in_folders_only(tmp_path: Path):
    for side in ("gt", "pred"):
        (tmp_path / side).mkdir()
        for name in ("a", "b"):
            write_posetrack18(sequence([[Person(1, 100)]], name), tmp_path / side / f"{name}.json")
    pairs = pair_sequences(tmp_path / "gt", tmp_path / "pred")
    assert [(a.name, b.name) for a, b in pairs] == [("a.json", "a.json"), ("b.json", "b.json")]
    assert len(pair_sequences(tmp_path / "gt/a.json", tmp_path / "pred/b.json")) == 1


def person18(**fields: Any) -> dict[str, Any]:
    return {"image_id": 0, "track_id": 1, "keypoints": [1, 2, 1] * 17, **fields}


def write_json(path: Path, data: Any, prefix: bytes = b"") -> Path:
    path.write_bytes(prefix + json.dumps(data).encode())
    return path


def test_a_byte_order_mark_is_passed_over(tmp_path: Path):
    data = {"images": [{"id": 0, "file_name": "0.jpg"}], "annotations": [person18()]}
    assert read_posetrack(write_json(tmp_path / "a.json", data, b"\xef\xbb\xbf")).people == 1


def test_ids_beyond_64_bits_become_small_integers(tmp_path: Path):
    people = [person18(track_id=2**64), person18(track_id=2**127 - 1), person18(image_id=1, track_id=2**64)]
    data = {"images": [{"id": 0, "file_name": "0.jpg"}, {"id": 1, "file_name": "1.jpg"}], "annotations": people}
    assert read_posetrack(write_json(tmp_path / "a.json", data)).track_ids.tolist() == [0, 1, 0]
    people17 = [{"track_id": [2**64], "annopoints": []}]
    data17 = {"annolist": [{"image": [{"name": "0.jpg"}], "annorect": people17}] * 2}
    assert read_posetrack(write_json(tmp_path / "b.json", data17)).track_ids.tolist() == [0, 0]


def test_coco_results_with_ids_are_read_and_scored(tmp_path: Path):
    # Two people of 17 keypoints in images 20 and 10; nose at (100, 50), shoulders 20 px below it, 40 px apart.
    def person(image: int, track: int, x: float, third: float) -> dict[str, Any]:
        points = [[x, 50.0], *[[x, 48.0]] * 4, [x + 20, 70.0], [x - 20, 70.0], *[[x, 120.0]] * 9, [0.0, 0.0]]
        flat = [n for point in points for n in (*point, third)]
        return {"image_id": image, "category_id": 1, "keypoints": flat, "score": 0.8, "track_id": track}

    file = write_json(tmp_path / "a.json", [person(20, 7, 104, 0.5), person(10, 7, 100, 0.5), person(10, 9, 300, 0.25)])
    found = read_sequence(file)
    assert [image.image_id for image in found.images] == [10, 20]
    assert found.track_ids.tolist() == [7, 9, 7]
    assert found.scores[:, skeleton.INDEX["nose"]].tolist() == [0.5, 0.25, 0.5]
    assert not found.present[:, skeleton.INDEX["right_ankle"]].any()
    neck = found.keypoints[0, skeleton.INDEX["head_bottom"]]
    assert neck == pytest.approx([100, 70 + 0.28 * (50 - 70)], abs=1e-4)  # as for networks of COCO's keypoints
    flags = read_sequence(write_json(tmp_path / "b.json", [person(10, 7, 100, 2)]))
    assert flags.scores[0, 0] == pytest.approx(0.8)

    images = tuple(replace(image, file_name=f"{image.image_id}.jpg", labelled=True) for image in found.images)
    empty = replace(images[0], file_name="15.jpg", image_id=15)
    annotated = replace(found, images=(images[0], empty, images[1]), image_index=np.array([0, 0, 2]))
    corner = annotated.keypoints[:, 0]
    write_posetrack18(
        replace(annotated, head_boxes=np.concatenate([corner - 20, corner + 20], 1)), tmp_path / "gt.json"
    )
    scores = evaluate([(tmp_path / "gt.json", file)], OFFICIAL)
    assert scores.totals["AP"] == pytest.approx(100 * 14 / 15)  # poseval averages the missing ankle in as 0


def test_coco_results_without_ids_are_refused(tmp_path: Path):
    file = write_json(tmp_path / "a.json", [{"image_id": 1, "category_id": 1, "keypoints": [1] * 51, "score": 0.5}])
    with pytest.raises(InputError, match=r"a\.json: person 0: 'track_id' is missing"):
        read_sequence(file)


def test_flat_polygon_is_named(tmp_path: Path):
    image = {"id": 0, "file_name": "0.jpg", "ignore_regions_x": [1, 5, 5], "ignore_regions_y": [1, 1, 5]}
    file = write_json(tmp_path / "a.json", {"images": [image], "annotations": [person18()]})
    with pytest.raises(InputError, match=r"image 0: ignore_regions_x: a list of polygons is needed"):
        read_posetrack(file)
