"""Frames in (videos, image folders, bags, webcams), results out (PoseTrack JSON, bags, annotated videos)."""
