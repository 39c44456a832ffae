import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import PACKAGE_MODELS, find_model
from keytrack_ros.matching.entailment import EntailmentMatcher
from keytrack_ros.matching.matcher import MatchQuery
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import Poses
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test.people import people

SIZE = (768, 576)
PAPER = "pose_entailment_paper"
"""Name of the network in the paper's configuration."""


@pytest.fixture(scope="module")
def shipped() -> EntailmentMatcher:
    return EntailmentMatcher(find_model(MatcherCard, PAPER, [PACKAGE_MODELS]))


def query(current: Poses, past: Poses, gaps: list[int] | None = None, pairs: list[tuple[int, int]] | None = None):
    """By default everyone of `past` is from the last frame and compared with everyone of `current`."""
    if pairs is None:
        pairs = [(a, b) for a in range(len(current)) for b in range(len(past))]
    given = np.array(gaps or [1] * len(past), np.int64)
    return MatchQuery(current, past, given, given / 25, np.array(pairs, np.int64).reshape(-1, 2), SIZE)


def crowd(count: int, seed: int) -> Poses:
    rng = np.random.default_rng(seed)
    poses = people(*rng.uniform((60, 100), (700, 480), (count, 2)).tolist())
    return poses.with_fields(scores=np.where(rng.random((count, 15)) < 0.2, 0, poses.scores))


class TestShippedNetwork:
    def test_a_pose_that_stays_is_the_same_person(self, shipped):
        poses = people((300, 300), (500, 200))
        for gap in (1, 2, 3, 4):
            scores = shipped.score(query(poses, poses, [gap] * 2, [(0, 0), (1, 1)]))
            assert (scores > 0.9).all()

    def test_a_step_of_a_few_pixels_is_the_same_person(self, shipped):
        assert shipped.score(query(people((300, 300)), people((306, 301))))[0] > 0.9

    def test_a_pose_far_away_is_another_person(self, shipped):
        upright = people((300, 600))
        lying = Poses(upright.keypoints[..., ::-1], upright.scores)  # at (600, 300), on its side
        assert shipped.score(query(people((150, 400)), lying))[0] < 0.1

    def test_of_two_people_the_nearer_one_matches_better(self, shipped):
        scores = shipped.score(query(people((300, 300)), people((310, 300), (420, 300))))
        assert scores[0] > 0.9
        assert scores[0] > scores[1]

    def test_a_tracker_may_use_it(self, shipped):
        tracker = PoseTracker(TrackerOptions(match_threshold=0.5, gating=False), shipped)
        first = tracker.update(people((200, 300), (500, 300)), SIZE, 0.0)
        second = tracker.update(people((505, 300), (205, 302)), SIZE, 0.04)
        assert first.track_ids.tolist() == [1, 2]
        assert second.track_ids.tolist() == [2, 1]


class TestScores:
    def test_no_pairs(self, shipped):
        scores = shipped.score(query(Poses.empty(), people((300, 300))))
        assert scores.shape == (0,)
        assert scores.dtype == np.float32

    def test_chunks_do_not_change_the_scores(self, shipped):
        asked = query(crowd(20, 0), crowd(40, 1), [1] * 20 + [3] * 20)
        whole = EntailmentMatcher(shipped.card, chunk=10_000).score(asked)
        pieces = EntailmentMatcher(shipped.card, chunk=37).score(asked)
        assert len(whole) == 800
        np.testing.assert_allclose(pieces, whole, atol=1e-5)
        np.testing.assert_allclose(shipped.score(asked), whole, atol=1e-5)

    def test_are_those_of_the_pairs_that_were_asked_in_their_order(self, shipped):
        current, past = crowd(4, 2), crowd(4, 3)
        table = shipped.score(query(current, past)).reshape(4, 4)
        some = [(3, 1), (0, 0), (2, 3)]
        np.testing.assert_allclose(shipped.score(query(current, past, pairs=some)), [table[p] for p in some], atol=1e-5)

    def test_a_pose_without_a_keypoint_in_the_frame_matches_nobody(self, shipped):
        nobody = Poses(np.zeros((1, 15, 2)), np.zeros((1, 15)))
        outside = people((5000, 5000))
        both = Poses.concatenate([nobody, outside])
        assert shipped.score(query(both, people((300, 300)))).tolist() == [0, 0]
        assert shipped.score(query(people((300, 300)), both)).tolist() == [0, 0]
        assert shipped.score(query(both, both)).tolist() == [0] * 4

    def test_coordinates_of_missing_keypoints_do_not_matter(self, shipped):
        # Among them the nose, token 0, which the pooler reads though it is masked.
        poses = people((300, 300))
        scores = poses.scores.copy()
        scores[0, [0, 5, 13]] = 0
        here, there = poses.keypoints.copy(), poses.keypoints.copy()
        there[0, [0, 5, 13]] = 700, 20
        past = people((310, 300))
        asked = [shipped.score(query(Poses(k, scores), past)) for k in (here, there)]
        assert asked[0] == asked[1]

    def test_nothing_is_said_about_poses_older_than_any_it_was_trained_on(self, shipped):
        here = people((300, 300))
        scores = shipped.score(query(here, Poses.concatenate([here] * 3), [4, 5, 100]))
        assert scores[0] > 0.9
        assert scores[1:].tolist() == [0, 0]


class TestTracker:
    """The paper's configuration with people of all kinds."""

    @pytest.fixture
    def tracker(self, shipped) -> PoseTracker:
        return PoseTracker(TrackerOptions(match_threshold=0.5, delta=1, gating=False), shipped)

    def test_one_keypoint_is_followed_or_new_but_never_somebody_else(self, tracker):
        hand = (np.arange(15) == 8)[None] * 0.9
        whole = people((600, 300))
        for frame in range(4):
            lone = people((200 + 2 * frame, 300)).with_fields(scores=hand)
            found = tracker.update(Poses.concatenate([whole, lone]), SIZE, frame / 25).track_ids
            assert found[0] == 1 != found[1]

    def test_the_same_pose_twice_gets_two_ids(self, tracker):
        for frame in range(3):
            found = tracker.update(people((300, 300), (300, 300)), SIZE, frame / 25).track_ids
            assert sorted(found.tolist()) == [1, 2]

    def test_people_out_of_the_frame_are_always_new(self, tracker):
        assert tracker.update(people((-4000, 300), (9000, 300)), SIZE, 0.0).track_ids.tolist() == [1, 2]
        assert tracker.update(people((-4000, 300), (9000, 300)), SIZE, 0.04).track_ids.tolist() == [3, 4]

    def test_two_hundred_people_get_two_hundred_ids(self, tracker):
        places = [(20.0 + 38 * (k % 20), 30.0 + 56 * (k // 20)) for k in range(200)]
        for frame in range(2):
            assert len(set(tracker.update(people(*places), SIZE, frame / 25).track_ids.tolist())) == 200


class TestErrors:
    def test_a_network_for_another_job_is_refused(self, tmp_path):
        from test.toy import write_networks

        write_networks(tmp_path)
        network = next(tmp_path.glob("*.onnx"))
        with pytest.raises(ModelError, match=r"a matcher has positions, types, segments, mask and logits"):
            EntailmentMatcher(MatcherCard(name="toy", file=network.name, path=network))

    def test_a_damaged_file_is_refused(self, tmp_path, shipped):
        card = (PACKAGE_MODELS / f"{PAPER}.yaml").read_text()
        (tmp_path / f"{PAPER}.yaml").write_text(card)
        (tmp_path / f"{PAPER}.onnx").write_bytes(shipped.card.path.read_bytes()[:-1])
        with pytest.raises(ModelError, match="damaged or not pose_entailment_paper"):
            open_matcher(PAPER, InferenceOptions(models=str(tmp_path)))


def test_equals_torch(shipped):
    pytest.importorskip("torch", reason="torch is not installed; make dev installs it")
    import torch

    from keytrack_ros.inference.session import OnnxSession
    from keytrack_ros.matching.tokens import INPUTS, pair_tokens, pose_tokens
    from keytrack_ros.matching.weights import load_weights

    network = load_weights(PACKAGE_MODELS / f"{PAPER}.pt")
    session = OnnxSession(shipped.card.path)
    for count in (0, 1, 700):
        a, b = crowd(count, 4), crowd(count, 5)
        tokens = pair_tokens(
            *(pose_tokens(p.keypoints, p.visible, SIZE) for p in (a, b)), np.arange(count, dtype=np.int64) % 4 + 1
        )
        arrays = {name: np.ascontiguousarray(getattr(tokens, name)) for name in INPUTS}
        with torch.no_grad():
            expected = network(*(torch.from_numpy(array.copy()) for array in arrays.values())).numpy()
        found = session.run(arrays)["logits"]
        assert found.shape == (count, 2)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
@pytest.mark.parametrize(
    ("embeddings", "grid"),
    [
        (("type", "segment"), (24, 18)),
        (("position", "segment"), (24, 18)),
        (("position", "type"), (24, 18)),
        (("position", "type", "segment", "relative"), (48, 36)),
    ],
)
def test_networks_of_other_embeddings_and_grids_run_as_torch_runs_them(tmp_path, embeddings, grid, backend):
    torch = pytest.importorskip("torch", reason="torch is not installed; make dev installs it")

    from keytrack_ros.matching.network import EntailmentNetwork, NetworkOptions
    from keytrack_ros.matching.tokens import pair_tokens, pose_tokens
    from keytrack_ros.training.matcher.export import export_matcher

    torch.manual_seed(2)
    network = EntailmentNetwork(NetworkOptions(layers=1, grid=grid, embeddings=embeddings)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)
    export_matcher(network, tmp_path, 0.5, "variant")
    current, past = crowd(6, 8), crowd(6, 9)
    options = InferenceOptions(device="cpu", backend=backend)
    matcher = EntailmentMatcher(find_model(MatcherCard, "variant", [tmp_path]), options)
    assert matcher._session.runs_on.lower().replace(" ", "").startswith(backend)
    found = matcher.score(query(current, past, [2] * 6, [(k, k) for k in range(6)]))
    a, b = (pose_tokens(p.keypoints, p.visible, SIZE, grid) for p in (current, past))
    tokens = pair_tokens(a, b, np.full(6, 2))
    names = ("positions", "types", "segments", "mask", "relative")
    with torch.no_grad():
        logits = network(*(torch.from_numpy(np.ascontiguousarray(getattr(tokens, name))) for name in names))
    np.testing.assert_allclose(found, torch.softmax(logits, 1)[:, 1], atol=1e-5)
    assert np.ptp(found) > 1e-3


def test_torch_is_loaded_only_for_the_torch_network():
    # A robot without torch must be able to match.
    program = (
        "import sys; from keytrack_ros.matching.open_matcher import open_matcher; open_matcher(); "
        f"open_matcher('{PAPER}'); "
        "assert 'torch' not in sys.modules; from keytrack_ros.matching.entailment import EntailmentNetwork; "
        "assert 'torch' in sys.modules; EntailmentNetwork()"
    )
    pytest.importorskip("torch", reason="torch is not installed; make dev installs it")
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2], timeout=280)


def test_the_shipped_model_file_names_its_network():
    card = find_model(MatcherCard, PAPER, [PACKAGE_MODELS])
    assert card == replace(card, input="pairs", auto=False, grid=(24, 18), memory_frames=4, segments="distinct")
