import numpy as np
import pytest

from keytrack_ros.errors import DataError
from keytrack_ros.training.matcher.pairs import PairSampler
from keytrack_ros.training.matcher.tracks import Tracks, load_tracks, training_videos
from test.training.matcher.toy_tracks import walkers, write_tracks


@pytest.fixture(scope="module")
def tracks(tmp_path_factory) -> Tracks:
    return load_tracks(write_tracks(tmp_path_factory.mktemp("tracks"), frames=40))


def distances(positions: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean distance in cells of the two poses of each pair."""
    first, second = (np.stack(np.divmod(p, 24), -1) for p in (positions[:, :15], positions[:, 15:]))
    shared = mask[:, :15] & mask[:, 15:]
    return (np.linalg.norm(first - second, axis=-1) * shared).sum(1) / np.maximum(shared.sum(1), 1)


def test_half_of_the_pairs_are_one_person(tracks):
    batch = PairSampler(tracks, 4, "distinct").batch(64, np.random.default_rng(0))
    assert batch.labels.sum() == 32
    assert batch.tokens.positions.shape == (64, 30)
    assert set(batch.labels[:20]) == {0, 1}


def test_all_gaps_occur_and_the_current_pose_is_first(tracks):
    segments = PairSampler(tracks, 4, "distinct").batch(256, np.random.default_rng(0)).tokens.segments
    assert (segments[:, :15] == 0).all()
    assert set(segments[:, 29]) == {1, 2, 3, 4}


def test_the_same_generator_gives_the_same_batch(tracks):
    sampler = PairSampler(tracks, 4, "distinct")
    a, b, c = (sampler.batch(32, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(a.tokens.positions, b.tokens.positions)
    np.testing.assert_array_equal(a.labels, b.labels)
    assert (a.tokens.positions != c.tokens.positions).any()


def test_nearest_pairs_are_as_annotated(tracks):
    # Walkers move at most 2 px a frame, 32 frames at most, and are 200 px apart at least: 5 cells of 40 px.
    batch = PairSampler(tracks.select([n for n in tracks.names if n.startswith("bonn")]), 4, "distinct").nearest_batch(
        200, np.random.default_rng(0)
    )
    apart = distances(batch.tokens.positions, batch.tokens.mask)
    assert apart[batch.labels == 1].max() < 4
    assert apart[batch.labels == 0].min() > 2
    assert not batch.tokens.mask[:, 0].any()


def test_single_person_clips_give_negatives_that_lie_near(tracks):
    clips = tracks.select([name for name in tracks.names if name.startswith("penn")])
    batch = PairSampler(clips, 4, "distinct").batch(400, np.random.default_rng(1))
    apart = distances(batch.tokens.positions, batch.tokens.mask)[batch.labels == 0]
    # A person is 160 px or 5 cells tall; foreign poses lie within 1.2 heights of the old place.
    assert np.median(apart) < 6


def test_every_pose_keeps_two_keypoints(tracks):
    mask = PairSampler(tracks, 4, "distinct").batch(512, np.random.default_rng(2)).tokens.mask
    assert mask[:, :15].sum(1).min() >= 2
    assert mask[:, 15:].sum(1).min() >= 2


def test_videos_of_single_frames_give_a_plain_error(tmp_path):
    np.savez(tmp_path / "bonn_train.npz", **walkers(["000001", "000002"], 1, 2, 0))
    sampler = PairSampler(load_tracks(tmp_path), 4, "distinct")
    with pytest.raises(DataError, match="too short, too lonely, or have too few keypoints in the frame"):
        sampler.batch(8, np.random.default_rng(0))


class TestPairsOfThePapersKind:
    """Gaps of 1 … δ frames of the video as it is."""

    def test_positives_are_as_far_apart_as_people_walk_in_so_many_frames(self, tracks):
        gap, moved = self.walked(tracks, largest_stride=1)
        assert (moved <= 2 * gap + 1).all()
        assert moved[gap == 4].max() > 4
        assert set(gap) == {1, 2, 3, 4}

    def test_the_native_share_of_pairs_is_of_that_kind(self, tracks):
        slow = []
        for share in (0.0, 0.6, 1.0):
            gap, moved = self.walked(tracks, largest_stride=8, native_share=share)
            slow.append(float((moved <= 2 * gap + 1).mean()))
        assert slow[2] == 1 > slow[1] > slow[0] + 0.2

    def walked(self, tracks, **options) -> tuple[np.ndarray, np.ndarray]:
        """Gap of the pairs that are one person, and by how many pixels the neck has moved, up to 2 a frame."""
        clips = tracks.select([name for name in tracks.names if name.startswith("bonn")])
        batch = PairSampler(clips, 4, "distinct", (960, 540), **options).nearest_batch(800, np.random.default_rng(0))
        there = batch.tokens.mask[:, 1] & (batch.labels == 1)
        row, column = np.divmod(batch.tokens.positions[there], 960)
        moved = np.maximum(np.abs(row[:, 1] - row[:, 16]), np.abs(column[:, 1] - column[:, 16]))
        return batch.tokens.segments[there, 29], moved

    def test_negatives_are_the_nearest_or_any_of_the_nearest(self, tracks):
        # Toy people stand in a row, 280 px from one to the next: 5 to 10 cells, by the size of the frame.
        clips = tracks.select([name for name in tracks.names if name.startswith("somof")])
        sampler = PairSampler(clips, 4, "distinct", largest_stride=1)
        far = []
        for among in (1, 5):
            batch = sampler.nearest_batch(400, np.random.default_rng(0), among)
            apart = distances(batch.tokens.positions, batch.tokens.mask)[batch.labels == 0]
            far.append(float((apart > 12).mean()))
        assert far[0] < 0.05
        assert 0.2 < far[1] < 0.5  # one in two of those at either end of the row

    def test_views_leave_poses_as_they_are(self, tracks):
        sampler = PairSampler(tracks, 4, "distinct", (4096, 4096), largest_stride=1, augmentation="views")
        tokens = sampler.batch(400, np.random.default_rng(0)).tokens
        # A person keeps the shape: mirrored or not, the same relative cells in both frames, up to rounding.
        same = sampler.batch(400, np.random.default_rng(0)).labels == 1
        both = tokens.mask[:, :15] & tokens.mask[:, 15:]
        whole = same & (tokens.mask[:, :15] == tokens.mask[:, 15:]).all(1)
        first, second = (np.stack(np.divmod(r, 4096), -1) for r in (tokens.relative[:, :15], tokens.relative[:, 15:]))
        assert whole.sum() > 50
        off = np.abs(first - second).max(-1)[whole]
        assert np.median(off[both[whole]]) <= 1


def test_single_keypoints_and_people_out_of_the_frame_are_left_out(tmp_path):
    arrays = walkers(["000001", "000002"], 12, 3, 0)
    arrays["vis"][arrays["person"] == 0] = 2 * (np.arange(15) == 4)
    arrays["kpts"][arrays["person"] == 1] += 5000
    np.savez(tmp_path / "bonn_train.npz", **arrays)
    sampler = PairSampler(load_tracks(tmp_path), 4, "distinct")
    with pytest.raises(DataError, match="hardly any pair of poses"):  # nobody is left to be confused with
        sampler.nearest_batch(64, np.random.default_rng(0))


def test_two_hundred_people_in_a_frame(tmp_path):
    arrays = walkers(["000001"], 6, 200, 0)
    arrays["kpts"][..., 0] %= 960
    np.savez(tmp_path / "bonn_train.npz", **arrays)
    batch = PairSampler(load_tracks(tmp_path), 4, "distinct", largest_stride=1).batch(64, np.random.default_rng(0))
    assert batch.labels.sum() == 32


def test_no_tracks_give_a_plain_error(tracks):
    with pytest.raises(DataError, match="no tracks to draw pairs from"):
        PairSampler(tracks.select([]), 4, "distinct")


def test_sources_are_drawn_equally_or_as_named(tracks):
    def begun(shares):
        sampler = PairSampler(tracks, 4, "distinct", shares=shares)
        rows = sampler._rows(30_000, np.random.default_rng(0))
        sources = [tracks.names[video].partition("/")[0] for video in tracks.video[rows]]
        return [sources.count(source) / 30_000 for source in ("bonn", "penn", "somof")]

    np.testing.assert_allclose(begun({}), [1 / 3, 1 / 3, 1 / 3], atol=0.01)
    np.testing.assert_allclose(begun({"bonn": 0.2, "somof": 0.5}), [0.2, 0.3, 0.5], atol=0.01)


def test_real_tracks_give_pairs_without_waste(shared_data):
    tracks = load_tracks(shared_data / "tracks")
    batch = PairSampler(tracks.select(training_videos(tracks)), 4, "distinct").batch(256, np.random.default_rng(0))
    assert batch.labels.sum() == 128
    assert 0.5 < batch.tokens.mask.mean() < 0.9
