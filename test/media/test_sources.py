"""Frames from files and folders that the tests write, whole and broken."""

from __future__ import annotations

import logging
import struct
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from keytrack_ros.errors import InputError, OptionError
from keytrack_ros.media.frames import Frame
from keytrack_ros.media.pixels import as_bgr8
from keytrack_ros.media.sources import open_source

SIZE = (160, 120)


def noise(seed: int) -> np.ndarray:
    """An image that does not compress, of brightness 60 + seed."""
    return (np.random.default_rng(seed).integers(0, 121, (SIZE[1], SIZE[0], 3)) + seed).astype(np.uint8)


def write_video(path: Path, frames: int = 20, fps: float = 10) -> Path:
    code = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, SIZE)
    for index in range(frames):
        writer.write(noise(index))
    writer.release()
    return path


def set_pace_of_second_half(path: Path, factor: float) -> None:
    """Makes the last frames of an mp4 of 20 last `factor` times as long, by editing its time table (box `stts`)."""
    data = path.read_bytes()
    table = data.index(b"stts") - 4
    size, _, _, entries, frames, ticks = struct.unpack(">I4sIIII", data[table : table + 24])
    assert (size, entries, frames) == (24, 1, 20)
    longer = struct.pack(">I4sIIIIII", 32, b"stts", 0, 2, 10, ticks, 10, int(factor * ticks))
    data = data[:table] + longer + data[table + 24 :]
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):  # all that hold it; the frames lie before them
        start = data.index(box) - 4
        (old,) = struct.unpack(">I", data[start : start + 4])
        data = data[:start] + struct.pack(">I", old + 8) + data[start + 4 :]
    path.write_bytes(data)


def write_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for level, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), np.full((12, 16, 3), 10 * level, np.uint8))
    return folder


def cut(path: Path, part: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    return path


def read(source: str | Path, **options: object) -> list[Frame]:
    with open_source(source, **options) as opened:  # type: ignore[arg-type]
        return list(opened)


class TestVideo:
    @pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
    def test_all_frames_in_order_with_stamps(self, tmp_path: Path, name: str) -> None:
        with open_source(write_video(tmp_path / name)) as source:
            assert (source.count, source.total, source.size) == (20, 20, SIZE)
            assert source.fps == pytest.approx(10)
            frames = list(source)
        assert [f.index for f in frames] == list(range(20))
        assert [f.stamp_s for f in frames] == pytest.approx([i / 10 for i in range(20)])
        assert all(f.image_bgr.shape == (120, 160, 3) and f.image_bgr.dtype == np.uint8 for f in frames)
        np.testing.assert_allclose([f.image_bgr.mean() for f in frames], 60 + np.arange(20), atol=3)

    def test_a_variable_frame_rate_keeps_its_stamps(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", frames=20, fps=10)
        set_pace_of_second_half(path, 0.5)
        frames = read(path)
        assert len(frames) == 20
        # ten frames at 10 fps, then ten at 20 fps
        expected = [i * 0.1 for i in range(10)] + [1.0 + i * 0.05 for i in range(10)]
        assert [f.stamp_s for f in frames] == pytest.approx(expected, abs=0.002)

    def test_stamps_that_stand_still_are_made_to_grow(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", frames=20, fps=10)
        set_pace_of_second_half(path, 0)
        stamps = [f.stamp_s for f in read(path)]
        assert len(stamps) == 20
        assert all(later > earlier for earlier, later in pairwise(stamps))

    def test_selection_counts_in_frames_of_the_source(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.avi")
        with open_source(path, start=3, every=4, frames=3) as source:
            assert source.count == 3
            assert source.fps == pytest.approx(2.5)
            frames = list(source)
        assert [f.index for f in frames] == [3, 7, 11]
        assert [f.stamp_s for f in frames] == pytest.approx([0.3, 0.7, 1.1])
        with open_source(path, start=3, every=4, frames=99) as source:
            assert source.count == len(list(source)) == 5

    def test_start_beyond_the_end(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"a\.avi: there is no frame at or after frame 20; 20 were found"):
            open_source(write_video(tmp_path / "a.avi"), start=20)

    @pytest.mark.parametrize("selection", [{"start": -1}, {"every": 0}, {"frames": 0}, {"fps": 0.0}])
    def test_selections_of_nothing_are_refused(self, tmp_path: Path, selection: dict[str, int]) -> None:
        with pytest.raises(OptionError, match=next(iter(selection))):
            open_source(tmp_path, **selection)  # type: ignore[arg-type]

    def test_a_video_that_breaks_off_is_used_as_far_as_it_goes(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = cut(write_video(tmp_path / "a.avi", frames=60), 0.5)
        with caplog.at_level(logging.WARNING):
            frames = read(path)
        assert 25 <= len(frames) <= 35
        (record,) = caplog.records
        assert f"a.avi: ends at frame {len(frames)} of 60: the file is cut off" in record.getMessage()

    def test_an_mp4_without_its_index_is_refused_by_name(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"a\.mp4: not a video that can be read: it was cut off before its index"):
            open_source(cut(write_video(tmp_path / "a.mp4"), 0.5))

    def test_what_is_no_video_is_refused_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "notes.avi").write_text("shopping list")
        (tmp_path / "empty.mp4").touch()
        with pytest.raises(InputError, match=r"notes\.avi: not a video"):
            open_source(tmp_path / "notes.avi")
        with pytest.raises(InputError, match=r"empty\.mp4: the file is empty"):
            open_source(tmp_path / "empty.mp4")
        with pytest.raises(InputError, match=r"gone\.avi: there is no such file or folder"):
            open_source(tmp_path / "gone.avi")

    def test_a_video_without_frames(self, tmp_path: Path) -> None:
        # The header alone, cut before the first frame.
        path = write_video(tmp_path / "a.avi")
        header = path.read_bytes().index(b"movi") + 4
        path.write_bytes(path.read_bytes()[:header])
        with pytest.raises(InputError, match=r"a\.avi: (there is no frame; 0 were found|not a video)"):
            open_source(path)

    def test_a_topic_is_for_bags_only(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"a topic was named \('/image'\), but this is no bag"):
            open_source(write_video(tmp_path / "a.avi"), topic="/image")

    @pytest.mark.parametrize("device", [987, "987", "/dev/video987"])
    def test_a_webcam_that_is_not_there(self, device: int | str) -> None:
        with pytest.raises(InputError, match="webcam 987: cannot be opened"):
            open_source(device)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (b"\x1f\x8b\x08", r"not a video: it is compressed with gzip; unpack it first"),
        (b"PK\x03\x04", r"not a video: it is a ZIP archive"),
        (b"\x89MCAP0\r\n", r"not a video: it is an MCAP recording, whose name should end in \.mcap"),
        (b"#ROSBAG V2.0\n", r"not a video: it is a ROS 1 bag"),
    ],
)
def test_what_is_taken_for_a_video_is_named(tmp_path: Path, begin: bytes, words: str) -> None:
    file = tmp_path / "walk.mp4"
    file.write_bytes(begin + bytes(1000))
    with pytest.raises(InputError, match=words):
        open_source(file)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.mp4: cannot be read: File name too long"):
        open_source(tmp_path / f"{'a' * 300}.mp4")


class TestImages:
    def test_natural_order_names_and_rate(self, tmp_path: Path) -> None:
        folder = write_images(tmp_path / "images", ["10.png", "2.png", "1.png"])
        (folder / "notes.txt").write_text("not an image")
        with open_source(folder, fps=50) as source:
            assert (source.count, source.size, source.fps) == (3, (16, 12), 50)
            frames = list(source)
        assert [f.name for f in frames] == ["1.png", "2.png", "10.png"]
        assert [int(f.image_bgr[0, 0, 0]) for f in frames] == [20, 10, 0]
        assert [f.stamp_ns for f in frames] == [0, 20_000_000, 40_000_000]

    def test_grey_16_bit_and_alpha_become_bgr(self, tmp_path: Path) -> None:
        folder = tmp_path / "images"
        folder.mkdir()
        cv2.imwrite(str(folder / "1.png"), np.full((12, 16), 77, np.uint8))
        cv2.imwrite(str(folder / "2.png"), np.full((12, 16), 65535, np.uint16))
        cv2.imwrite(str(folder / "3.png"), np.full((12, 16, 4), (1, 2, 3, 4), np.uint8))
        cv2.imwrite(str(folder / "4.png"), np.full((12, 16, 3), (257, 514, 771), np.uint16))
        frames = read(folder)
        assert all(f.image_bgr.shape == (12, 16, 3) and f.image_bgr.dtype == np.uint8 for f in frames)
        assert [f.image_bgr[5, 5].tolist() for f in frames] == [[77, 77, 77], [255, 255, 255], [1, 2, 3], [1, 2, 3]]

    def test_a_single_image_is_one_frame(self, tmp_path: Path) -> None:
        folder = write_images(tmp_path / "images", ["1.png", "2.png"])
        assert [f.name for f in read(folder / "2.png")] == ["2.png"]

    def test_folders_among_images_are_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        folder = write_images(tmp_path / "images", ["1.png"])
        write_images(folder / "night", ["2.png"])
        assert len(read(folder)) == 1
        assert "left out, since their names are not those of images: night/" in caplog.text
        (folder / "1.png").unlink()
        with pytest.raises(InputError, match=r"nor a bag; it has night/$"):
            open_source(folder)

    @pytest.mark.parametrize("suffix", [".tif", ".png", ".webp", ".gif"])
    def test_of_several_pictures_in_a_file_the_first_is_used_and_that_is_said(
        self, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = tmp_path / "images"
        folder.mkdir()
        pictures = [np.full((12, 16, 3), 60 * k, np.uint8) for k in range(3)]
        for number in (1, 2):
            file = str(folder / f"{number}{suffix}")
            if suffix == ".tif":
                cv2.imwritemulti(file, pictures)
            else:
                animation = cv2.Animation()
                animation.frames, animation.durations = pictures, [100] * 3
                cv2.imwriteanimation(file, animation)
        assert [frame.image_bgr.max() for frame in read(folder)] == [0, 0]
        assert caplog.text.count(f"1{suffix}: holds 3 pictures; of files of several pictures the first is used") == 1

    @pytest.mark.parametrize(
        ("kind", "words"),
        [(np.int32, "pixels are int32"), (np.float32, "pixels are float32"), (np.float64, "pixels are float64")],
    )
    def test_pixels_without_a_known_range_are_refused_by_name(
        self, tmp_path: Path, kind: type[np.generic], words: str
    ) -> None:
        cv2.imwrite(str(tmp_path / "depth.tif"), np.full((12, 16), 0.5).astype(kind))
        with pytest.raises(InputError, match=words):
            open_source(tmp_path / "depth.tif")

    def test_unreadable_images_are_left_out_and_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        folder = write_images(tmp_path / "images", [f"{i}.png" for i in range(8)])
        for name in ("0.png", "2.png", "3.png", "6.png"):
            (folder / name).write_bytes(b"\x89PNG and nothing more")
        with caplog.at_level(logging.WARNING), open_source(folder) as source:
            frames = list(source)
            assert source.unreadable == 4
        assert [(f.index, f.name) for f in frames] == [(1, "1.png"), (4, "4.png"), (5, "5.png"), (7, "7.png")]
        messages = [r.getMessage() for r in caplog.records]
        assert len(messages) == 4
        assert "frame 2 is left out" in messages[1]
        assert "2.png: not an image that can be read" in messages[1]
        assert "4 frames in all could not be read" in messages[3]

    def test_nothing_readable_is_an_error_with_the_first_cause(self, tmp_path: Path) -> None:
        folder = write_images(tmp_path / "images", ["1.png", "2.png"])
        for file in folder.iterdir():
            file.write_bytes(b"")
        with pytest.raises(InputError, match=r"none of 2 frames can be read: .*1\.png: not an image"):
            open_source(folder)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"holds neither images .* nor a bag"):
            open_source(tmp_path)

    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (np.zeros((0, 4, 3), np.uint8), "no pixels"),
            (np.zeros((4, 4), np.float32), "type float32"),
            (np.zeros((4, 4, 2), np.uint8), "2 channels"),
        ],
    )
    def test_images_that_are_no_pictures_are_refused(self, image: np.ndarray, words: str) -> None:
        with pytest.raises(InputError, match=words):
            as_bgr8(image)
