"""Frame → person boxes."""

from keytrack_ros.detection.detector import Detector, DetectorOptions

__all__ = ["Detector", "DetectorOptions"]
