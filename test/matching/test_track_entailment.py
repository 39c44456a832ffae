from dataclasses import replace

import numpy as np
import pytest

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import PACKAGE_MODELS, find_model
from keytrack_ros.matching.entailment import EntailmentMatcher
from keytrack_ros.matching.matcher import TrackMatcher, TrackQuery
from keytrack_ros.matching.motion import VOTE_PRIOR
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.matching.track_entailment import TrackEntailmentMatcher
from keytrack_ros.poses import Poses
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test.people import people

SIZE = (768, 576)
PAPER = "pose_entailment_paper"


@pytest.fixture(scope="module")
def shipped() -> TrackEntailmentMatcher:
    return TrackEntailmentMatcher(find_model(MatcherCard, "pose_entailment", [PACKAGE_MODELS]))


def ids(tracker: PoseTracker, poses: Poses, stamp: float) -> list[int]:
    return tracker.update(poses, SIZE, stamp).track_ids.tolist()


class TestShippedNetwork:
    """What it must do however it was trained."""

    @pytest.fixture
    def tracker(self, shipped) -> PoseTracker:
        return PoseTracker(matcher=shipped)

    def test_is_what_a_tracker_uses_by_default(self):
        assert isinstance(PoseTracker().matcher, TrackEntailmentMatcher)
        assert isinstance(open_matcher(PAPER), EntailmentMatcher)
        assert isinstance(PoseTracker(TrackerOptions(model=PAPER)).matcher, EntailmentMatcher)

    def test_ids_follow_the_people_not_the_rows(self, tracker):
        assert ids(tracker, people((200, 300), (500, 300)), 0.0) == [1, 2]
        assert ids(tracker, people((505, 300), (205, 302)), 0.04) == [2, 1]
        assert ids(tracker, people((210, 303), (700, 300), (510, 300)), 0.08) == [1, 3, 2]

    def test_a_pan_by_more_than_the_distance_of_neighbours_swaps_nobody(self, tracker):
        places = [(100.0 + 80 * k, 200 + 20 * k) for k in range(6)]
        assert ids(tracker, people(*places), 0.0) == [1, 2, 3, 4, 5, 6]
        for frame in range(1, 5):
            assert ids(tracker, people(*[(x + 50 * frame, y) for x, y in places]), frame / 10) == [1, 2, 3, 4, 5, 6]

    def test_people_who_pass_each_other_keep_their_ids(self, tracker):
        for frame in range(30):
            walkers = people((150 + 12 * frame, 300), (500 - 12 * frame, 306))
            assert ids(tracker, walkers, frame / 12.5) == [1, 2]

    @pytest.mark.parametrize("missed", [1, 3, 6])
    def test_a_person_who_walks_on_unseen_is_known_again(self, tracker, missed):
        for frame in range(6):
            assert ids(tracker, people((100 + 10 * frame, 300), (600, 200)), frame / 25) == [1, 2]
        for frame in range(6, 6 + missed):
            assert ids(tracker, people((600, 200)), frame / 25) == [2]
        frame = 6 + missed
        assert ids(tracker, people((100 + 10 * frame, 300), (600, 200)), frame / 25) == [1, 2]

    def test_somebody_elsewhere_is_new(self, tracker):
        assert ids(tracker, people((100, 300)), 0.0) == [1]
        assert ids(tracker, people((100, 300), (600, 300)), 0.04) == [1, 2]

    def test_the_frame_rate_is_told_by_stamps(self, tracker):
        # 400 px/s at 25 and at 3 frames a second: one network, nothing set.
        for rate in (25, 3):
            tracker.reset()
            found = [ids(tracker, people((50 + 400 * k / rate, 300)), k / rate) for k in range(int(1.6 * rate))]
            assert len({tuple(frame) for frame in found}) == 1

    def test_poses_without_keypoints_match_nobody(self, tracker):
        nobody = people((300, 300), score=0.0)
        assert ids(tracker, Poses.concatenate([nobody, people((300, 300))]), 0.0) == [1, 2]
        assert ids(tracker, Poses.concatenate([nobody, people((302, 300))]), 0.04) == [3, 2]

    def test_one_keypoint_is_enough_to_be_followed(self, tracker):
        hand = (np.arange(15) == 8)[None] * 0.9
        for frame in range(4):
            assert ids(tracker, people((300 + 2 * frame, 300)).with_fields(scores=hand), frame / 25) == [1]

    def test_the_same_pose_twice_gets_two_ids(self, tracker):
        for frame in range(3):
            assert sorted(ids(tracker, people((300, 300), (300, 300)), frame / 25)) == [1, 2]

    def test_people_outside_the_frame_are_people(self, tracker):
        assert ids(tracker, people((-4000, 300), (9000, 300)), 0.0) == [1, 2]
        assert ids(tracker, people((-3996, 300), (9003, 300)), 0.04) == [1, 2]

    def test_two_hundred_people(self, tracker):
        places = [(30.0 + 137 * (k % 20), 40.0 + 183 * (k // 20)) for k in range(200)]
        first = ids(tracker, people(*places), 0.0)
        order = np.random.default_rng(1).permutation(200)
        assert ids(tracker, people(*[places[k] for k in order]), 0.1) == [first[k] for k in order]

    def test_equal_stamps_are_frames_in_order(self, tracker):
        assert [ids(tracker, people((100 + 3 * k, 200)), 0.0) for k in range(6)] == [[1]] * 6


def query(current: Poses, past: Poses, camera: tuple[float, float] = (0, 0)) -> TrackQuery:
    many = len(past)
    return TrackQuery(
        current,
        past.with_fields(track_ids=np.arange(1, many + 1)),
        np.ones(many, np.int64),
        np.full(many, 0.04, np.float32),
        np.tile(np.array(camera, np.float32), (many, 1)),
        np.arange(1, many + 1),
        5,
    )


class TestScores:
    def test_it_is_a_track_matcher(self, shipped):
        assert isinstance(shipped, TrackMatcher)

    def test_nobody_now_or_before(self, shipped):
        for current, past in ((Poses.empty(), people((1, 1))), (people((1, 1)), Poses.empty())):
            found = shipped.score_tracks(query(current, past))
            assert found.scores.shape == (len(current), len(past))
            assert found.shift.tolist() == [0, 0]

    def test_the_cameras_earlier_motion_is_undone(self, shipped):
        past, current = people((200, 300), (400, 300)), people((230, 300), (430, 300))
        known = shipped.score_tracks(query(current, past, (30, 0)))
        np.testing.assert_allclose(known.shift, [0, 0], atol=1e-3)
        rested = shipped.score_tracks(query(past, past))
        np.testing.assert_allclose(known.scores, rested.scores, atol=1e-4)
        found = shipped.score_tracks(query(current, past))
        np.testing.assert_allclose(found.shift, [30 * 2 / (2 + VOTE_PRIOR), 0], rtol=1e-3)

    def test_only_the_nearest_tracks_are_compared(self, shipped):
        places = [(300 + 12 * k, 300) for k in range(8)]
        found = shipped.score_tracks(query(people((300, 300)), people(*places)))
        assert np.isfinite(found.scores).sum() == 5


class TestErrors:
    def test_a_network_of_pairs_is_refused(self):
        card = find_model(MatcherCard, PAPER, [PACKAGE_MODELS])
        with pytest.raises(ModelError, match=r"a track matcher has tokens of 61 and summary of 110"):
            TrackEntailmentMatcher(card)

    def test_so_is_a_network_of_tracks_where_one_of_pairs_is_needed(self, shipped):
        with pytest.raises(ModelError, match=r"a matcher has positions, types, segments, mask and logits"):
            EntailmentMatcher(replace(shipped.card, input="pairs"))

    def test_torch_weights_of_the_other_kind_leave_the_work_to_onnx_runtime(self, shipped, caplog):
        pytest.importorskip("torch", reason="torch is not installed; make dev installs it")
        card = replace(shipped.card, weights=f"{PAPER}.pt")
        TrackEntailmentMatcher(card, InferenceOptions(device="cpu", backend="torch", threads=1)).close()
        assert "pose_entailment.onnx runs on ONNX Runtime" in caplog.text
        assert "weights of a network of pairs; pose_entailment is one of tracks" in caplog.text


def test_equals_torch(shipped):
    pytest.importorskip("torch", reason="torch is not installed; make dev installs it")
    import torch

    from keytrack_ros.inference.session import OnnxSession
    from keytrack_ros.matching.histories import SUMMARY_WIDTH, TOKEN_WIDTH
    from keytrack_ros.matching.weights import load_weights

    network = load_weights(PACKAGE_MODELS / "pose_entailment.pt")
    session = OnnxSession(shipped.card.path)
    rng = np.random.default_rng(0)
    for count in (0, 1, 300):
        tokens = rng.normal(size=(count, 15, TOKEN_WIDTH)).astype(np.float32)
        summary = rng.normal(size=(count, SUMMARY_WIDTH)).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(tokens), torch.from_numpy(summary)).numpy()
        found = session.run({"tokens": tokens, "summary": summary})["logits"]
        assert found.shape == (count,)
        np.testing.assert_allclose(found, expected, atol=1e-5)
