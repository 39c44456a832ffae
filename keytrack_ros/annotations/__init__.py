"""Annotation and result files of tracked poses: PoseTrack 2017 and 2018, bags; reading, writing, conversion."""
