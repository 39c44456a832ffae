"""The reader of PoseTrack files under its former name; it is in `keytrack_ros.annotations.posetrack_reader`."""

from keytrack_ros.annotations.posetrack_reader import read_posetrack

__all__ = ["read_posetrack"]
