"""Identities: which pose of a frame continues which track."""

from keytrack_ros.tracker.tracker import PoseTracker as PoseTracker
from keytrack_ros.tracker.tracker import TrackerOptions as TrackerOptions
