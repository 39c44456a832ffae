"""Scores of tracked poses against annotations: PoseTrack files, AP, MOTA, IDF1, HOTA."""
