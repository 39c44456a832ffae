"""What cannot be scored is refused with file, sequence and frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from keytrack_ros.annotations.bags import read_bag
from keytrack_ros.annotations.files import pair_sequences, read_sequence
from keytrack_ros.annotations.posetrack_reader import read_posetrack
from keytrack_ros.annotations.posetrack_writer import write_posetrack18
from keytrack_ros.errors import EvaluationError, InputError, OutputError
from keytrack_ros.evaluation.evaluate import evaluate
from keytrack_ros.evaluation.frames import SequencePair
from keytrack_ros.evaluation.protocol import CLEAN
from keytrack_ros.media.bag_writer import POSES_TOPIC, BagWriter
from keytrack_ros.media.messages import TRACKED_POSES, poses_to_message, typestore
from test.evaluation.toy_sequences import Person, score, sequence
from test.people import people

NAME = "000001_mpii_test"
FRAMES = [[Person(1, 100), Person(2, 400)], [Person(1, 100), Person(2, 400)]]


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """Writes a good file, changed by a function of its content."""

    def write(change: Callable[[dict[str, Any]], Any]) -> Path:
        path = tmp_path / f"{NAME}.json"
        write_posetrack18(sequence(FRAMES), path, overwrite=True)
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        return path

    return write


def test_different_number_of_frames():
    with pytest.raises(EvaluationError, match=f"sequence '{NAME}' has 1 frames, but 2 in the ground truth"):
        SequencePair(sequence(FRAMES), sequence(FRAMES[:1]))


def test_different_frames():
    other = sequence(FRAMES)
    images = (other.images[0], replace(other.images[1], file_name="images/000007.jpg"))
    with pytest.raises(EvaluationError, match=r"frame 1 \(images/000007.jpg\): the ground truth .* has .*000001.jpg"):
        SequencePair(sequence(FRAMES), replace(other, images=images))


def test_names_of_images_need_not_agree_if_frames_are_counted():
    # A tracker that was given the video calls its frames walk/000000.jpg, walk/000001.jpg, …
    named = sequence(FRAMES)
    ground_truth = replace(
        named, images=tuple(replace(i, file_name=f"a/{k + 17}.png") for k, i in enumerate(named.images))
    )
    SequencePair(ground_truth, replace(named, images=tuple(replace(i, image_id=None) for i in named.images)))


def test_sequence_missing_on_one_side(tmp_path: Path):
    for side, names in (("gt", "abc"), ("pred", "ab"), ("more", "abcd")):
        (tmp_path / side).mkdir()
        for name in names:
            write_posetrack18(sequence(FRAMES, name), tmp_path / side / f"{name}.json")
    with pytest.raises(EvaluationError, match=r"pred: there is no prediction for sequence c"):
        pair_sequences(tmp_path / "gt", tmp_path / "pred")
    with pytest.raises(EvaluationError, match=r"gt: there is no ground truth for sequence d"):
        pair_sequences(tmp_path / "gt", tmp_path / "more")


def test_duplicate_ids_in_a_frame(edited):
    path = edited(lambda data: data["annotations"][3].update(track_id=1))
    with pytest.raises(InputError, match=rf"{NAME}\.json: sequence '{NAME}', frame 1 \(.*\): track id 1 is given to"):
        read_posetrack(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_coordinate_that_is_not_finite(edited, value: Any):
    path = edited(lambda data: data["annotations"][2]["keypoints"].__setitem__(4, value))
    with pytest.raises(InputError, match=rf"{NAME}.*frame 1 .*coordinates of track 1, head_bottom, are not finite"):
        read_posetrack(path)


def test_infinite_confidence(edited):
    path = edited(lambda data: data["annotations"][0].update(scores=[float("inf")] * 17))
    with pytest.raises(InputError, match=r"frame 0 .*scores of track 1"):
        read_posetrack(path)


@pytest.mark.parametrize(
    ("head", "reason"),
    [([100, 100, 0, 0], "without size"), ([100, 100, float("inf"), 3], "infinite size"), (None, "no head box")],
)
def test_unusable_head_box(edited, head: Any, reason: str):
    path = edited(lambda data: data["annotations"][3].update(bbox_head=head))
    with pytest.raises(EvaluationError, match=rf"frame 1 \(.*\): the annotated person with track id 2 has .*{reason}"):
        evaluate([(path, path)], CLEAN)


def test_head_box_is_not_needed_of_a_person_without_keypoints(edited):
    def change(data: dict[str, Any]) -> None:
        data["annotations"][3].update(bbox_head=None, keypoints=[0] * 51)

    path = edited(change)
    assert evaluate([(path, path)], CLEAN).totals["MOTA"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.pop("annotations"), "'annotations' is missing"),
        (lambda d: d.update(images={}), "'images': {} is not a list"),
        (lambda d: d["images"].__setitem__(1, 5), "image 1: 5 is not an object"),
        (lambda d: d["images"][1].pop("id"), "image 1: 'id' is missing"),
        (lambda d: d["images"][1].update(id=d["images"][0]["id"]), "images 0 and 1 have one id"),
        (lambda d: d["images"][1].update(vid_id="other"), "holds 2 videos"),
        (lambda d: d["annotations"][2].update(image_id=5), "annotation 2: there is no image with id 5"),
        (lambda d: d["annotations"][2].pop("track_id"), r"frame 1 \(.*\), annotation 2: 'track_id' is missing"),
        (lambda d: d["annotations"][2].update(track_id=True), "'track_id': True is not an integer"),
        (
            lambda d: d["annotations"][2].update(keypoints=[1, 2, 3]),
            "keypoints: 3 numbers found; 51 numbers are needed",
        ),
        (lambda d: d["annotations"][2]["keypoints"].__setitem__(0, "x"), "keypoints: .* are not numbers"),
        (lambda d: d["annotations"][2].update(scores=[0.5]), "scores: 1 numbers found; 17"),
        (lambda d: d["annotations"][2].update(bbox_head=[1, 2, 3]), "bbox_head: 3 numbers found"),
        (lambda d: d["categories"][0].update(keypoints=["nose"] * 17), "categories: joint 'nose' is named twice"),
        (lambda d: d["categories"][0].update(keypoints=["nose"]), "categories: the keypoints head_bottom, .* are not"),
        (lambda d: d.update(categories=[]), "has 0 categories"),
        (lambda d: d["images"][0].update(ignore_regions_x=[[1, 2]]), "ignore_regions_x and ignore_regions_y"),
    ],
)
def test_wrong_schema(edited, change: Callable[[dict[str, Any]], Any], reason: str):
    path = edited(change)
    with pytest.raises(InputError, match=reason) as raised:
        read_posetrack(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"annorect": []}, "frame 0: 'image' is missing"),
        ({"image": [{"name": "a.jpg"}], "annorect": [{}]}, r"frame 0 \(a.jpg\): 'track_id' is missing"),
        (
            {"image": [{"name": "a.jpg"}], "annorect": [{"track_id": [1], "annopoints": [{"point": [{"id": [0]}]}]}]},
            r"frame 0 \(a.jpg\): point 0: .* are not|coordinates",
        ),
        ({"image": [{"name": "a.jpg"}], "annorect": 3}, "3 is not a list"),
    ],
)
def test_wrong_schema_of_2017(tmp_path: Path, entry: dict[str, Any], reason: str):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"annolist": [entry]}))
    with pytest.raises(InputError, match=reason):
        read_posetrack(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b'{"images": [', "not JSON, or cut off"),
        (b"[1, 2]", "person 0: 1 is not an object"),
        (b"7", "neither PoseTrack 2018"),
        (b"{}", "neither PoseTrack 2018"),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_not_a_posetrack_file(tmp_path: Path, content: bytes, reason: str):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"x.json: {reason}"):
        read_sequence(path)


def test_no_such_file_and_empty_folder(tmp_path: Path):
    with pytest.raises(InputError, match="there is no such file or folder"):
        read_sequence(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="neither PoseTrack files"):
        pair_sequences(tmp_path, tmp_path)


def test_nothing_annotated(tmp_path: Path):
    write_posetrack18(sequence([[], []]), tmp_path / "a.json")
    with pytest.raises(EvaluationError, match="nothing to score"):
        evaluate([(tmp_path / "a.json", tmp_path / "a.json")], CLEAN)


def test_error_in_another_process_arrives_whole(tmp_path: Path):
    write_posetrack18(sequence(FRAMES), tmp_path / "good.json")
    (tmp_path / "bad.json").write_text("{}")
    pairs = [(tmp_path / "good.json", tmp_path / "good.json"), (tmp_path / "bad.json", tmp_path / "good.json")]
    with pytest.raises(InputError, match=r"bad\.json: neither PoseTrack 2018"):
        evaluate(pairs, CLEAN, workers=2)


def test_existing_file_is_not_replaced(tmp_path: Path):
    write_posetrack18(sequence(FRAMES), tmp_path / "a.json")
    with pytest.raises(OutputError, match="exists already"):
        write_posetrack18(sequence(FRAMES), tmp_path / "a.json")


def test_bag_without_tracked_poses(tmp_path: Path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_image("/camera", np.zeros((4, 4, 3), np.uint8), 0)
    with pytest.raises(InputError, match="bag: the bag has no single topic of tracked poses"):
        read_bag(tmp_path / "bag")


def test_bag_with_tracked_poses_of_another_definition(tmp_path: Path):
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        wrong = "RIHS01_" + "0" * 64
        connection = writer.add_connection("/poses", TRACKED_POSES, msgdef="float64 x\n", rihs01=wrong)
        writer.write(connection, 0, b"\x00\x01\x00\x00" + bytes(8))
    with pytest.raises(InputError, match="bag: its keytrack_ros/msg/TrackedPoseArray is defined otherwise than here"):
        read_bag(tmp_path / "bag")


def test_bag_with_a_damaged_message(tmp_path: Path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_cdr(POSES_TOPIC, TRACKED_POSES, 0, b"\x00\x01\x00\x00damaged")
    with pytest.raises(InputError, match=r"/tracker/poses: message cannot be decoded: "):
        read_bag(tmp_path / "bag")


def test_bag_with_an_announced_topic_but_no_message(tmp_path: Path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic(POSES_TOPIC, TRACKED_POSES)
    with pytest.raises(InputError, match=r"bag: .*no (message|single topic)"):
        read_bag(tmp_path / "bag")


def test_bag_with_one_id_twice(tmp_path: Path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_poses(people((100, 200), (400, 200), track_ids=np.array([4, 4])), 0, (640, 480))
    with pytest.raises(InputError, match="frame 0: track id 4"):
        read_bag(tmp_path / "bag")


def test_no_bag_at_all(tmp_path: Path):
    (tmp_path / "x.mcap").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"x\.mcap: not a bag"):
        read_sequence(tmp_path / "x.mcap")


def test_bag_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    frames = [[Person(1, 100 + k)] for k in range(20)]
    walk, noise = sequence(frames), np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with BagWriter(tmp_path / "bag") as bag:
        for k in range(20):
            bag.write_image("/camera", noise, k)
            bag.write_poses(walk.poses(k), k, (640, 480))
    (file,) = (tmp_path / "bag").glob("*.mcap")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    read = read_bag(file)
    assert 0 < len(read) < 20
    assert "cut off" in caplog.text
    assert read.keypoints[0, 2].tolist() == [100, 102]
    # Scored against the whole recording, the missing frames are named.
    with pytest.raises(EvaluationError, match=rf"has {len(read)} frames, but 20 in the ground truth"):
        score(walk, read)


def test_sqlite_bag(tmp_path: Path):
    poses = people((100, 200), (400, 200), track_ids=np.array([4, 9]))
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/poses", TRACKED_POSES, typestore=typestore())
        for k in range(3):
            message = poses_to_message(poses, k * 10**9, "camera", (640, 480))
            writer.write(connection, k * 10**9, typestore().serialize_cdr(message, TRACKED_POSES))
    read = read_sequence(tmp_path / "bag")
    assert len(read) == 3
    assert read.track_ids.tolist() == [4, 9] * 3
    (file,) = (tmp_path / "bag").glob("*.db3")
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(InputError, match="not a bag that can be read"):
        read_sequence(tmp_path / "bag")
