"""cv_bridge where there is one, our own converter where it is missing, broken or refuses; both give the same pixels."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import Image

from keytrack_ros.media.ros_images import by_rosbags
from keytrack_ros.nodes.bridge import find_converter
from keytrack_ros.nodes.images import to_bgr
from test.nodes.camera import Camera
from test.nodes.graph import Graph

# What cv_bridge (vision_opencv at 8b42d66, OpenCV 4.6) makes of `patch`: 4x4 BGR pixels row by row, in hexadecimal.
CV_BRIDGE = {
    "rgb8": "b25900c26910d27920e28930f2994007a95017b96027c97037d98047e99057f9a0670eb0771ec0872ed0973ee0a74ef0",
    "bgr8": "0059b21069c22079d23089e24099f250a90760b91770c92780d93790e947a0f957b00e67c01e77d02e87e03e97f04ea7",
    "rgb16": "c21159e231790851992870b94890d967b0f987d01fa7f03fc7165ee7367e0d569e2d75be4d95de6cb5048cd524acf544",
    "bgr16": "5911c27931e2995108b97028d99048f9b0671fd0873ff0a75e16c77e36e79e560dbe752dde954d04b56c24d58c44f5ac",
    "rgba8": "b2590020c2698930d2f299406007a9c9701737d980a047e90eb057771ec0e0872e4ef097b75e0525c76e8e35d7f79e45",
    "bgra8": "0059b269c220d230894099f2a907601770c980d937e947a057b00ec01e772e87e097f04e055eb76ec725d7358e459ef7",
    "rgba16": "c2115999e23170b9084890d91f67b0f03f87c7165e9ee73675be0d4d95de246cb5f5448ccc1b63a3ec3b7ac312529ae3",
    "bgra16": "5911c231e29908b970d99048b0671f873ff05e16c736e79e0dbe75de954db56c248c44f5631bcc3beca312c37ae39a52",
    "yuv422": "005ea5000950a1ff364cd100cb0034ffcdff1e5cff0007ff530a00ffcf92005de400088feaff7595d020ff0073ffccff",
    "yuv422_yuy2": "006a006eff0aed535c98000740b1ff005cff6a5500ffffba00b3ff005eb8005700b7ff49ff539ce100478ab1ff355cff",
    "mono8": "000000595959b2b2b2101010696969c2c2c2202020797979d2d2d2303030898989e2e2e2404040999999f2f2f2505050",
    "mono16": "595959111111c2c2c2797979313131e2e2e2999999515151080808b9b9b9707070282828d9d9d9909090484848f9f9f9",
    "bayer_rggb8": "c24583c245839e209e9e209ec24583c245839e209e9e209eae30aeae30ae898989898989ae30aeae30ae898989898989",
    "bayer_bggr8": "8345c28345c29e209e9e209e8345c28345c29e209e9e209eae30aeae30ae898989898989ae30aeae30ae898989898989",
    "bayer_gbrg8": "45c24545c2455f9e205f9e2045c24545c2455f9e205f9e2030ae6f30ae6f89898989898930ae6f30ae6f898989898989",
    "bayer_grbg8": "45c24545c245209e5f209e5f45c24545c245209e5f209e5f6fae306fae308989898989896fae306fae30898989898989",
    "bayer_rggb16": "e26564e26564999999999999e26564e26564999999999999b9b93cb9b93caf7070af7070b9b93cb9b93caf7070af7070",
    "bayer_bggr16": "6465e26465e29999999999996465e26465e29999999999993cb9b93cb9b97070af7070af3cb9b93cb9b97070af7070af",
    "bayer_gbrg16": "65e26565e2655a99995a999965e26565e2655a99995a9999b97a7ab97a7a707070707070b97a7ab97a7a707070707070",
    "bayer_grbg16": "65e26565e26599995a99995a65e26565e26599995a99995a7a7ab97a7ab97070707070707a7ab97a7ab9707070707070",
}

CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "yuv422": 2, "yuv422_yuy2": 2}


def patch(encoding: str) -> Image:
    """A 4x4 image of bytes that differ from each other."""
    sixteen = encoding.endswith("16")
    row = 4 * CHANNELS.get(encoding.removesuffix("16").removesuffix("8"), 1) * (2 if sixteen else 1)
    data = (np.arange(4 * row) * 89 % 251).astype(np.uint8)
    return Image(encoding=encoding, height=4, width=4, step=row, data=array("B", data.tobytes()))


@pytest.mark.parametrize("encoding", CV_BRIDGE)
def test_our_converter_gives_the_pixels_of_cv_bridge(encoding: str) -> None:
    expected = np.frombuffer(bytes.fromhex(CV_BRIDGE[encoding]), np.uint8).reshape(4, 4, 3)
    # cv_bridge interpolates 16-bit Bayer mosaics before it scales them to 8 bits, ours afterwards.
    tolerance = int(encoding.startswith("bayer") and encoding.endswith("16"))
    np.testing.assert_allclose(to_bgr(patch(encoding)).astype(int), expected, atol=tolerance)


WORKING = """
import numpy as np
class CvBridge:
    def imgmsg_to_cv2(self, message, encoding):
        if message.encoding != "rgb8":
            raise RuntimeError(f"[{message.encoding}] is refused")
        return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)[..., ::-1]
"""

BROKEN = {
    "a NumPy 1 build under NumPy 2": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "with SIGSEGV"),
    "a library is missing": (
        "raise ImportError('libopencv_core.so.406: no such file')",
        "libopencv_core.so.406: no such",
    ),
    "wrong colours": (WORKING.replace("..., ::-1", "..., ::1"), "into the BGR pixel [[[1, 2, 3]]]"),
}


@pytest.fixture
def cv_bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a cv_bridge that is found by this process and its children."""
    file = tmp_path / "bridge" / "cv_bridge" / "__init__.py"
    file.parent.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "bridge"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "bridge"))
    monkeypatch.delitem(__import__("sys").modules, "cv_bridge", raising=False)
    return file


def test_without_cv_bridge_ours_is_used() -> None:
    assert find_converter() is by_rosbags


def test_what_a_working_cv_bridge_refuses_is_converted_by_ours(cv_bridge: Path) -> None:
    cv_bridge.write_text(WORKING)
    convert = find_converter()
    assert convert is not by_rosbags
    for encoding in ("rgb8", "bgra8", "mono8", "mono16"):
        message = patch(encoding)
        np.testing.assert_array_equal(convert(message), by_rosbags(message), err_msg=encoding)


@pytest.mark.parametrize(("code", "cause"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_cv_bridge_is_named_once_and_people_are_tracked(
    graph: Graph, toy_models: Path, cv_bridge: Path, code: str, cause: str
) -> None:
    cv_bridge.write_text(code)
    process = graph.start("tracker", {"inference.models": toy_models})
    camera = Camera(graph)
    for _ in range(2):
        assert len(camera.show([(150.0, 200.0), (400.0, 300.0)]).poses) == 2
    (line,) = [line for line in process.log.splitlines() if "cv_bridge" in line]
    assert "cv_bridge is installed but does not work with NumPy" in line
    assert cause in line
    assert line.endswith(("to use it, install numpy<2", "to use it, build it for this Python"))
    assert process.end() == 0
