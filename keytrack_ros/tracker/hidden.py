"""People who are hidden for a moment: where they are expected, and in which pose.

Who walks behind somebody gets no box of their own, or a poor one, for half a second. Their place is known all the same:
the pose moves with the track's expected box, for as long as that is likely to hold the person.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keytrack_ros.geometry import box_iou
from keytrack_ros.matching.matcher import ExpectedBoxes
from keytrack_ros.poses import FloatArray, Poses, TrackState, keypoint_boxes
from keytrack_ros.tracker.life import Sighting, Track

CENTER_STD = 0.12
"""Body heights by which a detected center may lie off, as a standard deviation. A person is some 0.4 body heights wide:
an expected box off by a third of that still overlaps the true one by half."""

COVERED = 0.1
"""Part of an expected box that a seen person's box must cover to explain why nobody is seen there."""

SAME_PLACE = 0.3
"""IoU of an expected box with that of a track which has begun since: they are one person under two ids."""

INSIDE = 0.97
"""Part of an expected box that must lie in the image: who reaches its edge leaves."""

SCORE_SHARE = 0.5
"""Scores of keypoints that are only expected, beside those they were last seen with."""


def hidden_poses(
    tracks: Sequence[Track], expected: ExpectedBoxes, seen: Poses, frame: int, frame_size: tuple[int, int]
) -> Poses:
    """The poses of confirmed tracks that are not seen in this frame because somebody is in front of them.

    A track that nobody hides gives none: whoever should be in plain sight and is not seen has gone. Only those hide a
    track who were there when it was last seen: others may be the same person under another id. A track
    that began since then in the same place, and is confirmed, is that same person.

    Args:
        tracks: T tracks.
        expected: their boxes in this frame.
        seen: the people seen in this frame, with the `track_ids` of confirmed tracks.
        frame: its number.
        frame_size: width and height of the image in pixels.

    Returns:
        Poses in the order of the tracks, with `track_ids`, `ages` and the state LOST. They count as carried over, and
        their scores are `SCORE_SHARE` of those they were last seen with.
    """
    boxes = expected.boxes
    lost = np.array([track.confirmed and track.last.frame < frame for track in tracks], bool)
    known = expected.center_std <= CENTER_STD * expected.sizes.max(1, initial=0)
    inside = _shares(boxes, np.array([[0, 0, *frame_size]], np.float32)).max(1, initial=0) >= INSIDE
    covers = _shares(boxes, seen.boxes) >= COVERED
    by_id = {track.track_id: track for track in tracks}
    others = [by_id[track_id] for track_id in seen.track_ids.tolist()]
    begun = np.array([track.born if track.confirmed else -1 for track in tracks])
    last_seen = np.array([track.last.frame for track in tracks])
    again = ((begun > last_seen[:, None]) & (box_iou(boxes[:, None], boxes[None]) >= SAME_PLACE)).any(1)
    rows = [
        row
        for row in np.flatnonzero(lost & known & inside & ~again).tolist()
        if any(_was_there(others[k], tracks[row].last.frame) for k in np.flatnonzero(covers[row]))
    ]
    if not rows:
        return Poses.empty()
    last = [_last_boxed(tracks[row]) for row in rows]
    was = np.array([s.box if s.box.any() else keypoint_boxes(s.keypoints[None], s.scores[None])[0] for s in last])
    keypoints, scores = np.array([s.keypoints for s in last]), np.array([s.scores for s in last])
    scale = expected.sizes[rows] / np.maximum(was[:, 2:] - was[:, :2], 1)
    relative = scale[:, None] * (keypoints - ((was[:, :2] + was[:, 2:]) / 2)[:, None])
    return Poses(
        np.where(scores[..., None] > 0, expected.centers[rows][:, None] + relative, 0),
        SCORE_SHARE * scores,
        boxes=boxes[rows],
        box_scores=np.full(len(rows), np.nan),
        carried=np.ones(len(rows), bool),
        track_ids=np.array([tracks[row].track_id for row in rows]),
        states=np.full(len(rows), TrackState.LOST),
        ages=np.array([frame - tracks[row].born for row in rows]),
    )


def _was_there(track: Track, frame: int) -> bool:
    """Whether the track was seen in that frame; of frames before its oldest remembered one, whether it had begun."""
    return track.born <= frame < track.sightings[-1].frame or any(s.frame == frame for s in track.sightings)


def _last_boxed(track: Track) -> Sighting:
    """The newest sighting with a detected box and keypoints of its own, else the newest."""
    return next((s for s in track.sightings if s.box.any() and s.scores.any()), track.last)


def _shares(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """[N, M] part of each of the boxes [N, 4] that lies in each of the others [M, 4]."""
    size = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    area = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    return np.asarray(np.prod(np.maximum(size, 0), -1) / np.maximum(area, 1e-9)[:, None])
