import numpy as np

from keytrack_ros.matching.gating import ALONE, CLOSE, SETTLED_SCORE, SURE, clear_cases, open_cases
from keytrack_ros.matching.matcher import MatchQuery, TrackScores
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import FloatArray
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test.people import people

NOW = np.ones(3, np.float32)


def test_close_and_alone_is_clear():
    distance = np.array([[0.1, 9, 9], [9, 0.2, 9], [9, 9, np.inf]], np.float32)
    assert clear_cases(distance, NOW).tolist() == [[True, False, False], [False] * 3, [False] * 3]


def test_another_track_or_pose_near_by_leaves_it_open():
    near, far = ALONE - 0.01, ALONE
    assert not clear_cases(np.array([[0.1, near]], np.float32), NOW[:2]).any()
    assert not clear_cases(np.array([[0.1], [near]], np.float32), NOW[:1]).any()
    assert clear_cases(np.array([[0.1, far], [far, 0.1]], np.float32), NOW[:2]).tolist() == [[1, 0], [0, 1]]


def test_bounds_are_exclusive_and_a_track_not_seen_last_is_never_clear():
    assert not clear_cases(np.array([[CLOSE]], np.float32), NOW[:1]).any()
    assert not clear_cases(np.array([[0.0]], np.float32), np.array([2.0])).any()


def test_among_others_it_is_clear_if_the_probability_says_so():
    distance = np.array([[0.1, 0.3], [0.3, 0.1]], np.float32)
    assert not clear_cases(distance, NOW[:2]).any()
    chance = np.array([[SURE, 0.0], [0.0, SURE - 0.01]], np.float32)
    assert clear_cases(distance, NOW[:2], chance).tolist() == [[True, False], [False, False]]
    assert not clear_cases(distance + CLOSE, NOW[:2], chance).any()
    assert not clear_cases(distance, 2 * NOW[:2], chance).any()


def test_in_a_crowd_without_boxes_few_pairs_are_asked_about_and_nobody_is_renamed():
    rng = np.random.default_rng(0)
    crowd = people(*rng.uniform((100, 100), (900, 500), (20, 2)))
    matcher, counts = open_matcher(), {}
    for gating in (False, True):
        tracker = PoseTracker(TrackerOptions(gating=gating), matcher)
        for frame in range(6):
            moved = crowd.keypoints + rng.normal(0, 1, crowd.keypoints.shape)
            ids = tracker.update(crowd.with_fields(keypoints=moved), (1000, 600), frame / 25).track_ids
            assert ids.tolist() == list(range(1, 21))
        assert tracker.comparison is not None
        logits = tracker.comparison.found.logits
        assert logits is not None
        counts[gating] = int(np.isfinite(logits).sum())
    matcher.close()
    assert counts[True] < counts[False] / 4


def test_open_is_what_shares_neither_pose_nor_track_with_a_clear_case():
    clear = np.array([[True, False, False], [False, False, False]])
    assert open_cases(clear).tolist() == [[False, False, False], [False, True, True]]


class Asked:
    """Is sure of every pair that it is asked about, and remembers which."""

    def __init__(self) -> None:
        self.pairs: list[list[int]] = []

    def score(self, query: MatchQuery) -> FloatArray:
        self.pairs = query.pairs.tolist()
        return np.full(len(query.pairs), 0.7, np.float32)


FIRST = people((100, 300), (300, 300), (330, 300))
SECOND = people((102, 300), (301, 300), (331, 300))


def test_a_network_of_pairs_is_asked_about_open_cases_alone():
    for gating, expected in ((True, {1, 2}), (False, {0, 1, 2})):
        asked = Asked()
        tracker = PoseTracker(TrackerOptions(gating=gating), asked)
        tracker.update(FIRST, (640, 480), 0.0)
        second = tracker.update(SECOND, (640, 480), 0.1)
        assert {pair[0] for pair in asked.pairs} == expected
        assert second.track_ids[0] == 1
        assert second.match_scores[0] == (SETTLED_SCORE if gating else np.float32(0.7))


def test_the_track_network_is_asked_about_open_cases_alone():
    with_gating, without = (_found(gating) for gating in (True, False))
    assert with_gating.settled is not None
    assert with_gating.logits is not None
    assert np.argwhere(with_gating.settled).tolist() == [[0, 0]]
    assert with_gating.scores[0, 0] == SETTLED_SCORE
    assert np.isneginf(with_gating.logits[0]).all()
    np.testing.assert_array_equal(with_gating.logits[1:, 1:], without.logits[1:, 1:])
    assert without.settled is not None
    assert not without.settled.any()


def _found(gating: bool) -> TrackScores:
    tracker = PoseTracker(TrackerOptions(gating=gating))
    tracker.update(FIRST, (640, 480), 0.0)
    tracker.update(SECOND, (640, 480), 0.1)
    assert tracker.comparison is not None
    return tracker.comparison.found


def test_a_threshold_above_the_settled_score_begins_new_tracks():
    tracker = PoseTracker(TrackerOptions(match_threshold=1.0), open_matcher())
    tracker.update(FIRST, (640, 480), 0.0)
    assert tracker.update(SECOND, (640, 480), 0.1).track_ids.tolist() == [4, 5, 6]
