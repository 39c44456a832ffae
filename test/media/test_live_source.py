"""Network cameras: a real HTTP server on the loopback interface that streams MPEG-TS, stops, and comes back."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import numpy as np
import pytest

from keytrack_ros.errors import InputError
from keytrack_ros.media import live_source
from keytrack_ros.media.frames import Selection
from keytrack_ros.media.live_source import StreamSource, open_stream
from keytrack_ros.media.sources import open_source
from keytrack_ros.media.video_source import VideoSource
from test.media.rtsp_server import RtspServer
from test.media.video_files import encode, place, scene, write_video


class Camera:
    """Serves `connections` streams of `content` without a length, one a request; then it is gone.

    /file.ts is a file: it has a length, and is always there.
    """

    def __init__(self, content: bytes, connections: int) -> None:
        camera = self
        self.requests = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                live = self.path != "/file.ts"
                camera.requests += live
                if live and camera.requests > connections:
                    self.send_error(404)
                    return
                self.send_response(200)
                if not live:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(OSError):  # a client that stops early closes the connection
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("live") / "a.ts"
    return write_video(path, [scene(k) for k in range(40)], options={"g": "10"}).read_bytes()


@pytest.fixture
def camera(content: bytes) -> Iterator[Camera]:
    camera = Camera(content, connections=3)
    yield camera
    camera.close()


def stream(camera: Camera, patience_s: float) -> StreamSource:
    address = f"{camera.address}/live"
    return StreamSource(open_stream(address), address, Selection(), patience_s)


def test_a_stream_that_breaks_off_is_opened_again_until_it_is_gone(
    camera: Camera, caplog: pytest.LogCaptureFixture
) -> None:
    before = time.time_ns()
    with caplog.at_level(logging.WARNING), stream(camera, patience_s=1.0) as source:
        assert source.count is None
        frames = list(source)
    assert camera.requests > 3
    assert frames
    assert all(before < f.stamp_ns < time.time_ns() for f in frames)
    assert all(later.stamp_ns >= earlier.stamp_ns for earlier, later in pairwise(frames))
    assert caplog.text.count("the stream broke off") == 3
    assert caplog.text.count("the stream is back") == 2
    assert "the stream is not back after 1 s" in caplog.text


def test_of_frames_that_wait_only_the_newest_is_kept(camera: Camera) -> None:
    with stream(camera, patience_s=0.5) as source:
        while camera.requests <= 3:  # all three streams are over; nobody took a frame
            threading.Event().wait(0.02)
        (frame,) = list(source)
    assert place(frame.image_bgr) == pytest.approx(39 % 20, abs=0.5)


def test_a_signal_ends_the_wait_for_a_frame(camera: Camera) -> None:
    with stream(camera, patience_s=60.0) as source:
        threading.Timer(0.5, source.stop).start()
        began = time.monotonic()
        list(source)
    assert time.monotonic() - began < 10


def test_a_file_behind_an_address_is_read_to_its_end(camera: Camera) -> None:
    with open_source(f"{camera.address}/file.ts") as source:
        assert isinstance(source, VideoSource)
        frames = list(source)
    assert [place(f.image_bgr) for f in frames] == pytest.approx([k % 20 for k in range(40)], abs=0.5)
    assert [f.stamp_s for f in frames] == pytest.approx([k / 10 for k in range(40)], abs=1e-6)


def test_an_rtsp_camera_that_loses_its_power_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    # Noise makes the key frames larger than an RTP packet.
    noise = np.random.default_rng(0).integers(0, 60, (16, 336, 3), np.uint8)
    images = [np.vstack([noise, scene(k, (336, 64))[16:]]) for k in range(400)]
    packets = encode(images, key_every=10)
    assert max(map(len, packets)) > 2000
    server = RtspServer(packets)
    before = time.time_ns()
    frames = []
    try:
        with caplog.at_level(logging.WARNING), open_source(server.address) as source:
            assert isinstance(source, StreamSource)
            for frame in source:
                frames.append(frame)
                if len(frames) == 15:
                    asked = server.requests
                    server.close()
                    server = RtspServer(packets, port=server.port)
                if len(frames) == 30:
                    source.stop()
    finally:
        server.close()
    assert asked == server.requests[:4] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
    assert caplog.text.count("the stream broke off") == caplog.text.count("the stream is back") == 1
    stamps = [frame.stamp_ns for frame in frames]
    assert before < stamps[0]
    assert stamps == sorted(set(stamps))
    assert stamps[-1] < time.time_ns()
    # The square goes on by some frames from image to image, but where the second stream begins.
    places = np.array([place(frame.image_bgr) for frame in frames])
    steps = np.diff(places).round() % 80
    assert ((steps > 0) & (steps < 40)).sum() >= 28, places


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_source, "OPEN_S", 2.0)
    with pytest.raises(InputError, match=r"rtsp://127\.0\.0\.1:1/cam: not a video .*connection refused"):
        open_source("rtsp://user:secret@127.0.0.1:1/cam")


def test_what_is_no_video_is_named() -> None:
    no_video = Camera(b"shopping list" * 50, connections=1)
    try:
        with pytest.raises(InputError, match=r"/live: not a video that can be read: (invalid data|input/output error)"):
            open_source(f"{no_video.address}/live")
    finally:
        no_video.close()


def test_a_file_behind_an_address_that_stalls_ends(
    content: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_source, "READ_S", 2.0)
    ending = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(10 * len(content)))
            self.end_headers()
            self.wfile.write(content)
            ending.wait()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with open_source(f"http://127.0.0.1:{server.server_port}/file.ts") as source:
            assert isinstance(source, VideoSource)
            places = [place(frame.image_bgr) for frame in source]
    finally:
        ending.set()
        server.shutdown()
        server.server_close()
    assert places == pytest.approx([k % 20 for k in range(len(places))], abs=0.5)
    assert len(places) >= 30  # the last ones are still being parsed
    assert f"/file.ts: reading ends at frame {len(places)}: " in caplog.text
