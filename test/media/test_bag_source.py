"""Frames from bags that the tests write: both storages, all encodings, whole and broken."""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from keytrack_ros.errors import InputError
from keytrack_ros.media.messages import typestore
from keytrack_ros.media.pixels import BitDepth
from keytrack_ros.media.ros_images import image_to_bgr
from keytrack_ros.media.sources import open_source

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
STORAGES = [(StoragePlugin.MCAP, ".mcap"), (StoragePlugin.SQLITE3, ".db3")]
BASE_NS = 1_700_000_000_000_000_000


def header(stamp_ns: int, frame_id: str = "camera") -> Any:
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def image_message(image: np.ndarray, stamp_ns: int, encoding: str = "bgr8") -> Any:
    data = np.ascontiguousarray(image).view(np.uint8).ravel()
    return typestore().types[IMAGE](
        header=header(stamp_ns),
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=data.size // image.shape[0],
        data=data,
    )


def compressed_message(image: np.ndarray, stamp_ns: int) -> Any:
    data = cv2.imencode(".png", image)[1].ravel()
    return typestore().types[COMPRESSED](header=header(stamp_ns), format="bgr8; png compressed bgr8", data=data)


def write_bag(folder: Path, messages: list[tuple[str, int, Any]], storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    """`messages` are (topic, log time in ns, message)."""
    with Writer(folder, version=9, storage_plugin=storage) as writer:
        connections: dict[str, Any] = {}
        for topic, time_ns, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=typestore())
            data = typestore().serialize_cdr(message, message.__msgtype__)
            writer.write(connections[topic], time_ns, data)
    return folder


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (120, 160, 3), np.uint8)


def camera(frames: int) -> list[tuple[str, int, Any]]:
    """Images at 10 Hz, recorded 7 ms after they were taken."""
    stamps = [BASE_NS + i * 100_000_000 for i in range(frames)]
    return [("/camera", stamp + 7_000_000, image_message(noise(i), stamp)) for i, stamp in enumerate(stamps)]


@pytest.mark.parametrize(("storage", "suffix"), STORAGES)
class TestWholeAndBroken:
    def test_folder_and_single_file_give_the_headers_stamps(
        self, tmp_path: Path, storage: StoragePlugin, suffix: str
    ) -> None:
        folder = write_bag(tmp_path / "bag", camera(5), storage)
        for path in (folder, folder / f"bag{suffix}"):
            with open_source(path) as source:
                assert (source.count, source.size) == (5, (160, 120))
                assert source.fps == pytest.approx(10)
                frames = list(source)
            assert [f.stamp_ns for f in frames] == [BASE_NS + i * 100_000_000 for i in range(5)]
            assert {f.frame_id for f in frames} == {"camera"}
            for index, frame in enumerate(frames):
                np.testing.assert_array_equal(frame.image_bgr, noise(index))

    def test_cut_off_recording_is_used_as_far_as_it_goes(
        self, tmp_path: Path, storage: StoragePlugin, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = write_bag(tmp_path / "bag", camera(40), storage)
        file = folder / f"bag{suffix}"
        data = file.read_bytes()
        file.write_bytes(data[: len(data) * 3 // 4])
        for path in (folder, file):
            caplog.clear()
            with caplog.at_level(logging.WARNING), open_source(path) as source:
                frames = list(source)
            assert 15 <= len(frames) <= 31
            np.testing.assert_array_equal(frames[-1].image_bgr, noise(len(frames) - 1))
            assert f"{file}: the recording was cut off" in caplog.text
            assert f"the {len(frames)} messages that are whole are used" in caplog.text

    def test_images_come_in_the_order_of_their_stamps_when_wanted(
        self, tmp_path: Path, storage: StoragePlugin, suffix: str
    ) -> None:
        order = [3, 0, 1, 4, 2, 5]
        times = [time_ns for _, time_ns, _ in camera(6)]
        taken = camera(6)
        messages = [("/camera", times[k], taken[place][2]) for k, place in enumerate(order)]
        messages[3][2].header.stamp.sec = messages[3][2].header.stamp.nanosec = 0  # between those of 1 and 2
        folder = write_bag(tmp_path / "bag", messages, storage)
        with open_source(folder / f"bag{suffix}", in_stamp_order=True) as source:
            frames = list(source)
        assert [f.index for f in frames] == list(range(6))
        for frame, seed in zip(frames, [0, 1, 4, 2, 3, 5], strict=True):
            np.testing.assert_array_equal(frame.image_bgr, noise(seed))
        with open_source(folder) as source:
            np.testing.assert_array_equal(next(iter(source)).image_bgr, noise(3))

    def test_order_of_stamps_in_a_recording_that_was_cut_off(
        self, tmp_path: Path, storage: StoragePlugin, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = write_bag(tmp_path / "bag", camera(40), storage)
        file = folder / f"bag{suffix}"
        data = file.read_bytes()
        file.write_bytes(data[: len(data) * 3 // 4])
        with open_source(file) as source:
            expected = [f.stamp_ns for f in source]
        with caplog.at_level(logging.WARNING), open_source(file, in_stamp_order=True) as source:
            assert [f.stamp_ns for f in source] == expected
        assert "the recording was cut off" in caplog.text

    def test_recording_that_was_killed_has_no_metadata(
        self, tmp_path: Path, storage: StoragePlugin, suffix: str
    ) -> None:
        folder = write_bag(tmp_path / "bag", camera(3), storage)
        (folder / "metadata.yaml").unlink()
        assert [file.name for file in folder.iterdir()] == [f"bag{suffix}"]
        with open_source(folder) as source:
            assert len(list(source)) == 3


def write_ros1_bag(path: Path, taken: Sequence[int]) -> Path:
    """A bag of ROS 1 with a chunk for each image of `noise`; `taken` says in which order they were taken."""
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    writer = Rosbag1Writer(path)
    writer.chunk_threshold = 1
    with writer:
        connection = writer.add_connection("/camera", IMAGE, typestore=store)
        for recorded, number in enumerate(taken):
            stamp = types["builtin_interfaces/msg/Time"](sec=100, nanosec=5 + number * 10**8)
            message = types[IMAGE](
                header=types["std_msgs/msg/Header"](seq=recorded, stamp=stamp, frame_id="camera"),
                height=120,
                width=160,
                encoding="bgr8",
                is_bigendian=0,
                step=480,
                data=noise(number).ravel(),
            )
            writer.write(connection, BASE_NS + recorded, store.serialize_ros1(message, IMAGE))
    return path


def test_bags_of_ros_1(tmp_path: Path) -> None:
    path = write_ros1_bag(tmp_path / "one.bag", (2, 0, 1))
    with open_source(path, in_stamp_order=True) as source:
        frames = list(source)
    assert [f.stamp_ns for f in frames] == [100 * 10**9 + k * 10**8 + 5 for k in range(3)]
    np.testing.assert_array_equal(frames[2].image_bgr, noise(2))


@pytest.mark.parametrize("in_stamp_order", [False, True])
@pytest.mark.parametrize("damaged", [0, 3, 4])
@pytest.mark.parametrize("length", [0, 7, 2**32 - 1])
def test_a_damaged_record_of_a_ros_1_bag_ends_it(
    tmp_path: Path, damaged: int, length: int, in_stamp_order: bool, caplog: pytest.LogCaptureFixture
) -> None:
    # The index at the end is whole: the damage shows when the message is read, even for the first look at the stamps.
    path = write_ros1_bag(tmp_path / "one.bag", range(5))
    data = bytearray(path.read_bytes())
    position = -1
    for _ in range(damaged + 1):  # each message's record: length of its header, then the header's field `op` = 2
        position = data.index(b"\x04\x00\x00\x00op=\x02", position + 1)
    struct.pack_into("<I", data, position - 4, length)
    path.write_bytes(data)
    nothing = pytest.raises(InputError, match="there is no frame") if damaged == 0 else nullcontext()
    frames = []
    with caplog.at_level(logging.WARNING), nothing, open_source(path, in_stamp_order=in_stamp_order) as source:
        frames = list(source)
    assert [f.stamp_ns for f in frames] == [100 * 10**9 + k * 10**8 + 5 for k in range(damaged)]
    assert f"one.bag: the bag breaks off after image {damaged} of 5: " in caplog.text
    assert "what could be read is used" in caplog.text


@pytest.mark.parametrize("suffix", [".mcap", ".db3", ".bag"])
def test_not_a_bag_at_all(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"notes{suffix}"
    path.write_text("shopping list" * 50)
    with pytest.raises(InputError, match=rf"notes{suffix}: not a bag that can be read"):
        open_source(path)


class TestTopics:
    def test_several_topics_have_to_be_chosen_from(self, tmp_path: Path) -> None:
        folder = write_bag(
            tmp_path / "bag",
            [
                ("/left", BASE_NS, image_message(noise(1), BASE_NS)),
                ("/right", BASE_NS, compressed_message(noise(2), BASE_NS)),
            ],
        )
        with pytest.raises(InputError, match="2 topics with images; name one with --topic: /left, /right"):
            open_source(folder)
        with open_source(folder, topic="/right") as source:
            (frame,) = source
        np.testing.assert_array_equal(frame.image_bgr, noise(2))
        with pytest.raises(InputError, match="no images on '/middle'; it has them on /left, /right"):
            open_source(folder, topic="/middle")

    def test_no_images_in_the_bag(self, tmp_path: Path) -> None:
        text = typestore().types["std_msgs/msg/String"](data="hello")
        folder = write_bag(tmp_path / "bag", [("/chatter", BASE_NS, text)])
        with pytest.raises(InputError, match=r"no topic with images; it holds /chatter \(std_msgs/msg/String\)"):
            open_source(folder)

    @pytest.mark.parametrize(("storage", "_"), STORAGES)
    @pytest.mark.parametrize("definition", ["", "int32 a\n", "nowhere_msgs/Inner inner\n", "no definition at all"])
    def test_messages_that_nobody_knows_do_not_matter(
        self, tmp_path: Path, storage: StoragePlugin, _: str, definition: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Their definitions may be missing, refer to others that are, contradict their hash, or be none."""
        with Writer(tmp_path / "bag", version=9, storage_plugin=storage) as writer:
            wrong = "RIHS01_" + "0" * 64
            other = writer.add_connection("/thing", "custom_msgs/msg/Thing", msgdef=definition, rihs01=wrong)
            writer.write(other, BASE_NS, b"\x00\x01\x00\x00nobody knows")
            camera_topic = writer.add_connection("/camera", IMAGE, typestore=typestore())
            data = typestore().serialize_cdr(image_message(noise(1), BASE_NS), IMAGE)
            writer.write(camera_topic, BASE_NS, data)
        with caplog.at_level(logging.WARNING), open_source(tmp_path / "bag") as source:
            (frame,) = source
        np.testing.assert_array_equal(frame.image_bgr, noise(1))
        assert caplog.text == ""

    def test_a_header_without_stamp_gets_the_time_of_recording(self, tmp_path: Path) -> None:
        folder = write_bag(tmp_path / "bag", [("/camera", BASE_NS + 5, image_message(noise(1), 0))])
        with open_source(folder) as source:
            assert [f.stamp_ns for f in source] == [BASE_NS + 5]

    def test_wrong_encoding_is_named(self, tmp_path: Path) -> None:
        depth = image_message(np.ones((12, 16), np.float32), BASE_NS, "32FC1")
        folder = write_bag(tmp_path / "bag", [("/depth", BASE_NS, depth)])
        with pytest.raises(
            InputError, match=r"none of 1 frames .*: /depth: encoding '32FC1' \(a depth image\) cannot be"
        ):
            open_source(folder)

    def test_one_bad_message_among_good_ones_is_left_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        messages = camera(4)
        messages[2][2].step = 7
        with caplog.at_level(logging.WARNING), open_source(write_bag(tmp_path / "bag", messages)) as source:
            assert [f.index for f in source] == [0, 1, 3]
        assert "frame 2 is left out: /camera: step is 7, but a row of 160 pixels in 'bgr8' has 480 bytes" in caplog.text


class TestEncodings:
    BGR = np.full((12, 16, 3), (200, 100, 50), np.uint8)

    @pytest.mark.parametrize(
        ("encoding", "image", "tolerance"),
        [
            ("bgr8", BGR, 0),
            ("8UC3", BGR, 0),
            ("rgb8", BGR[..., ::-1], 0),
            ("bgra8", cv2.cvtColor(BGR, cv2.COLOR_BGR2BGRA), 0),
            ("rgba8", cv2.cvtColor(BGR, cv2.COLOR_BGR2RGBA), 0),
            ("bgr16", BGR.astype(np.uint16) * 257, 1),
            ("nv12", None, 3),
        ],
    )
    def test_colours_are_right(self, encoding: str, image: np.ndarray | None, tolerance: int) -> None:
        if image is None:  # one plane of brightness, then one of U and V in turns at half the size
            planes = cv2.cvtColor(self.BGR, cv2.COLOR_BGR2YUV_I420).ravel()
            u, v = planes[12 * 16 :].reshape(2, -1)
            image = np.concatenate([planes[: 12 * 16], np.stack([u, v], 1).ravel()]).reshape(18, 16)
            message = image_message(image, 0, encoding)
            message.height = 12
        else:
            message = image_message(image, 0, encoding)
        assert np.abs(image_to_bgr(message).astype(int) - self.BGR).max() <= tolerance

    @pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
    def test_bayer_patterns(self, pattern: str) -> None:
        value = dict(zip("bgr", (200, 100, 50), strict=True))
        mosaic = np.tile(np.array([value[c] for c in pattern], np.uint8).reshape(2, 2), (8, 8))
        image = image_to_bgr(image_message(mosaic, 0, f"bayer_{pattern}8"))
        assert image[8, 8].tolist() == [200, 100, 50]

    def test_grey_and_16_bits(self) -> None:
        grey = image_to_bgr(image_message(np.full((12, 16), 90, np.uint8), 0, "mono8"))
        deep = image_to_bgr(image_message(np.full((12, 16), 65535, np.uint16), 0, "mono16"))
        assert grey[3, 3].tolist() == [90, 90, 90]
        assert deep[3, 3].tolist() == [255, 255, 255]

    def test_padded_rows_and_big_endian(self) -> None:
        message = image_message(noise(3), 0)
        message.data = np.pad(message.data.reshape(120, 480), ((0, 0), (0, 32))).ravel()
        message.step = 512
        np.testing.assert_array_equal(image_to_bgr(message), noise(3))
        big = image_message(np.full((12, 16), 0x8000, np.uint16).byteswap(), 0, "mono16")
        big.is_bigendian = 1
        assert image_to_bgr(big)[0, 0, 0] in (127, 128)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"encoding": "rainbow"}, "encoding 'rainbow' is not known"),
            ({"encoding": "16UC1"}, r"encoding '16UC1' \(a depth image\) cannot be shown as a colour image"),
            ({"width": 0}, "the image is 0x12 pixels"),
            ({"step": 47}, "step is 47, but a row of 16 pixels in 'bgr8' has 48 bytes"),
            ({"data": np.zeros(100, np.uint8)}, "data has 100 bytes, but 12 rows with a step of 48 need 576"),
        ],
    )
    def test_contradictions_are_named(self, changes: dict[str, Any], words: str) -> None:
        message = vars(image_message(self.BGR, 0)) | changes
        with pytest.raises(InputError, match=words):
            image_to_bgr(SimpleNamespace(**message))

    @pytest.mark.parametrize(
        ("kind", "data", "words"),
        [
            ("jpeg", b"\xff\xd8 and nothing", "14 bytes of format 'jpeg' cannot be decoded"),
            ("jpeg", b"", "0 bytes of format 'jpeg' cannot be decoded"),
            ("16UC1; compressedDepth png", b"abc", "is a depth image"),
        ],
    )
    def test_compressed_images_that_are_none(self, kind: str, data: bytes, words: str) -> None:
        message = SimpleNamespace(format=kind, data=np.frombuffer(data, np.uint8))
        with pytest.raises(InputError, match=words):
            image_to_bgr(message)


class TestBitDepth:
    GREY = np.tile(np.arange(256, dtype=np.uint16), (4, 1))

    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    @pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bgra16", "bayer_rggb16"])
    def test_16_bit_images_of_any_sensor_have_their_brightness(self, bits: int, encoding: str) -> None:
        channels = {"rgb16": 3, "bgra16": 4}.get(encoding, 1)
        grey = np.repeat(self.GREY[..., None], channels, 2).squeeze()
        values = (grey.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
        image = image_to_bgr(image_message(values, 0, encoding))
        assert image.shape == (4, 256, 3)
        assert image.mean() == pytest.approx(127.5, abs=2)

    def test_the_brightness_of_a_stream_does_not_flicker(self, caplog: pytest.LogCaptureFixture) -> None:
        depth = BitDepth("/infrared")
        levels = [int(depth.to_uint8(np.full((2, 2), value, np.uint16))[0, 0]) for value in (4000, 400, 1000)]
        assert levels == [round(value * 255 / 4095) for value in (4000, 400, 1000)]
        assert caplog.text.count("/infrared: 16-bit images with values up to 4000: taken for 12 bits") == 1
        depth.to_uint8(np.full((2, 2), 50_000, np.uint16))
        assert "taken for 16 bits" in caplog.text

    def test_a_number_of_bits_is_kept_to(self) -> None:
        depth = BitDepth(bits=10)
        assert depth.to_uint8(np.array([[0, 1023, 5000]], np.uint16)).tolist() == [[0, 255, 255]]
        with pytest.raises(ValueError, match="bits is 17"):
            BitDepth(bits=17)

    @pytest.mark.parametrize("encoding", ["32FC3", "64FC3", "16SC3", "8SC1", "32SC3", "16SC1"])
    def test_pixels_without_a_known_range_are_refused_by_name(self, encoding: str) -> None:
        message = image_message(np.ones((4, 4, 3), np.float32), 0, encoding)
        with pytest.raises(InputError, match=rf"encoding '{encoding}' \(signed or floating-point pixels\)"):
            image_to_bgr(message)

    def test_a_bag_says_it_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        values = (self.GREY * 16).astype(np.uint16)
        messages = [("/ir", BASE_NS + k, image_message(values, BASE_NS + k, "mono16")) for k in range(5)]
        folder = write_bag(tmp_path / "bag", messages)
        with open_source(folder) as source:
            assert [round(frame.image_bgr.mean()) for frame in source] == [127] * 5
        assert caplog.text.count("taken for 12 bits") == 1
        with open_source(folder, bits=16) as source:
            assert [round(frame.image_bgr.mean()) for frame in source] == [8] * 5
