"""Identities: which pose of a frame continues which track."""

from keytrack_ros.tracker.options import TrackerOptions as TrackerOptions
from keytrack_ros.tracker.tracker import PoseTracker as PoseTracker
