"""The annotated video, which is drawn and encoded beside the next frame's tracking."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from keytrack_ros.media.drawing import Trails, draw_poses
from keytrack_ros.media.video_writer import VideoWriter
from keytrack_ros.poses import ImageArray, Poses


class AnnotatedVideo:
    """Frames with skeletons, ids and trails in an MP4 file.

    One frame at a time is in work on a thread of its own: most of drawing and encoding is native code, which runs
    beside Python. What cannot be written is raised by the call after it, at the latest by `close`.

    Args:
        path: ends in .mp4.
        fps: frames per second.
        overwrite: replace a file that is already there.

    Raises:
        OutputError: the file exists, or cannot be written.
    """

    def __init__(self, path: Path, fps: float, *, overwrite: bool = False) -> None:
        self._writer = VideoWriter(path, fps, overwrite=overwrite)
        self._trails = Trails()
        self._thread = ThreadPoolExecutor(1, "annotated_video")
        self._in_work: Future[None] | None = None

    def write(self, image_bgr: ImageArray, poses: Poses) -> None:
        """Appends a frame, [H, W, 3] uint8 BGR, which must not change afterwards, with its people."""
        self.wait()
        self._in_work = self._thread.submit(self._draw, image_bgr, poses)

    def _draw(self, image_bgr: ImageArray, poses: Poses) -> None:
        self._trails.update(poses)
        self._writer.write(draw_poses(image_bgr, poses, trails=self._trails))

    def wait(self) -> None:
        """Returns once all frames so far are written. Raises OutputError if one of them cannot be."""
        in_work, self._in_work = self._in_work, None
        if in_work is not None:
            in_work.result()

    def close(self) -> None:
        """Completes the file with the frames there were. The second call does nothing."""
        with ExitStack() as stack:  # each in turn, whatever the one before raises
            stack.callback(self._writer.close)
            stack.callback(self._thread.shutdown)
            self.wait()

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
