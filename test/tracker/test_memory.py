"""What is kept of earlier frames equals what their poses give when they are compared again."""

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.matching.histories import collect_histories
from keytrack_ros.matching.matcher import TrackQuery, TrackScores
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import FloatArray, Poses
from keytrack_ros.tracker import PoseTracker, TrackerOptions

SIZE = (640, 480)


class Listening:
    """The shipped matcher, which keeps the questions that it was asked."""

    def __init__(self) -> None:
        self.asked: list[TrackQuery] = []
        self._matcher = open_matcher()

    def score_tracks(self, query: TrackQuery) -> TrackScores:
        self.asked.append(query)
        return self._matcher.score_tracks(query)


def crowd(places: FloatArray, rng: np.random.Generator) -> Poses:
    """People with boxes around `places` [P, 2], whose keypoints get mixed up."""
    keypoints = places[:, None] + rng.normal(0, 25, (len(places), skeleton.COUNT, 2))
    scores = (rng.random((len(places), skeleton.COUNT)) < 0.9).astype(np.float32)
    return Poses(keypoints, scores, boxes=np.concatenate([places - 50, places + 50], 1))


def test_overlap_of_earlier_frames_is_that_of_the_tracks_that_remain() -> None:
    rng = np.random.default_rng(2)
    places = np.array([[200, 200], [225, 210], [250, 190], [420, 300], [430, 330]], np.float32)
    matcher = Listening()
    tracker = PoseTracker(TrackerOptions(lost_s=0.5), matcher)
    for frame in range(30):  # the third leaves after a while and is forgotten half a second later
        there = places if frame < 10 else np.delete(places, 2, 0)
        tracker.update(crowd(there + 2 * frame, rng), SIZE, frame / 10)
    assert len({len(query.track_ids) for query in matcher.asked[1:]}) > 1
    for query in matcher.asked:
        if not len(query.past):
            continue
        about = query.past, query.gaps, query.seconds, query.track_ids
        kept, again = collect_histories(*about, query.contested, query.overlapped), collect_histories(*about)
        np.testing.assert_allclose(kept.contested, again.contested, atol=1e-5)
        np.testing.assert_allclose(kept.overlapped, again.overlapped, atol=1e-5)
    assert (matcher.asked[-1].contested > 0.5).any()
    assert (matcher.asked[-1].overlapped > 0.5).any()
