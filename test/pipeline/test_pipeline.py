import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keytrack_ros.detection import DetectorOptions
from keytrack_ros.errors import InputError, ModelError, OptionError
from keytrack_ros.estimation import EstimatorOptions
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.options import flatten, with_values
from keytrack_ros.pipeline import STAGES, Pipeline, PipelineOptions
from keytrack_ros.poses import TrackState
from keytrack_ros.toks import ToksOptions
from keytrack_ros.tracker import TrackerOptions
from test import toy


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> PipelineOptions:
    networks = toy.write_networks(tmp_path_factory.mktemp("networks"))
    return PipelineOptions(
        detector=DetectorOptions(model=toy.DETECTOR),
        estimator=EstimatorOptions(model=toy.ESTIMATOR),
        tracker=TrackerOptions(confirm_frames=1),
        inference=InferenceOptions(models=str(networks)),
    )


@pytest.fixture
def pipeline(options: PipelineOptions) -> Pipeline:
    return Pipeline.from_options(options)


def test_only_confirmed_tracks_are_given_out_unless_tentative_ones_are_wanted(options):
    frame = toy.draw_frame([(200, 300)])
    for tentative, expected in ((False, [0, 0, 1]), (True, [1, 1, 1])):
        tracker = TrackerOptions(confirm_frames=3, publish_tentative=tentative)
        pipeline = Pipeline.from_options(replace(options, tracker=tracker))
        assert [len(pipeline.process(frame, k / 10)) for k in range(3)] == expected
        assert pipeline.comparison.tracked.track_ids.tolist() == [1]


def test_four_walkers_keep_four_ids(pipeline):
    id_at: dict[int, int] = {}
    for frame, places in enumerate(toy.walk(120, people=4)):
        poses = pipeline.process(toy.draw_frame(places), frame / 10)
        assert len(poses) == 4
        for lane, (x, y) in enumerate(places):
            row = int(np.abs(poses.boxes[:, [0, 2]].mean(1) - x).argmin())
            np.testing.assert_allclose(poses.keypoints[row], toy.keypoints_of(x, y), atol=14)
            assert id_at.setdefault(lane, int(poses.track_ids[row])) == poses.track_ids[row]
    assert sorted(id_at.values()) == [1, 2, 3, 4]


def test_a_frame_without_people_is_still_a_frame(pipeline):
    frame = toy.draw_frame([(300, 300)])
    assert pipeline.process(frame, 0.0).track_ids.tolist() == [1]
    lost_s = pipeline.options.tracker.lost_s
    for k in range(1, 8):  # lost, and taken up again
        assert len(pipeline.process(toy.draw_frame([]), 0.1 * k)) == 0
    assert pipeline.process(frame, 0.8).track_ids.tolist() == [1]
    for k in range(4):  # lost for too long
        assert len(pipeline.process(toy.draw_frame([]), 0.8 + lost_s * (k + 1) / 4)) == 0
    assert pipeline.process(frame, 0.9 + lost_s).track_ids.tolist() == [2]


def test_who_is_missed_by_the_detector_is_carried_over_as_the_same_person(options):
    pipeline = Pipeline.from_options(options)
    places = [(200.0, 300.0), (500.0, 300.0)]
    first = pipeline.process(toy.draw_frame(places), 0.0)
    blind = with_values(options, {"detector.score_threshold": 1.0})
    pipeline.set_options(blind)
    second = pipeline.process(toy.draw_frame(places), 0.1)
    assert second.carried.tolist() == [True, True]
    assert np.isnan(second.box_scores).all()
    assert sorted(second.track_ids) == sorted(first.track_ids)
    # Whoever has left is not carried over: nothing is seen in the box.
    third = pipeline.process(toy.draw_frame(places[:1]), 0.2)
    assert len(third) == 1


def test_who_walks_behind_somebody_is_given_out_where_expected(options):
    """The toy networks see one person where two touch, so whoever is behind is not drawn there."""
    given: dict[bool, list[list[int]]] = {}
    for publish in (True, False):
        tracker = TrackerOptions(confirm_frames=1, publish_hidden=publish)
        pipeline = Pipeline.from_options(replace(options, tracker=tracker))
        given[publish] = []
        for frame in range(21):
            x = 246.0 + 6 * frame
            places = [(400.0, 300.0)] if frame >= 17 else [(400.0, 300.0), (x, 300.0)]
            poses = pipeline.process(toy.draw_frame(places), frame / 10)
            given[publish].append(sorted(poses.track_ids.tolist()))
            if publish and frame >= 18:  # before, the other covers too little
                assert poses.states.tolist() == [TrackState.CONFIRMED, TrackState.LOST]
                np.testing.assert_allclose(poses.keypoints[1], toy.keypoints_of(x, 300), atol=14)
    assert given[True][17:] == [given[True][17]] + [[1, 2]] * 3
    assert len(given[True][17]) == 1
    assert given[False][17:] == [given[True][17]] * 4


def test_without_toks_nobody_is_carried_over(options):
    pipeline = Pipeline.from_options(with_values(options, {"toks.enabled": False}))
    pipeline.process(toy.draw_frame([(200, 300)]), 0.0)
    pipeline.set_options(with_values(options, {"toks.enabled": False, "detector.score_threshold": 1.0}))
    assert len(pipeline.process(toy.draw_frame([(200, 300)]), 0.1)) == 0


def test_nobody_is_carried_over_a_gap_a_reset_or_a_step_back_in_time(options):
    blind = with_values(options, {"detector.score_threshold": 1.0})
    frame = toy.draw_frame([(200, 300)])
    for stamp, reset in ((10.1 + options.tracker.lost_s, False), (9.9, False), (10.1, True)):
        pipeline = Pipeline.from_options(options)
        pipeline.process(frame, 10.0)
        pipeline.set_options(blind)
        if reset:
            pipeline.reset()
        assert len(pipeline.process(frame, stamp)) == 0


def test_reset_gives_new_ids(pipeline):
    frame = toy.draw_frame([(200, 300)])
    assert pipeline.process(frame, 0.0).track_ids.tolist() == [1]
    pipeline.reset()
    assert pipeline.process(frame, 0.1).track_ids.tolist() == [2]


def test_image_size_may_change_in_the_middle(pipeline, caplog):
    assert pipeline.process(toy.draw_frame([(200, 300)]), 0.0).track_ids.tolist() == [1]
    with caplog.at_level(logging.WARNING):
        poses = pipeline.process(toy.draw_frame([(200, 300)], size=(640, 576)), 0.1)
    assert poses.track_ids.tolist() == [2]
    assert "image size changed" in caplog.text


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 10, 3), np.uint8), r"shape \(0, 10, 3\)"),
        (np.zeros((10, 10), np.uint8), r"shape \(10, 10\) and type uint8; \[height, width, 3\] uint8 is needed"),
        (np.zeros((10, 10, 4), np.uint8), r"shape \(10, 10, 4\)"),
        (np.zeros((10, 10, 3), np.uint16), "type uint16"),
    ],
)
def test_what_is_not_a_colour_image_is_refused_and_changes_nothing(pipeline, image, message):
    frame = toy.draw_frame([(200, 300)])
    pipeline.process(frame, 0.0)
    with pytest.raises(InputError, match=message):
        pipeline.process(image, 0.1)
    with pytest.raises(ValueError, match="stamp is None; a finite number"):
        pipeline.process(frame, None)
    with pytest.raises(ValueError, match="stamp is nan"):
        pipeline.process(frame, float("nan"))
    assert pipeline.process(frame, 0.1).track_ids.tolist() == [1]


def test_tiny_images_work(pipeline):
    for size in ((1, 1), (3, 500), (500, 3)):
        assert len(pipeline.process(np.zeros((size[1], size[0], 3), np.uint8), 0.0)) == 0


def test_each_stage_is_timed_and_networks_are_named(pipeline):
    pipeline.process(toy.draw_frame([(200, 300)]), 0.0)
    assert set(pipeline.stage_seconds) == set(STAGES)
    assert all(seconds > 0 for seconds in pipeline.stage_seconds.values())
    assert set(pipeline.fingerprints) == {"detection", "pose", "matching"}
    assert pipeline.fingerprints["detection"].startswith(f"{toy.DETECTOR} ")


def test_options_that_a_running_tracker_cannot_change_are_refused(options):
    pipeline = Pipeline.from_options(options)
    with pytest.raises(OptionError, match=r"detector\.model cannot be changed while the tracker runs"):
        pipeline.set_options(with_values(options, {"detector.model": "other", "toks.dilation": 1.5}))
    assert pipeline.options == options
    changed = with_values(options, {"toks.dilation": 1.5})
    pipeline.set_options(changed)
    assert pipeline.options.toks == ToksOptions(dilation=1.5)


def test_every_option_is_described_and_its_default_lies_in_its_range():
    for name, item, _ in flatten(PipelineOptions()):
        assert item.metadata["description"], name
        assert isinstance(item.metadata["live"], bool), name


def test_a_missing_network_is_an_error_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KEYTRACK_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"no detection network 'mine' was found; looked in .*; name the folder"):
        Pipeline.from_options(PipelineOptions(detector=DetectorOptions(model="mine")))
