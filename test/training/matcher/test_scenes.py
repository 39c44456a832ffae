import numpy as np
import pytest

from keytrack_ros.errors import DataError
from keytrack_ros.training.matcher.scene_composition import HISTORY, MAX_PEOPLE, SceneComposer
from keytrack_ros.training.matcher.scenes import TRACKS, Detections, SceneSampler, detected, track_pairs
from keytrack_ros.training.matcher.tracks import (
    load_tracks,
    training_videos,
    validation_videos,
)
from test.training.matcher.toy_tracks import write_tracks


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    return load_tracks(write_tracks(tmp_path_factory.mktemp("tracks"), frames=30))


@pytest.fixture(scope="module")
def composer(tracks):
    return SceneComposer(tracks)


class TestSplit:
    def test_validation_videos_are_training_videos_and_fixed_by_the_name(self, tracks):
        chosen = validation_videos(tracks)
        assert chosen
        assert set(chosen) < set(training_videos(tracks))
        assert {name.partition("/")[0] for name in chosen} == {"bonn", "somof"}  # nobody who is alone
        assert chosen[:3] == ["bonn/000000", "bonn/000010", "bonn/000070"]


class TestSceneComposer:
    def test_uncomposed_scenes_are_those_of_the_videos(self, tracks):
        composer = SceneComposer(tracks, compose=False)
        scenes = composer.draw(20, np.random.default_rng(0))
        assert scenes.keypoints.shape == (20, HISTORY + 1, MAX_PEOPLE, 15, 2)
        there = scenes.present.any(-1)
        assert (there.sum(2).max(1) == 3).all()  # three people a video
        known = {tuple(points[1]) for points in tracks.keypoints.tolist()}
        assert {tuple(point) for point in scenes.keypoints[there][:, 1].tolist()} <= known

    def test_the_past_is_the_same_person_earlier(self, tracks):
        scenes = SceneComposer(tracks, compose=False).draw(20, np.random.default_rng(1))
        both = scenes.present[:, 0].any(-1) & scenes.present[:, 1].any(-1)
        step = np.linalg.norm(scenes.keypoints[:, 0, :, 1] - scenes.keypoints[:, 1, :, 1], axis=-1)
        per_frame = (step / scenes.back[:, 1, None])[both]
        assert per_frame.max() < 2 * 2**0.5 + 1e-3  # the toy people's top speed
        assert per_frame.max() > 1

    def test_scenes_are_composed_of_people_of_other_videos(self, composer):
        number = composer.draw(200, np.random.default_rng(2)).present.any(-1).any(1).sum(1)
        assert {2, 3, 4, 5} <= set(number.tolist())

    def test_needs_a_video_with_several_people(self, tracks):
        with pytest.raises(DataError, match="no video with several people"):
            SceneComposer(tracks.select([name for name in tracks.names if name.startswith("penn/")]))


@pytest.fixture(scope="module")
def many(composer) -> Detections:
    rng = np.random.default_rng(3)
    return detected(composer, composer.draw(300, rng), rng)


class TestDetections:
    def test_keypoints_are_missed_moved_and_unsure_in_some_scenes_only(self, many):
        clean = ((many.scores == 0) | (many.scores == 1)).all((1, 2, 3))
        assert 0.3 < clean.mean() < 0.5
        noisy = many.scores[~clean]
        assert 0.5 < noisy[noisy > 0].mean() < 0.9
        assert (many.keypoints[many.scores == 0] == 0).all()

    def test_some_poses_are_false_and_some_of_those_are_in_tracks(self, many):
        seen = many.scores.any(-1)
        false = (many.identity < 0) & seen
        assert 0.02 < false.sum() / seen.sum() < 0.08
        real = many.identity[many.identity >= 0]
        assert set(real.tolist()) == set(range(MAX_PEOPLE))

    def test_time_runs_backwards_from_now(self, many):
        assert (many.seconds[:, 0] == 0).all()
        assert (np.diff(many.seconds, axis=1) > 0).all()
        assert 0.02 < many.seconds[:, 1].min() < 0.04
        assert many.seconds[:, 1].max() > 0.3


class TestPairs:
    def test_poses_meet_the_tracks_near_them_with_the_truth(self, composer):
        batch = SceneSampler(composer).batch(40, np.random.default_rng(4))
        assert batch.frames == 80
        assert len(batch.tokens) == len(batch.summary) == len(batch.same) == len(batch.pose)
        assert (batch.pose // MAX_PEOPLE == batch.track // TRACKS).all()  # of one frame
        assert 0.1 < batch.same.mean() < 0.6
        for rows in (batch.pose[batch.same], batch.track[batch.same]):
            assert len(set(rows.tolist())) == len(rows)  # nobody is two people
        pairs = set(zip(batch.pose.tolist(), batch.track.tolist(), strict=True))
        assert len(pairs) == len(batch.pose)
        assert np.isfinite(batch.tokens).all()
        assert np.isfinite(batch.summary).all()

    def test_the_cameras_motion_is_taken_out(self, tracks):
        rng = np.random.default_rng(5)
        scene = SceneComposer(tracks, compose=False).draw(8, rng)
        seen = scene.present.any(-1)
        pan = np.cumsum(np.tile([15.0, -8.0], (HISTORY + 1, 1)), 0)[None, :, None, None].astype(np.float32)
        identity = np.broadcast_to(np.arange(MAX_PEOPLE), seen.shape)

        def summaries(keypoints):
            scores = scene.present.astype(np.float32)
            return track_pairs(
                Detections(
                    keypoints=keypoints * scores[..., None],
                    scores=scores,
                    boxes=np.zeros((*scores.shape[:3], 4), np.float32),
                    identity=identity,
                    seconds=(scene.back / 25).astype(np.float32),
                )
            )

        rested, panned = summaries(scene.keypoints), summaries(scene.keypoints + pan)
        np.testing.assert_array_equal(rested.same, panned.same)
        # Mean offset to the newest pose, of pairs that are one person: almost the same although everything moves.
        difference = np.abs(rested.summary - panned.summary)[rested.same]
        assert np.median(difference) < 0.02

    def test_the_same_seed_gives_the_same_batch(self, composer):
        a, b = (SceneSampler(composer).batch(5, np.random.default_rng(7)) for _ in range(2))
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_array_equal(a.track, b.track)
