"""Bags as people have them: split, compressed, renamed, with times of all kinds. Nothing is left out silently."""

from __future__ import annotations

import logging
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import zstd

from keytrack_ros.errors import InputError
from keytrack_ros.media.bag_source import image_stamps
from keytrack_ros.media.messages import typestore
from keytrack_ros.media.sources import open_source
from test.media.mcap_files import write_mcap
from test.media.test_bag_source import BASE_NS, COMPRESSED, IMAGE, camera, header, image_message, write_bag
from test.media.video_files import encode, place, scene

TENTH = 100_000_000


def frames_of(path: Path, **options: Any) -> list[Any]:
    with open_source(path, **options) as source:
        return list(source)


def numbered(stamps: list[float]) -> list[tuple[str, int, Any]]:
    """Small images, each with its number as brightness, with stamps in tenths of a second, recorded a tenth apart."""
    return [
        ("/camera", BASE_NS + k * TENTH, image_message(np.full((4, 4, 3), k, np.uint8), round(stamp * TENTH)))
        for k, stamp in enumerate(stamps)
    ]


def order(path: Path, **options: Any) -> list[int]:
    return [int(frame.image_bgr[0, 0, 0]) for frame in frames_of(path, **options)]


class TestTimes:
    def test_a_simulation_that_begins_at_zero(self, tmp_path: Path) -> None:
        bag = write_bag(tmp_path / "bag", numbered(list(range(20))))
        frames = frames_of(bag, in_stamp_order=True)
        assert [f.stamp_ns for f in frames] == [k * TENTH for k in range(20)]
        assert {f.stretch for f in frames} == {0}

    def test_one_zero_stamp_keeps_its_place(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        bag = write_bag(tmp_path / "bag", numbered([100 + k if k != 5 else 0 for k in range(20)]))
        for ordered in (True, False):
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                frames = frames_of(bag, in_stamp_order=ordered)
            assert [f.stamp_ns for f in frames] == [(100 + k) * TENTH for k in range(20)]
            assert "image 5 has no stamp, or a wrong one; it is put between its neighbours" in caplog.text

    def test_two_passes_one_after_the_other(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        bag = write_bag(tmp_path / "bag", numbered([100 + k % 20 for k in range(40)]))
        with caplog.at_level(logging.WARNING):
            assert order(bag, in_stamp_order=True) == list(range(40))
        assert "stamps go back by 1.9 s at image 20; tracks end there" in caplog.text
        assert [f.stretch for f in frames_of(bag, in_stamp_order=True)] == [0] * 20 + [1] * 20
        assert image_stamps(bag) == [(100 + k % 20) * TENTH for k in range(40)]

    def test_late_images_are_sorted_within_a_pass(self, tmp_path: Path) -> None:
        bag = write_bag(tmp_path / "bag", numbered([100, 102, 101, 103, 20, 22, 21, 23]))
        assert order(bag, in_stamp_order=True) == [0, 2, 1, 3, 4, 6, 5, 7]

    def test_no_stamps_at_all(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        bag = write_bag(tmp_path / "bag", numbered([0] * 5))
        with caplog.at_level(logging.WARNING):
            frames = frames_of(bag, in_stamp_order=True)
        assert [f.stamp_ns for f in frames] == [BASE_NS + k * TENTH for k in range(5)]
        assert "no image has a stamp; the times of recording are used" in caplog.text


def split(folder: Path, parts: int, storage: StoragePlugin, suffix: str) -> Path:
    """A bag of several files with ten images each, without metadata.yaml."""
    folder.mkdir()
    images = camera(10 * parts)
    for part in range(parts):
        made = write_bag(folder.with_name(f"part{part}"), images[10 * part : 10 * part + 10], storage)
        (made / f"part{part}{suffix}").rename(folder / f"rec_{part}{suffix}")
    return folder


def compress(file: Path) -> Path:
    packed = file.with_name(f"{file.name}.zstd")
    packed.write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()
    return packed


def test_images_beside_a_bag_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bag = write_bag(tmp_path / "bag", numbered([1, 2]))
    cv2.imwrite(str(bag / "preview.png"), np.zeros((4, 4, 3), np.uint8))
    assert order(bag) == [0, 1]
    assert "is read as a bag; 1 images in that folder are left out" in caplog.text


@pytest.mark.parametrize(("storage", "suffix"), [(StoragePlugin.MCAP, ".mcap"), (StoragePlugin.SQLITE3, ".db3")])
class TestParts:
    def test_compressed_parts_are_read_with_the_others(
        self, tmp_path: Path, storage: StoragePlugin, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = split(tmp_path / "bag", 3, storage, suffix)
        expected = [BASE_NS + k * TENTH for k in range(30)]
        for part in (0, 1, 2):
            packed = compress(folder / f"rec_{part}{suffix}")
            assert [f.stamp_ns for f in frames_of(folder)] == expected
        assert len(frames_of(packed)) == 10
        renamed = packed.rename(packed.with_suffix(".zst"))  # as the command `zstd` names it
        assert [f.stamp_ns for f in frames_of(folder)] == expected
        assert len(frames_of(renamed)) == 10
        assert caplog.text == ""

    def test_a_part_that_cannot_be_read_is_named(
        self, tmp_path: Path, storage: StoragePlugin, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = split(tmp_path / "bag", 2, storage, suffix)
        (folder / f"rec_0{suffix}").write_bytes(b"shopping list" * 99)
        with caplog.at_level(logging.WARNING):
            assert len(frames_of(folder)) == 10
        assert f"a part of the bag is left out: {folder}/rec_0{suffix}: not a bag that can be read" in caplog.text

    def test_a_compressed_part_that_was_cut_off(
        self, tmp_path: Path, storage: StoragePlugin, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = write_bag(tmp_path / "bag", camera(40), storage)
        (folder / "metadata.yaml").unlink()
        packed = compress(folder / f"bag{suffix}")
        data = packed.read_bytes()
        packed.write_bytes(data[: len(data) * 3 // 4])
        with caplog.at_level(logging.WARNING):
            frames = frames_of(folder)
        assert 10 <= len(frames) < 40
        assert "the recording was cut off" in caplog.text

    def test_compression_by_message_and_by_file_with_metadata(
        self, tmp_path: Path, storage: StoragePlugin, suffix: str
    ) -> None:
        del suffix
        for mode in (CompressionMode.MESSAGE, CompressionMode.FILE):
            if mode is CompressionMode.FILE and storage is StoragePlugin.MCAP:
                continue  # the writer of the test does not offer it
            folder = tmp_path / mode.name
            writer = Writer(folder, version=8, storage_plugin=storage)
            writer.set_compression(mode, CompressionFormat.ZSTD)
            with writer:
                connection = writer.add_connection("/camera", IMAGE, typestore=typestore())
                for _, time_ns, message in camera(5):
                    writer.write(connection, time_ns, typestore().serialize_cdr(message, IMAGE))
            assert len(frames_of(folder)) == 5
            (folder / "metadata.yaml").unlink()
            assert len(frames_of(folder)) == 5

    @pytest.mark.parametrize(
        ("old", "new", "cause"),
        [
            ("storage_identifier: {storage}", "storage_identifier: ''", "its storage_identifier is ''"),
            ("version: 9", "version: 15", "its version is 15; versions to 9 are known"),
            ("version: 9", "version: [", "not YAML"),
            ("relative_file_paths", "files", "not of a bag: KeyError 'relative_file_paths'"),
            ("serialization_format: cdr", "serialization_format: xml", ""),
        ],
    )
    def test_odd_metadata_is_not_called_cut_off(
        self,
        tmp_path: Path,
        storage: StoragePlugin,
        suffix: str,
        old: str,
        new: str,
        cause: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        del suffix
        bag = write_bag(tmp_path / "bag", camera(3), storage)
        metadata = bag / "metadata.yaml"
        old = old.format(storage="mcap" if storage is StoragePlugin.MCAP else "sqlite3")
        assert old in metadata.read_text()
        metadata.write_text(metadata.read_text().replace(old, new))
        with caplog.at_level(logging.WARNING):
            assert len(frames_of(bag)) == 3
        assert "cut off" not in caplog.text
        if cause:
            assert f"metadata.yaml is not used ({cause}" in caplog.text
            assert "the 3 messages of the files are" in caplog.text

    def test_missing_and_renamed_parts_are_named(
        self, tmp_path: Path, storage: StoragePlugin, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        bag = write_bag(tmp_path / "bag", camera(3), storage)
        metadata = bag / "metadata.yaml"
        text = metadata.read_text()
        metadata.write_text(text.replace(f"- bag{suffix}\n", f"- bag{suffix}\n  - bag_1{suffix}\n"))
        with caplog.at_level(logging.WARNING):
            assert len(frames_of(bag)) == 3
        assert f"parts that metadata.yaml names are missing: bag_1{suffix}" in caplog.text
        caplog.clear()
        metadata.write_text(text)
        (bag / f"bag{suffix}").rename(bag / f"walk{suffix}")
        with caplog.at_level(logging.WARNING):
            assert len(frames_of(bag)) == 3
        assert f"metadata.yaml names other files; read are walk{suffix}" in caplog.text
        assert "cut off" not in caplog.text


def test_rows_in_the_write_ahead_log_are_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", camera(4), StoragePlugin.SQLITE3)
    copy = tmp_path / "copy"
    copy.mkdir()
    recorder = sqlite3.connect(bag / "bag.db3")
    recorder.execute("PRAGMA journal_mode=WAL")
    recorder.execute("PRAGMA wal_autocheckpoint=0")
    recorder.execute("INSERT INTO messages SELECT id + 100, topic_id, timestamp + 1000000000, data FROM messages")
    recorder.commit()
    for file in ("bag.db3", "bag.db3-wal"):  # as they are while it records
        (copy / file).write_bytes((bag / file).read_bytes())
    recorder.close()
    assert len(frames_of(copy)) == 8
    assert sorted(file.name for file in copy.iterdir()) == ["bag.db3", "bag.db3-wal"]


def jpeg(number: int) -> bytes:
    return bytes(cv2.imencode(".jpg", scene(number))[1].tobytes())


def in_cdr(number: int, stamp_ns: int, foxglove: bool = False) -> bytes:
    name = f"{'foxglove_msgs' if foxglove else 'sensor_msgs'}/msg/CompressedImage"
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    data = np.frombuffer(jpeg(number), np.uint8)
    if foxglove:
        message = types[name](timestamp=stamp, frame_id="camera", data=data, format="jpeg")
    else:
        header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
        message = types[name](header=header, format="jpeg", data=data)
    return bytes(typestore().serialize_cdr(message, name))


def in_ros1(number: int, stamp_ns: int) -> bytes:
    data = jpeg(number)
    head = struct.pack("<III", number, stamp_ns // 10**9, stamp_ns % 10**9) + struct.pack("<I", 6) + b"camera"
    return head + struct.pack("<I", 4) + b"jpeg" + struct.pack("<I", len(data)) + data


STAMPS = [BASE_NS + k * TENTH for k in range(10)]


class TestMcap:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"chunked": False},
            {"repeated": False, "statistics": False},
            {"repeated": False},
            {"statistics": False},
            {"summary": False},
            {"chunked": False, "summary": False},
            {"chunked": False, "repeated": False, "statistics": False},
            {"profile": ""},
            {"profile": "ros1"},
        ],
    )
    def test_whole_files_of_any_writer(
        self, tmp_path: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        messages = [(t, in_cdr(k, t)) for k, t in enumerate(STAMPS)]
        frames = frames_of(write_mcap(tmp_path / "a.mcap", messages, **options))
        assert [f.stamp_ns for f in frames] == STAMPS
        assert [place(f.image_bgr) for f in frames] == pytest.approx(range(10), abs=0.5)
        assert caplog.text == ""

    def test_messages_of_ros_1(self, tmp_path: Path) -> None:
        schema = ("sensor_msgs/CompressedImage", "ros1msg", "std_msgs/Header header\nstring format\nuint8[] data")
        messages = [(t, in_ros1(k, t)) for k, t in enumerate(STAMPS)]
        path = write_mcap(tmp_path / "a.mcap", messages, profile="ros1", encoding="ros1", schema=schema)
        frames = frames_of(path, in_stamp_order=True)
        assert [f.stamp_ns for f in frames] == STAMPS
        assert {f.frame_id for f in frames} == {"camera"}

    def test_foxglove_images(self, tmp_path: Path) -> None:
        messages = [(t, in_cdr(k, t, foxglove=True)) for k, t in enumerate(STAMPS)]
        schema = ("foxglove_msgs/msg/CompressedImage", "ros2msg", "")
        frames = frames_of(write_mcap(tmp_path / "a.mcap", messages, schema=schema))
        assert [(f.stamp_ns, f.frame_id) for f in frames] == [(t, "camera") for t in STAMPS]

    def test_an_encoding_that_is_not_read_is_named(self, tmp_path: Path) -> None:
        schema = ("foxglove_msgs/msg/CompressedImage", "jsonschema", "{}")
        path = write_mcap(tmp_path / "a.mcap", [(1, b"{}")], encoding="json", schema=schema)
        with pytest.raises(
            InputError, match=r"the encoding of its images is none of cdr, ros1: /camera/compressed \(json\)"
        ):
            open_source(path)

    def test_nothing_whole_is_left(self, tmp_path: Path) -> None:
        path = write_mcap(tmp_path / "a.mcap", [(t, in_cdr(k, t)) for k, t in enumerate(STAMPS)], per_chunk=20)
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(InputError, match=r"a\.mcap: the recording was cut off before its first whole message"):
            open_source(path)

    @pytest.mark.parametrize(("compression", "at_least"), [("", 6), ("zstd", 4), ("lz4", 5)])
    def test_the_chunk_in_which_a_file_breaks_off_is_read_as_far_as_it_goes(
        self, tmp_path: Path, compression: str, at_least: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        # Ten images of 60 kB a chunk; zstd packs 128 kB at a time, lz4 64 kB.
        noise = np.random.default_rng(0)
        images = [noise.integers(0, 256, (100, 200, 3), np.uint8) for _ in range(20)]
        messages: list[tuple[int, bytes]] = []
        for t, image in zip(range(BASE_NS, BASE_NS + 20 * TENTH, TENTH), images, strict=True):
            image[0, 0] = len(messages)
            messages.append((t, bytes(typestore().serialize_cdr(image_message(image, t), IMAGE))))
        path = write_mcap(
            tmp_path / "a.mcap", messages, per_chunk=10, compression=compression, schema=(IMAGE, "ros2msg", "")
        )
        data = path.read_bytes()
        path.write_bytes(data[: 10 * 60_100 + round(6.5 * 60_100)])
        for in_stamp_order in (False, True):
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                frames = frames_of(path, in_stamp_order=in_stamp_order)
            assert 10 + at_least <= len(frames) <= 16
            for number, frame in enumerate(frames):
                np.testing.assert_array_equal(frame.image_bgr, images[number])
            assert f"{len(frames) - 10} messages of the chunk in which it breaks off are whole" in caplog.text
            assert f"the recording was cut off; the {len(frames)} messages that are whole are used" in caplog.text
            assert "damaged" not in caplog.text

    def test_a_damaged_chunk_costs_its_own_messages_only(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        messages = [(t, in_cdr(k, t)) for k, t in enumerate(STAMPS)]
        path = write_mcap(tmp_path / "a.mcap", messages, per_chunk=2)
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 8] = b"damaged!"
        path.write_bytes(data)
        with caplog.at_level(logging.WARNING):
            assert 6 <= len(frames_of(path)) < 10
        assert "is damaged and left out" in caplog.text


class TestVideoInMessages:
    @pytest.mark.parametrize(
        "kind",
        [
            "sensor_msgs/msg/CompressedImage",
            "foxglove_msgs/msg/CompressedVideo",
            "ffmpeg_image_transport_msgs/msg/FFMPEGPacket",
        ],
    )
    def test_h264_is_decoded(self, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        types = typestore().types
        messages = []
        for k, packet in list(enumerate(encode(map(scene, range(14)), key_every=5)))[
            2:
        ]:  # the recording begins between key frames
            stamp = types["builtin_interfaces/msg/Time"](sec=100, nanosec=k * 10**7)
            data = np.frombuffer(packet, np.uint8)
            if kind.startswith("foxglove"):
                message = types[kind](timestamp=stamp, frame_id="camera", data=data, format="h264")
            else:
                header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
                about: dict[str, Any] = {"format": "h264"}
                if kind.startswith("ffmpeg"):
                    about = {"width": 96, "height": 64, "encoding": "libx264", "pts": k, "flags": 0}
                    about["is_bigendian"] = False
                message = types[kind](header=header, data=data, **about)
            messages.append(("/video", BASE_NS + k * TENTH, message))
        bag = write_bag(tmp_path / "bag", messages)
        with caplog.at_level(logging.WARNING):
            frames = frames_of(bag, in_stamp_order=True)
        assert [place(f.image_bgr) for f in frames] == pytest.approx(range(5, 14), abs=0.5)
        assert [f.stamp_ns for f in frames] == [100 * 10**9 + k * 10**7 for k in range(5, 14)]
        assert [f.index for f in frames] == list(range(3, 12))
        assert (
            "frame 0 is left out: /video: it cannot be decoded: no key frame of the video comes before it"
            in caplog.text
        )

    def test_frames_that_depend_on_later_ones_are_all_there(self, tmp_path: Path) -> None:
        # In the order of display 0 3 1 2 6 4 5 …; a packet has the stamp of its own frame.
        packets = encode(map(scene, range(14)), key_every=20, bf="2", tune="film", preset="medium")
        message = typestore().types[COMPRESSED]
        bag = write_bag(
            tmp_path / "bag",
            [
                ("/video", BASE_NS + k * TENTH, message(header(BASE_NS + k), "h264", np.frombuffer(packet, np.uint8)))
                for k, packet in enumerate(packets)
            ],
        )
        assert sorted(place(f.image_bgr) for f in frames_of(bag)) == pytest.approx(range(14), abs=0.5)


def test_a_bag_is_read_in_bounded_memory(tmp_path: Path) -> None:
    # 400 images of 0.5 MB in order: neither order of reading may hold more than a few of them.
    image = np.zeros((400, 416, 3), np.uint8)
    messages = (("/camera", BASE_NS + k * TENTH, image_message(image, BASE_NS + k * TENTH)) for k in range(400))
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/camera", IMAGE, typestore=typestore())
        for _, time_ns, message in messages:
            writer.write(connection, time_ns, typestore().serialize_cdr(message, IMAGE))
    code = (
        "import resource, sys; from keytrack_ros.media.sources import open_source\n"
        "import keytrack_ros.media.bag_source\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with open_source(sys.argv[1], in_stamp_order=True) as source: n = sum(1 for _ in source)\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "bag")], capture_output=True, text=True, check=True
    )
    frames, grown_kb = map(int, done.stdout.split())
    assert frames == 400
    assert grown_kb < 60_000  # of 200 MB in all


class TestDamage:
    """Found by bench/fuzz.py."""

    def test_an_index_that_points_beyond_everything(self, tmp_path: Path) -> None:
        messages = [(t, in_cdr(k, t)) for k, t in enumerate(STAMPS)]
        path = write_mcap(tmp_path / "a.mcap", messages)
        data = path.read_bytes()
        index = data.index(b"\x08", data.rindex(b"\x0f\x04\x00\x00\x00\x00\x00\x00\x00"))  # the first chunk's
        path.write_bytes(data[: index + 25] + struct.pack("<Q", 2**63 + 5) + data[index + 33 :])
        assert len(frames_of(path)) == 6

    def test_a_chunk_that_claims_to_be_longer_than_anything(self, tmp_path: Path) -> None:
        path = write_mcap(tmp_path / "a.mcap", [(t, in_cdr(k, t)) for k, t in enumerate(STAMPS)])
        data = path.read_bytes()[:-20]
        (first,) = struct.unpack_from("<Q", data, data.index(b"\x06") + 1)
        second = data.index(b"\x06") + 9 + first
        path.write_bytes(data[: second + 1] + struct.pack("<Q", 2**64 - 1) + data[second + 9 :])
        assert len(frames_of(path)) == 8

    def test_text_and_data_of_other_kinds_in_sqlite(self, tmp_path: Path) -> None:
        bag = write_bag(tmp_path / "bag", camera(4), StoragePlugin.SQLITE3)
        with sqlite3.connect(bag / "bag.db3") as database:
            database.execute("UPDATE messages SET data = 'text' WHERE id = 2")
            database.execute("UPDATE messages SET timestamp = 'noon' WHERE id = 3")
            database.execute("UPDATE topics SET name = CAST(x'2f63ff' AS TEXT)")
        database.close()
        assert len(frames_of(bag / "bag.db3")) == 2
