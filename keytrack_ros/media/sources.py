"""Where frames come from: a video, a folder of images, a ROS bag, a webcam or a network camera, all read the same way.

with open_source("walk.mp4", every=2) as source:
    for frame in source:
        ...frame.image_bgr, frame.stamp_s
"""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path

from keytrack_ros.errors import InputError, OptionError
from keytrack_ros.media.ffmpeg import ffmpeg_needed
from keytrack_ros.media.frames import DEFAULT_FPS, FrameSource, Selection
from keytrack_ros.media.image_source import IMAGE_SUFFIXES, ImageSource, images_in
from keytrack_ros.media.paths import ADDRESSES, BAG_NAMES, path_of_file_address, scheme_of, shown
from keytrack_ros.media.signatures import what_else

logger = logging.getLogger(__name__)

_MOVING = frozenset({".gif", ".apng"})
"""Images that may be videos, alone."""


def open_source(
    source: str | int | Path,
    *,
    topic: str | None = None,
    fps: float | None = None,
    start: int = 0,
    every: int = 1,
    frames: int | None = None,
    in_stamp_order: bool = False,
    bits: int = 0,
) -> FrameSource:
    """Opens whatever holds frames, and reads the first one.

    Args:
        source: a video file; a folder of images (in natural order: 2.jpg before 10.jpg) or one image; a bag, as folder
            or as a single .mcap, .db3 or .bag file; a webcam by number or as /dev/video<number>; an address such as
            rtsp://camera/stream or https://host/video.mp4.
        topic: which images of a bag; may be left out where a bag has one topic of images.
        fps: rate of an image folder (25 if left out); of a video whose own rate is to be ignored.
        start, every, frames: see `Selection`; counted in frames of the source.
        in_stamp_order: the images of a bag come in the order of their stamps, not in that of their recording.
        bits: how many of 16 bits images of that depth use; 0 = found from the images (`BitDepth`).

    Raises:
        InputError: there is no such thing, it is not what it should be, or no frame can be read.
        OptionError: a selection that selects nothing, or an fps that is not positive.
    """
    selection = Selection(start, every, frames)
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise OptionError(f"fps: {fps} is not a positive number")
    if bits != 0 and not 8 <= bits <= 16:
        raise OptionError(f"bits: {bits} is neither 0 nor within 8..16")
    try:
        opened = _opened(source, topic, fps, selection, in_stamp_order, bits)
    except OSError as error:  # of a folder that may not be read, a name that is too long
        raise InputError(f"{shown(source)}: cannot be read: {error.strerror}") from None
    try:
        opened.open_first()
    except BaseException:
        opened.close()
        raise
    return opened


def _opened(
    source: str | int | Path,
    topic: str | None,
    fps: float | None,
    selection: Selection,
    in_stamp_order: bool,
    bits: int,
) -> FrameSource:
    scheme = scheme_of(str(source))
    if scheme == "file":
        source = path_of_file_address(str(source))
    elif scheme:
        return _at_address(str(source), scheme, topic, fps, selection)
    text = str(source)
    if not text or "\0" in text:
        raise InputError("the name of the input is empty" if not text else "the name of the input holds a zero byte")
    try:
        path = Path(source).expanduser() if not isinstance(source, int) else Path(text)
    except RuntimeError:  # neither HOME nor the system knows it
        raise InputError(f"{shown(text)}: the home folder is not known; write the whole path") from None
    device = re.fullmatch(r"(?:/dev/video)?(\d{1,9})", text)
    if device and (isinstance(source, int) or not path.is_file()):
        with ffmpeg_needed():
            from keytrack_ros.media.live_source import WebcamSource
        return WebcamSource(int(device.group(1)), selection)
    if not path.exists():
        raise InputError(f"{shown(path)}: there is no such file or folder")
    if is_recording(path):
        from keytrack_ros.media.bag_source import BagSource  # rosbags is slow to import

        if path.is_dir() and (images := images_in(path)):
            logger.warning("%s: is read as a bag; %d images in that folder are left out", shown(path), len(images))
        return BagSource(path, topic, selection, stamp_order=in_stamp_order, bits=bits)
    if topic is not None:
        raise InputError(f"{shown(path)}: a topic was named ('{topic}'), but this is no bag")
    suffix = path.suffix.lower()
    if path.is_dir() or (suffix in IMAGE_SUFFIXES and suffix not in _MOVING):
        return ImageSource(path, fps or DEFAULT_FPS, selection, bits)
    if path.is_file() and (what := what_else(path)):
        raise InputError(f"{shown(path)}: not a video: it is {what}")
    with ffmpeg_needed():
        from keytrack_ros.media.video_source import VideoSource  # so are FFmpeg's libraries
    return VideoSource(path, fps, selection)


def _at_address(address: str, scheme: str, topic: str | None, fps: float | None, selection: Selection) -> FrameSource:
    with ffmpeg_needed():
        from keytrack_ros.media.live_source import StreamSource, has_an_end, open_stream
        from keytrack_ros.media.video_source import VideoSource
    if scheme not in ADDRESSES:
        raise InputError(f"{shown(address)}: addresses with {scheme}:// are not read; {', '.join(ADDRESSES)} are")
    if topic is not None:
        raise InputError(f"{shown(address)}: a topic was named ('{topic}'), but this is no bag")
    container = open_stream(address)
    try:
        if has_an_end(container):
            return VideoSource(address, fps, selection, container)
        return StreamSource(container, address, selection)
    except BaseException:
        container.close()
        raise


def is_recording(path: Path) -> bool:
    """Whether a path names a bag: a file named like one, or a folder with metadata.yaml or such files."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(f.name.lower().endswith(BAG_NAMES) for f in path.iterdir())
    return path.name.lower().endswith(BAG_NAMES)
