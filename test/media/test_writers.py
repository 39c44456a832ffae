"""Results on disk: read back with other people's readers, the same numbers must come."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader

from keytrack_ros.errors import InputError, OutputError
from keytrack_ros.media.bag_reader import read_poses
from keytrack_ros.media.bag_writer import BagWriter
from keytrack_ros.media.messages import TRACKED_POSES, poses_to_message, typestore
from keytrack_ros.media.pose_messages import from_pose_array
from keytrack_ros.media.posetrack_writer import PoseTrackWriter
from keytrack_ros.media.video_writer import VideoWriter
from keytrack_ros.poses import Poses

STAMP_NS = 1_700_000_000_123_456_789


def two_people() -> Poses:
    keypoints = np.arange(2 * 15 * 2, dtype=np.float32).reshape(2, 15, 2) + 0.25
    scores = np.full((2, 15), 0.5, np.float32)
    scores[0, 0] = 0
    return Poses(
        keypoints,
        scores,
        boxes=np.array([[1, 2, 31, 62], [3.5, 4, 10, 20]]),
        box_scores=np.array([0.9, np.nan]),
        carried=np.array([False, True]),
        track_ids=np.array([7, 12]),
        match_scores=np.array([0.0, 0.75]),
        ages=np.array([0, 3]),
    )


class TestPoseTrack:
    def test_a_hand_worked_annotation(self, tmp_path: Path) -> None:
        with PoseTrackWriter(tmp_path / "tracks.json", "walk") as writer:
            writer.write(Poses.empty(), 4, (640, 480))
            writer.write(two_people(), 6, (640, 480))
        content = json.loads((tmp_path / "tracks.json").read_text())
        assert [(i["id"], i["frame_id"], i["file_name"], i["nframes"]) for i in content["images"]] == [
            (4, 4, "walk/000004.jpg", 2),
            (6, 6, "walk/000006.jpg", 2),
        ]
        first, second = content["annotations"]
        assert (first["image_id"], first["track_id"], first["category_id"]) == (6, 7, 1)
        assert first["bbox"] == [1, 2, 30, 60]
        # nose missing; head_bottom and head_top are keypoints 1 and 2; then the two ears, never known
        assert first["keypoints"][:18] == [0, 0, 0, 2.25, 3.25, 1, 4.25, 5.25, 1, 0, 0, 0, 0, 0, 0, 6.25, 7.25, 1]
        assert len(first["keypoints"]) == 51
        assert first["scores"][:6] == [0, 0.5, 0.5, 0, 0, 0.5]
        assert len(first["scores"]) == 17
        assert (second["track_id"], second["id"]) == (12, 2)
        assert second["keypoints"][-3:] == [58.25, 59.25, 1]

    def test_category_names_every_slot_and_limb(self, tmp_path: Path) -> None:
        with PoseTrackWriter(tmp_path / "tracks.json", "walk") as writer:
            writer.write(Poses.empty(), 0, (64, 48))
        (category,) = json.loads((tmp_path / "tracks.json").read_text())["categories"]
        assert category["name"] == "person"
        assert category["keypoints"][:6] == [
            "nose",
            "head_bottom",
            "head_top",
            "left_ear",
            "right_ear",
            "left_shoulder",
        ]
        assert [6, 8] in category["skeleton"]  # left shoulder to left elbow, counted from 1
        assert all(slot not in (4, 5) for limb in category["skeleton"] for slot in limb)

    def test_after_an_error_the_file_holds_what_there_was(self, tmp_path: Path) -> None:
        def fail() -> None:
            with PoseTrackWriter(tmp_path / "tracks.json", "walk") as writer:
                writer.write(two_people(), 0, (64, 48))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert len(json.loads((tmp_path / "tracks.json").read_text())["annotations"]) == 2
        assert [file.name for file in tmp_path.iterdir()] == ["tracks.json"]

    def test_refuses_to_overwrite_unless_told(self, tmp_path: Path) -> None:
        path = tmp_path / "tracks.json"
        path.write_text("mine")
        with pytest.raises(OutputError, match=r"tracks\.json: exists already.*--overwrite"):
            PoseTrackWriter(path, "walk")
        PoseTrackWriter(path, "walk", overwrite=True).close()
        assert json.loads(path.read_text())["annotations"] == []


class TestBag:
    def test_round_trip_keeps_every_number(self, tmp_path: Path) -> None:
        poses = two_people()
        with BagWriter(tmp_path / "bag") as bag:
            bag.write_poses(poses, STAMP_NS, (640, 480), frame_id="camera")
            bag.write_poses(Poses.empty(), STAMP_NS + 40_000_000, (640, 480), frame_id="camera")
        frames = list(read_poses(tmp_path / "bag"))
        assert [f.stamp_ns for f in frames] == [STAMP_NS, STAMP_NS + 40_000_000]
        assert frames[0].frame_id == "camera"
        assert frames[0].size == (640, 480)
        assert len(frames[1].poses) == 0
        for name in ("keypoints", "scores", "boxes", "box_scores", "carried", "track_ids", "match_scores", "ages"):
            np.testing.assert_array_equal(getattr(frames[0].poses, name), getattr(poses, name), err_msg=name)

    def test_a_reader_without_our_messages_decodes_it(self, tmp_path: Path) -> None:
        """mcap-ros2-support, as Foxglove, has nothing but the definitions in the file."""
        poses = two_people()
        with BagWriter(tmp_path / "bag") as bag:
            bag.write_poses(poses, STAMP_NS, (640, 480), frame_id="camera")
        (file,) = (tmp_path / "bag").glob("*.mcap")
        with file.open("rb") as stream:
            ((schema, _, _, message),) = make_reader(
                stream, decoder_factories=[DecoderFactory()]
            ).iter_decoded_messages()
        assert schema.name == "keytrack_ros/msg/TrackedPoseArray"
        assert (message.header.frame_id, message.image_width) == ("camera", 640)
        assert [pose.track_id for pose in message.poses] == poses.track_ids.tolist()
        np.testing.assert_array_equal(
            [[(point.x, point.y) for point in pose.keypoints] for pose in message.poses], poses.keypoints
        )

    def test_log_time_is_the_stamp_and_images_are_jpeg(self, tmp_path: Path) -> None:
        image = np.full((40, 60, 3), (10, 120, 240), np.uint8)
        with BagWriter(tmp_path / "bag") as bag:
            bag.write_image("/image/compressed", image, STAMP_NS, frame_id="camera")
        with AnyReader([tmp_path / "bag"]) as reader:
            ((connection, time_ns, data),) = reader.messages()
            message = reader.deserialize(data, connection.msgtype)
        assert connection.topic == "/image/compressed"
        assert time_ns == STAMP_NS
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
        decoded = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
        assert np.abs(decoded.astype(int) - image).max() <= 4

    def test_serialised_messages_pass_through(self, tmp_path: Path) -> None:
        message = poses_to_message(two_people(), STAMP_NS, "camera", (640, 480))
        data = bytes(typestore().serialize_cdr(message, TRACKED_POSES))
        with BagWriter(tmp_path / "bag") as bag:
            bag.write_cdr("/a", TRACKED_POSES, STAMP_NS, data)
            assert bag.counts == {"/a": 1}
        (frame,) = read_poses(tmp_path / "bag")
        assert frame.poses.track_ids.tolist() == [7, 12]

    def test_serialised_as_the_middleware_does(self) -> None:
        messages = pytest.importorskip("keytrack_ros.msg", reason="the messages are not built")
        serialization = pytest.importorskip("rclpy.serialization", reason="rclpy is not installed")
        message = poses_to_message(two_people(), STAMP_NS, "camera", (640, 480))
        data = bytes(typestore().serialize_cdr(message, TRACKED_POSES))
        ours = from_pose_array(serialization.deserialize_message(data, messages.TrackedPoseArray))
        np.testing.assert_array_equal(ours.keypoints, two_people().keypoints)
        assert ours.track_ids.tolist() == [7, 12]

    def test_type_hash_is_that_of_the_built_messages(self) -> None:
        messages = pytest.importorskip("keytrack_ros.msg", reason="the messages are not built")
        for folder in Path(messages.__file__).parents:
            file = folder / "share/keytrack_ros/msg/TrackedPoseArray.json"
            if file.is_file():
                hashes = {t["type_name"]: t["hash_string"] for t in json.loads(file.read_text())["type_hashes"]}
                assert typestore().hash_rihs01(TRACKED_POSES) == hashes[TRACKED_POSES]
                return
        pytest.skip("the build left no type descriptions")

    def test_after_an_error_the_bag_holds_what_there_was(self, tmp_path: Path) -> None:
        def interrupt() -> None:
            with BagWriter(tmp_path / "bag") as bag:
                bag.write_poses(two_people(), STAMP_NS, (640, 480))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupt()
        assert len(list(read_poses(tmp_path / "bag"))) == 1

    def test_a_bag_without_messages_can_be_read(self, tmp_path: Path) -> None:
        with BagWriter(tmp_path / "bag") as bag:
            bag.add_topic("/tracker/poses", TRACKED_POSES)
        assert list(read_poses(tmp_path / "bag")) == []

    def test_unknown_type_is_named(self, tmp_path: Path) -> None:
        with BagWriter(tmp_path / "bag") as bag, pytest.raises(InputError, match=r"/radar.*vendor_msgs/msg/Radar"):
            bag.write_cdr("/radar", "vendor_msgs/msg/Radar", 0, b"")

    def test_overwrites_only_bags_and_only_when_told(self, tmp_path: Path) -> None:
        BagWriter(tmp_path / "bag").close()
        with pytest.raises(OutputError, match="exists already"):
            BagWriter(tmp_path / "bag")
        BagWriter(tmp_path / "bag", overwrite=True).close()
        (tmp_path / "bag/thesis.tex").write_text("years of work")
        with pytest.raises(OutputError, match="not a bag"):
            BagWriter(tmp_path / "bag", overwrite=True)
        assert (tmp_path / "bag/thesis.tex").read_text() == "years of work"


class TestVideo:
    @staticmethod
    def read(path: Path) -> list[np.ndarray]:
        capture = cv2.VideoCapture(str(path))
        frames = []
        while True:
            found, image = capture.read()
            if not found:
                return frames
            frames.append(image)

    @pytest.mark.parametrize(("size", "written"), [((64, 48), (64, 48)), ((65, 49), (64, 48))])
    def test_opens_again_with_all_frames(self, tmp_path: Path, size: tuple[int, int], written: tuple[int, int]) -> None:
        with VideoWriter(tmp_path / "a.mp4", 12.5) as video:
            for level in range(20, 220, 10):
                video.write(np.full((size[1], size[0], 3), level, np.uint8))
        frames = self.read(tmp_path / "a.mp4")
        assert len(frames) == 20
        assert frames[0].shape == (written[1], written[0], 3)
        np.testing.assert_allclose([f.mean() for f in frames], np.arange(20, 220, 10), atol=6)
        assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
        assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]

    def test_another_size_is_scaled_and_said_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING), VideoWriter(tmp_path / "a.mp4", 25) as video:
            video.write(np.zeros((48, 64, 3), np.uint8))
            video.write(np.full((96, 96, 3), 200, np.uint8))
            video.write(np.full((96, 96, 3), 200, np.uint8))
        frames = self.read(tmp_path / "a.mp4")
        assert [f.shape for f in frames] == [(48, 64, 3)] * 3
        assert frames[2].mean() == pytest.approx(200, abs=6)
        assert [r.getMessage().partition(": ")[2] for r in caplog.records] == [
            "an image of 96x96 is scaled to 64x48, the size of the video"
        ]

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="nowhere"):
            VideoWriter(tmp_path / "nowhere/a.mp4", 25).write(np.zeros((48, 64, 3), np.uint8))

    def test_refuses_to_overwrite(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_text("mine")
        with pytest.raises(OutputError, match="exists already"):
            VideoWriter(tmp_path / "a.mp4", 25)
