"""Videos as cameras, broadcasters and phones write them: the right pixels at the right time, or a true reason."""

from __future__ import annotations

import logging
import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keytrack_ros.errors import InputError
from keytrack_ros.media.cut_off import is_cut_off
from keytrack_ros.media.frames import Frame
from keytrack_ros.media.sources import open_source
from test.media.video_files import place, scene, weave, write_video


def read(source: str | Path, **options: object) -> list[Frame]:
    with open_source(source, **options) as opened:  # type: ignore[arg-type]
        return list(opened)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov", "a.avi"])
def test_pixels_and_times_of_every_container(tmp_path: Path, name: str) -> None:
    frames = read(write_video(tmp_path / name, [scene(k) for k in range(15)]))
    assert [place(f.image_bgr) for f in frames] == pytest.approx(list(range(15)), abs=0.5)
    assert [f.stamp_s for f in frames] == pytest.approx([k / 10 for k in range(15)], abs=1e-6)
    assert all(f.stretch == 0 for f in frames)


def test_the_same_pixels_as_opencv(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [scene(k) for k in range(5)], codec="mpeg4")
    capture = cv2.VideoCapture(str(path))
    for frame in read(path):
        _, expected = capture.read()
        assert np.abs(frame.image_bgr.astype(int) - expected).max() <= 2


def test_interlaced_video_is_deinterlaced(tmp_path: Path) -> None:
    still, moving = scene(0), [weave(scene(2 * k), scene(2 * k + 1)) for k in range(8)]
    frames = read(write_video(tmp_path / "a.ts", moving, interlaced=True, fps=25))
    assert len(frames) == 8
    for number, frame in enumerate(frames):
        assert place(frame.image_bgr) == pytest.approx(2 * number, abs=1.1)
        assert np.abs(frame.image_bgr[:10, :18].astype(int) - still[:10, :18]).mean() < 15
        # Without combs: neighbouring rows of the square begin in the same place, to within the width of the blur.
        edge = frame.image_bgr[36:44].astype(int).min(-1).argmax(1)
        assert np.abs(np.diff(edge)).max() <= 6
    assert [f.stamp_s for f in frames] == pytest.approx([k / 25 for k in range(8)], abs=1e-6)


def test_wide_pixels_are_made_square(tmp_path: Path) -> None:
    (frame, *_) = read(write_video(tmp_path / "a.mp4", [scene(k) for k in range(3)], aspect=Fraction(16, 11)))
    assert frame.image_bgr.shape == (64, 140, 3)


def test_a_phone_held_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [scene(k) for k in range(3)])
    data = bytearray(path.read_bytes())
    unrotated = b"\x00\x01\x00\x00" + bytes(12) + b"\x00\x01\x00\x00" + bytes(12) + b"\x40\x00\x00\x00"
    track = data.index(unrotated, data.index(b"tkhd"))
    rotated = bytes(4) + b"\x00\x01\x00\x00" + bytes(4) + b"\xff\xff\x00\x00" + bytes(4 * 2)
    data[track : track + 36] = rotated + b"\x00\x40\x00\x00" + bytes(4) + b"\x40\x00\x00\x00"
    path.write_bytes(data)
    (frame, *_) = read(path)
    assert frame.image_bgr.shape == (96, 64, 3)
    assert frame.image_bgr[4, -4].tolist()[0] > 200  # the blue corner has turned to the right
    _, expected = cv2.VideoCapture(str(path)).read()
    assert np.abs(frame.image_bgr.astype(int) - expected).mean() < 3


class TestTimes:
    def test_a_variable_rate(self, tmp_path: Path) -> None:
        times = [0, 0.1, 0.2, 0.5, 0.55, 0.9]
        path = write_video(tmp_path / "a.mkv", [scene(k) for k in range(6)], times=times)
        assert [f.stamp_s for f in read(path)] == pytest.approx(times, abs=0.002)

    def test_two_recordings_joined(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        late = write_video(tmp_path / "late.ts", [scene(k) for k in range(5)], times=[7200 + k / 10 for k in range(5)])
        early = write_video(tmp_path / "early.ts", [scene(k + 5) for k in range(5)])
        (tmp_path / "a.ts").write_bytes(late.read_bytes() + early.read_bytes())
        with caplog.at_level(logging.WARNING):
            frames = read(tmp_path / "a.ts")
        assert [place(f.image_bgr) for f in frames] == pytest.approx(list(range(10)), abs=0.5)
        assert [f.stretch for f in frames] == [0] * 5 + [1] * 5
        assert frames[5].stamp_s - frames[4].stamp_s == pytest.approx(0.1)
        assert all(later.stamp_ns > earlier.stamp_ns for earlier, later in pairwise(frames))
        assert "presentation times go back by" in caplog.text
        assert "cut off" not in caplog.text

    def test_a_gap_of_two_hours(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        times = [0, 0.1, 0.2, 7200, 7200.1]
        path = write_video(tmp_path / "a.mkv", [scene(k) for k in range(5)], times=times)
        with caplog.at_level(logging.WARNING):
            frames = read(path)
        assert [f.stamp_s for f in frames] == pytest.approx(times, abs=0.002)
        assert [f.stretch for f in frames] == [0, 0, 0, 1, 1]
        assert "go 7199.8 s ahead at frame 3, and a new stretch begins" in caplog.text


class TestWhatIsWrong:
    def test_one_colour_throughout(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        black = np.zeros((64, 96, 3), np.uint8)
        path = write_video(tmp_path / "a.mp4", [black] * 12)
        with caplog.at_level(logging.WARNING):
            assert len(read(path)) == 12
        assert "a.mp4: the first 10 frames are all of one colour" in caplog.text
        caplog.clear()
        assert len(read(write_video(tmp_path / "b.mp4", [*[black] * 5, *(scene(k) for k in range(9))]))) == 14
        assert caplog.text == ""

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
    def test_cut_off_is_said_of_what_is_cut_off(
        self, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        noise = [np.random.default_rng(k).integers(0, 255, (64, 96, 3), np.uint8) for k in range(30)]
        options = {"movflags": "faststart"}
        with av.open(str(tmp_path / name), "w", options=options if name == "a.mp4" else {}) as output:
            stream = output.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for image in noise:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            output.mux(stream.encode())
        whole = (tmp_path / name).read_bytes()
        assert not is_cut_off(tmp_path / name)
        with caplog.at_level(logging.WARNING):
            assert len(read(tmp_path / name)) == 30
        assert caplog.text == ""
        (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
        assert is_cut_off(tmp_path / name)
        with caplog.at_level(logging.WARNING):
            assert 10 < len(read(tmp_path / name)) < 25
        assert "the file is cut off; what is there is used" in caplog.text

    def test_sound_alone(self, tmp_path: Path) -> None:
        with av.open(str(tmp_path / "a.wav"), "w") as output:
            stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            samples.sample_rate = 8000
            output.mux(stream.encode(samples))
        with pytest.raises(InputError, match=r"a\.wav: there is no video in it; it holds audio"):
            open_source(tmp_path / "a.wav")

    def test_damage_in_the_middle_is_survived(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.ts", [scene(k) for k in range(60)], options={"g": "10"})
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 2000] = os.urandom(2000)
        path.write_bytes(data)
        frames = read(path)
        assert len(frames) > 40
        assert place(frames[-1].image_bgr) == pytest.approx(59 * 4 % 80 / 4, abs=0.5)


class TestNames:
    @pytest.mark.parametrize("name", [b"caf\xe9.avi", "naïve 人.avi".encode(), b"100%d.avi", b"a:b.avi", b"-x.avi"])
    def test_any_name_is_a_name(self, tmp_path: Path, name: bytes) -> None:
        plain = write_video(tmp_path / "plain.avi", [scene(k) for k in range(3)])
        path = tmp_path / os.fsdecode(name)
        plain.rename(path)
        with open_source(path) as source:
            assert len(list(source)) == 3
            source.name.encode("utf-8")  # can be printed and written anywhere

    def test_images_whose_names_are_not_utf8(self, tmp_path: Path) -> None:
        folder = tmp_path / os.fsdecode(b"d\xe9p")
        folder.mkdir()
        cv2.imwrite(str(tmp_path / "x.png"), scene(3))
        (tmp_path / "x.png").rename(folder / os.fsdecode(b"\xe9.png"))
        (frame,) = read(folder)
        np.testing.assert_array_equal(frame.image_bgr, scene(3))
        assert frame.name == "�.png"

    def test_a_file_by_its_address(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a b.avi", [scene(k) for k in range(3)])
        assert len(read(path.as_uri())) == 3
        assert len(read(f"file://{path}")) == 3
        with pytest.raises(InputError, match=r"gone\.avi: there is no such file"):
            read("file:///gone.avi")

    def test_addresses_of_other_kinds(self) -> None:
        with pytest.raises(InputError, match="addresses with gopher:// are not read; rtsp, "):
            read("gopher://user:secret@host/a.avi")
