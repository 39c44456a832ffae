import numpy as np
import pytest

from keytrack_ros.errors import DataError
from keytrack_ros.training.pairs import PairSampler
from keytrack_ros.training.tracks import Tracks, load_tracks, training_videos
from test.training.toy_tracks import walkers, write_tracks


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
    sampler = PairSampler(load_tracks(tmp_path, ["bonn"]), 4, "distinct")
    with pytest.raises(DataError, match="too short or too lonely"):
        sampler.batch(8, np.random.default_rng(0))


def test_no_tracks_give_a_plain_error(tracks):
    with pytest.raises(DataError, match="no tracks to draw pairs from"):
        PairSampler(tracks.select([]), 4, "distinct")


def test_real_tracks_give_pairs_without_waste(shared_data):
    tracks = load_tracks(shared_data / "tracks")
    batch = PairSampler(tracks.select(training_videos(tracks)), 4, "distinct").batch(256, np.random.default_rng(0))
    assert batch.labels.sum() == 128
    assert 0.5 < batch.tokens.mask.mean() < 0.9
