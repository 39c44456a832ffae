import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; make dev installs it")

from keytrack_ros.errors import DataError, OptionError  # noqa: E402
from keytrack_ros.inference.cards import load_card  # noqa: E402
from keytrack_ros.training.common.export import NO_LICENCE  # noqa: E402
from keytrack_ros.training.common.run import Progress  # noqa: E402
from keytrack_ros.training.matcher.export import export_matcher  # noqa: E402
from keytrack_ros.training.matcher.options import TrainOptions  # noqa: E402
from keytrack_ros.training.matcher.tracks import held_back_videos, load_tracks, training_videos  # noqa: E402
from keytrack_ros.training.matcher.training import MatcherTraining, learning_rate  # noqa: E402
from test.training.matcher.toy_tracks import write_tracks  # noqa: E402

TINY = TrainOptions(
    input="pairs", epochs=3, steps_per_epoch=4, batch_size=32, learning_rate=1e-3, validation_pairs=64, threads=1
)
TRACKS = dataclasses.replace(TINY, input="tracks", batch_size=4, validation_scenes=8)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    tracks = load_tracks(write_tracks(tmp_path_factory.mktemp("tracks"), frames=20))
    return tracks.select(training_videos(tracks)), tracks.select(held_back_videos(tracks))


def trained(splits, folder: Path, options: TrainOptions = TINY, stop_at: int | None = None, resume: bool = False):
    """A run, to its end or to step `stop_at`, and what it reported."""
    run = MatcherTraining(*splits, folder, options, resume)
    reports: list[Progress] = []
    run.run(reports.append, lambda: run.step == stop_at)
    return run, reports


def test_it_learns_to_tell_people_apart(splits, tmp_path):
    small = dataclasses.replace(TINY, layers=2, width=64, heads=2, intermediate=64, learning_rate=2e-3)
    options = dataclasses.replace(small, epochs=5, steps_per_epoch=30, batch_size=96, warm_up=0.2, dropout=0.0)
    run, _ = trained(splits, tmp_path, options)
    assert run.log[0].loss > 0.68  # chance is ln 2 = 0.693
    assert run.log[-1].loss < 0.63
    assert run.log[-1].validation_accuracy > 0.75
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == [30, 60, 90, 120, 150]
    assert float(rows[-1]["loss"]) == pytest.approx(run.log[-1].loss, abs=1e-5)


def test_it_learns_which_track_a_pose_continues(splits, tmp_path):
    options = dataclasses.replace(TRACKS, epochs=2, steps_per_epoch=15, batch_size=8, warm_up=0.2, dropout=0.0)
    run, _ = trained(splits, tmp_path, options)
    assert run.log[0].loss > 2 * run.log[-1].loss
    assert run.log[-1].validation_loss < 0.2
    assert run.log[-1].validation_accuracy > 0.9


@pytest.mark.parametrize(("options", "stop_at"), [(TINY, 4), (TINY, 6), (TRACKS, 6)])
def test_a_resumed_run_walks_the_same_curve(splits, tmp_path, options, stop_at):
    whole, reports = trained(splits, tmp_path / "whole", options)
    first, _ = trained(splits, tmp_path / "parts", options, stop_at=stop_at)
    assert (first.step, first.finished) == (stop_at, False)
    second, later = trained(splits, tmp_path / "parts", options, resume=True)
    assert [r.means for r in later] == [r.means for r in reports[stop_at:]]
    assert [dataclasses.replace(e, seconds=0) for e in second.log] == [
        dataclasses.replace(e, seconds=0) for e in whole.log
    ]
    for name, weights in whole.network.state_dict().items():
        assert torch.equal(weights, second.network.state_dict()[name]), name


def test_progress_names_step_epoch_and_means(splits, tmp_path):
    run, reports = trained(splits, tmp_path)
    assert reports[3].means["loss"] == run.log[0].loss  # of a whole epoch
    assert [(r.step, r.epoch) for r in reports[3:6]] == [(4, 1), (5, 2), (6, 2)]
    assert all(0.3 < r.means["loss"] < 1.5 and r.examples_per_second > 0 for r in reports)
    assert all(0 <= r.means["accuracy"] <= 1 for r in reports)


def test_the_learning_rate_warms_up_and_falls_to_zero():
    options = TrainOptions(epochs=10, steps_per_epoch=10, warm_up=0.1, learning_rate=1.0)
    rates = [learning_rate(step, options) for step in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert max(rates) == rates[9] == 1.0
    assert np.diff(rates[10:]) == pytest.approx(-1 / 90)
    assert 0 < rates[-1] < 0.02
    assert learning_rate(0, dataclasses.replace(options, warm_up=0.0)) == 1.0


@pytest.mark.parametrize("licence", ["CC BY 4.0", ""])
def test_the_licence_goes_into_the_model_file(splits, tmp_path, licence):
    run = MatcherTraining(*splits, tmp_path, dataclasses.replace(TINY, licence=licence))
    assert load_card(run.export()[-1]).licence == (licence or NO_LICENCE)


def test_shares_of_an_unknown_source_are_refused(tmp_path):
    data = write_tracks(tmp_path / "tracks", frames=3)
    options = dataclasses.replace(TINY, shares="street=0.4")
    with pytest.raises(DataError, match="there is no source street; the data folder has bonn, penn, somof"):
        MatcherTraining.open(data, tmp_path / "run", options)


class TestBegin:
    def test_with_an_exported_network_of_the_same_size(self, splits, tmp_path):
        before, _ = trained(splits, tmp_path / "before", stop_at=3)
        file = export_matcher(before.network, tmp_path / "before", prior=0.8)[0]
        run = MatcherTraining(
            *splits, tmp_path / "after", dataclasses.replace(TINY, start=str(file), prior=0.8, dropout=0.2)
        )
        for name, weights in before.network.state_dict().items():
            torch.testing.assert_close(run.network.state_dict()[name], weights, rtol=0, atol=1e-6)
        run.run(lambda _: None, lambda: run.step == 2)
        moved = {name: weights.clone() for name, weights in run.network.state_dict().items()}
        resumed = MatcherTraining(*splits, tmp_path / "after", run.options, resume=True)
        assert all(torch.equal(weights, moved[name]) for name, weights in resumed.network.state_dict().items())

    def test_another_size_is_refused_with_the_differences_named(self, splits, tmp_path):
        before, _ = trained(splits, tmp_path, stop_at=1)
        file = export_matcher(before.network, tmp_path)[0]
        options = dataclasses.replace(TINY, start=str(file), layers=2, columns=12)
        with pytest.raises(DataError, match=r"layers is 4 there and 2 here; grid is \(24, 18\) there and \(12, 18\)"):
            MatcherTraining(*splits, tmp_path / "other", options)
        with pytest.raises(DataError, match="kind is 'EntailmentNetwork' there and 'TrackNetwork' here"):
            MatcherTraining(*splits, tmp_path / "other", dataclasses.replace(TRACKS, start=str(file)))


class TestTracksOfAllKinds:
    """Of one file with odd people, for both tasks."""

    @pytest.mark.parametrize("options", [TINY, TRACKS], ids=["pairs", "tracks"])
    def test_people_of_one_keypoint_out_of_the_frame_and_at_one_place(self, tmp_path, options):
        tracks = load_tracks(write_tracks(tmp_path / "data", frames=10, people=5))
        person = tracks.person[:, None]
        present = tracks.present & ((person != 1) | (np.arange(15) == 4))
        keypoints = np.where(person[..., None] == 2, tracks.keypoints + 5000, tracks.keypoints)
        rows = np.flatnonzero(tracks.person == 4)
        keypoints[rows], present[rows] = keypoints[rows - 1], present[rows - 1]  # person 4 is where person 3 is
        odd = dataclasses.replace(tracks, keypoints=keypoints.astype(np.float32), present=present)
        splits = odd.select(training_videos(odd)), odd.select(held_back_videos(odd))
        run, reports = trained(splits, tmp_path, dataclasses.replace(options, epochs=1))
        assert np.isfinite([r.means["loss"] for r in reports]).all()
        assert np.isfinite(run.log[-1].validation_loss)

    @pytest.mark.parametrize("options", [TINY, TRACKS], ids=["pairs", "tracks"])
    def test_videos_of_one_frame_among_others_do_no_harm(self, tmp_path, options):
        tracks = load_tracks(write_tracks(tmp_path / "data", frames=10))
        kept = (tracks.frame == 0) | (tracks.video % 2 == 0)
        arrays = {f: getattr(tracks, f)[kept] for f in ("keypoints", "present", "hidden", "video", "frame", "person")}
        some = dataclasses.replace(tracks, **arrays)
        splits = some.select(training_videos(some)), some.select(held_back_videos(some))
        run, _ = trained(splits, tmp_path, dataclasses.replace(options, epochs=1))
        assert np.isfinite([run.log[-1].loss, run.log[-1].validation_loss]).all()

    @pytest.mark.parametrize(
        ("options", "text"), [(TINY, "hardly any pair"), (TRACKS, "no person in the tracks is seen in two frames")]
    )
    def test_videos_of_one_frame_alone_give_a_plain_error(self, tmp_path, options, text):
        tracks = load_tracks(write_tracks(tmp_path / "data", frames=1))
        splits = tracks.select(training_videos(tracks)), tracks.select(held_back_videos(tracks))
        with pytest.raises(DataError, match=text):
            trained(splits, tmp_path, options)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"width": 100, "heads": 3}, "heads: 3 heads cannot share a width of 100"),
        ({"embeddings": "position,kind"}, "embeddings: 'kind' is none of position, type, segment, relative"),
        ({"embeddings": ""}, "embeddings: '' is none of"),
        ({"largest_stride": 0}, "largest_stride: 0 lies outside 1..64"),
        ({"augmentation": "none"}, "augmentation: 'none' is none of views, detector"),
    ],
)
def test_options_that_no_network_can_have_are_refused(values, text):
    with pytest.raises(OptionError, match=text):
        TrainOptions(**values)


class TestCheckpoints:
    def test_of_other_options_are_refused_with_the_differences_named(self, splits, tmp_path):
        trained(splits, tmp_path, stop_at=1)
        other = dataclasses.replace(TINY, learning_rate=0.5, segments="paper", columns=48)
        differences = r"learning_rate is 0.001 there and 0.5 here; segments is 'distinct' there .*columns is 24 there"
        with pytest.raises(DataError, match=differences):
            MatcherTraining(*splits, tmp_path, other, resume=True)
        with pytest.raises(DataError, match=r"input is 'pairs' there and 'tracks' here"):
            MatcherTraining(*splits, tmp_path, TRACKS, resume=True)

    def test_of_other_data_are_refused(self, splits, tmp_path):
        trained(splits, tmp_path, stop_at=1)
        fewer = splits[0].select(splits[0].names[:-1])
        with pytest.raises(DataError, match="training data is '"):
            MatcherTraining(fewer, splits[1], tmp_path, TINY, resume=True)

    def test_may_be_resumed_on_other_machines(self, splits, tmp_path):
        trained(splits, tmp_path, stop_at=1)
        run = MatcherTraining(
            *splits, tmp_path, dataclasses.replace(TINY, checkpoint_minutes=9.0, device="cpu"), resume=True
        )
        assert run.step == 1

    def test_missing_and_damaged_ones_are_named(self, splits, tmp_path):
        with pytest.raises(DataError, match=r"checkpoint.pt: No such file.*without --resume"):
            MatcherTraining(*splits, tmp_path, TINY, resume=True)
        (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
        with pytest.raises(DataError, match=r"checkpoint.pt: not a checkpoint"):
            MatcherTraining(*splits, tmp_path, TINY, resume=True)
        torch.save({"weights": 1}, tmp_path / "checkpoint.pt")
        with pytest.raises(DataError, match="not a checkpoint of this program"):
            MatcherTraining(*splits, tmp_path, TINY, resume=True)

    def test_are_written_on_a_timer_too(self, splits, tmp_path):
        options = dataclasses.replace(TINY, checkpoint_minutes=0.01, epochs=1, steps_per_epoch=1_000_000, batch_size=8)
        run = MatcherTraining(*splits, tmp_path, options)
        steps_on_disk = []

        def report(_: Progress) -> None:
            if run.checkpoint.exists():
                steps_on_disk.append(torch.load(run.checkpoint, weights_only=True)["step"])

        run.run(report, lambda: bool(steps_on_disk))
        assert 0 < steps_on_disk[0] < 1_000_000  # before the epoch ended
