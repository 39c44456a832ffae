"""cv_bridge as the converter of image messages, where an installation has one that works."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import sys

import numpy as np

from keytrack_ros.media.ros_images import Converter, by_rosbags
from keytrack_ros.poses import ImageArray

logger = logging.getLogger(__name__)

ENCODINGS = frozenset(
    ["mono8", "rgb8", "rgba8", "bgra8", "yuv422", "yuv422_yuy2"]
    + [f"bayer_{pattern}8" for pattern in ("rggb", "bggr", "gbrg", "grbg")]
)
"""What is given to cv_bridge. It refuses nv12 and nv21, fails on big-endian images under NumPy 2, and does not know how
many of 16 bits a sensor uses."""

_TIMEOUT_S = 60.0

_PROBE = """
from types import SimpleNamespace
import numpy as np
from cv_bridge import CvBridge
image = SimpleNamespace(encoding="rgb8", height=1, width=1, step=3, is_bigendian=0, data=np.array([1, 2, 3], np.uint8))
pixels = CvBridge().imgmsg_to_cv2(image, "bgr8")
if pixels.tolist() != [[[3, 2, 1]]]:
    raise SystemExit(f"it turns the RGB pixel 1, 2, 3 into the BGR pixel {pixels.tolist()}")
"""


def find_converter() -> Converter:
    """cv_bridge's converter if there is one that works, with our own for what it cannot convert; else our own.

    A cv_bridge that does not work is logged as one warning with cause and cure.
    """
    if importlib.util.find_spec("cv_bridge") is None:
        return by_rosbags
    fault = _fault()
    if fault is not None:
        cure = "install numpy<2" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "build it for this Python"
        logger.warning(
            "cv_bridge is installed but does not work with NumPy %s (%s): images are converted without it, to the same "
            "pixels; to use it, %s",
            np.__version__,
            fault,
            cure,
        )
        return by_rosbags
    from cv_bridge import CvBridge

    bridge = CvBridge()

    def convert(message: object) -> ImageArray:
        if message.encoding in ENCODINGS:  # type: ignore[attr-defined]
            try:
                return np.asarray(bridge.imgmsg_to_cv2(message, "bgr8"), np.uint8)
            except Exception as error:  # CvBridgeError, and whatever a version of it raises by mistake
                logger.debug("cv_bridge cannot convert %s: %s", message.encoding, error)  # type: ignore[attr-defined]
        return by_rosbags(message)

    return convert


def _fault() -> str | None:
    """Why cv_bridge does not work; None if it does. Tried in a child process, since a broken one may crash it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it does not answer within {_TIMEOUT_S:g} s"
    if done.returncode < 0:
        return f"it ends the process with {signal.Signals(-done.returncode).name}"
    if done.returncode > 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {done.returncode}"
    return None
