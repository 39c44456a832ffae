"""People with identities for robots: 15 keypoints and a persistent track id each (KeyTrack)."""

import os
import pkgutil

# ONNX Runtime from 1.29 on reports to Microsoft unless this is set before its first import (docs/deployment.md).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# A damaged image may claim any size; beyond 134 million pixels OpenCV refuses it (unless the variable is set already).
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))

# The generated keytrack_ros.msg is installed elsewhere than a source tree under test; both folders are this package.
__path__ = pkgutil.extend_path(__path__, __name__)

__version__ = "0.1.0"
