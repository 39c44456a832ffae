import numpy as np
import pytest

from keytrack_ros.errors import DataError
from keytrack_ros.training.matcher.tracks import (
    held_back_videos,
    load_tracks,
    training_videos,
)
from test.training.matcher.toy_tracks import BONN_VIDEOS, SOMOF_VIDEOS, walkers, write_tracks


def test_rows_are_sorted_by_video_frame_and_person(tmp_path):
    tracks = load_tracks(write_tracks(tmp_path))
    assert len(tracks) == (len(BONN_VIDEOS) + len(SOMOF_VIDEOS)) * 12 * 3 + 6 * 12
    keys = np.stack([tracks.video, tracks.frame, tracks.person], 1).tolist()
    assert keys == sorted(keys)
    assert tracks.names[0] == f"bonn/{BONN_VIDEOS[0]}"
    assert not tracks.present[:, 0].any()
    assert tracks.hidden.sum() > 0
    assert (tracks.keypoints[~tracks.present] == 0).all()


def test_frame_sizes_are_known_stored_or_the_smallest_usual_one(tmp_path):
    write_tracks(tmp_path)
    tracks = load_tracks(tmp_path)
    sizes = {name: tuple(size) for name, size in zip(tracks.names, tracks.sizes.tolist(), strict=True)}
    assert sizes["bonn/000010"] == (960, 540)
    assert sizes["penn/0003"] == (960, 540)  # stored as height, width
    assert sizes["somof/000010_mpii_train"] in {(854, 480), (1280, 720)}


def test_rows_without_keypoints_are_left_out(tmp_path):
    arrays = walkers(["000500"], 4, 2, 0)
    arrays["vis"][-1] = 0
    np.savez(tmp_path / "street_2024.npz", **arrays)
    tracks = load_tracks(tmp_path)
    assert tracks.names == ("street/000500",)
    assert len(tracks) == 7


def test_coordinates_that_are_not_finite_are_missing_keypoints(tmp_path):
    arrays = walkers(["000001", "000002"], 3, 2, 0)
    arrays["kpts"][0, 3] = np.nan, 5
    arrays["kpts"][arrays["video"] == "000002"] = np.inf
    np.savez(tmp_path / "somof_valid.npz", **arrays)
    tracks = load_tracks(tmp_path)
    assert tracks.names == ("somof/000001",)
    assert not tracks.present[0, 3]
    assert np.isfinite(tracks.keypoints).all()


class TestSplit:
    def test_no_video_is_on_both_sides_and_none_is_lost(self, tmp_path):
        tracks = load_tracks(write_tracks(tmp_path))
        back, known = held_back_videos(tracks), training_videos(tracks)
        assert set(back) & set(known) == set()
        assert set(back) | set(known) == set(tracks.names)
        assert back
        assert not any(name.startswith("penn/") for name in back)
        assert len(tracks.select(back)) + len(tracks.select(known)) == len(tracks)

    def test_is_fixed_by_the_name(self, tmp_path):
        np.savez(tmp_path / "bonn_train.npz", **walkers(["003062418", "000001"], 3, 2, 0))
        np.savez(tmp_path / "somof_valid.npz", **walkers(["024722_mpii_train"], 3, 2, 0))
        assert held_back_videos(load_tracks(tmp_path)) == ["bonn/003062418", "somof/024722_mpii_train"]

    def test_videos_of_one_person_are_not_held_back(self, tmp_path):
        np.savez(tmp_path / "bonn_train.npz", **walkers(["003062418"], 3, 1, 0))
        assert held_back_videos(load_tracks(tmp_path)) == []

    def test_neighbouring_numbers_stay_together(self, tmp_path):
        videos = [f"01356{digit}_mpii_train" for digit in range(10)]
        np.savez(tmp_path / "somof_valid.npz", **walkers(videos, 3, 2, 0))
        assert held_back_videos(load_tracks(tmp_path)) == [f"somof/{video}" for video in videos]

    def test_of_the_real_tracks_a_fifth_of_the_videos_is_held_back(self, shared_data):
        tracks = load_tracks(shared_data / "tracks")
        assert tracks.fingerprint == "15ddac1d31221137"  # what the shipped matchers were trained and measured on
        assert tracks.several.sum() == 132
        assert len(held_back_videos(tracks)) == 27


class TestErrors:
    def test_an_empty_folder_is_named(self, tmp_path):
        with pytest.raises(DataError, match=rf"{tmp_path}: there is no .npz file with pose tracks"):
            load_tracks(tmp_path)

    def test_a_video_in_two_files_is_named(self, tmp_path):
        for part in ("a", "b"):
            np.savez(tmp_path / f"street_{part}.npz", **walkers(["000001"], 3, 2, 0))
        with pytest.raises(DataError, match=r"two files have a video 'street/000001'"):
            load_tracks(tmp_path)

    def test_a_missing_key_is_named(self, tmp_path):
        arrays = walkers(["000001"], 3, 2, 0)
        del arrays["vis"]
        np.savez(tmp_path / "bonn_train.npz", **arrays)
        with pytest.raises(DataError, match=r"bonn_train.npz: key 'vis' is missing; it has joints, video"):
            load_tracks(tmp_path)

    @pytest.mark.parametrize(("key", "wanted"), [("kpts", r"\[N, 15, 2\]"), ("vis", r"\[N, 15\]"), ("frame", r"\[N\]")])
    def test_a_wrong_shape_is_named(self, tmp_path, key, wanted):
        arrays = walkers(["000001"], 3, 2, 0)
        arrays[key] = arrays[key][:-1] if key == "frame" else arrays[key][:, :10]
        np.savez(tmp_path / "bonn_train.npz", **arrays)
        with pytest.raises(DataError, match=rf"bonn_train.npz: key '{key}' has shape .*; {wanted} is needed"):
            load_tracks(tmp_path)

    def test_a_wrong_type_is_named(self, tmp_path):
        arrays = walkers(["000001"], 3, 2, 0)
        arrays["frame"] = arrays["frame"].astype(str)
        np.savez(tmp_path / "bonn_train.npz", **arrays)
        with pytest.raises(
            DataError, match=r"bonn_train.npz: key 'frame' has values of type <U\d+; numbers are needed"
        ):
            load_tracks(tmp_path)

    def test_a_person_twice_in_a_frame_is_named(self, tmp_path):
        arrays = {key: np.concatenate([a, a[-1:]]) for key, a in walkers(["000001"], 3, 2, 0).items()}
        np.savez(tmp_path / "bonn_train.npz", **arrays)
        with pytest.raises(DataError, match="video '000001' has person 1 twice in frame 2"):
            load_tracks(tmp_path)

    def test_frames_before_the_first_are_named(self, tmp_path):
        arrays = walkers(["000001"], 3, 2, 0)
        arrays["frame"] -= 1
        np.savez(tmp_path / "bonn_train.npz", **arrays)
        with pytest.raises(DataError, match="video '000001' has a frame -1; frames are numbered from 0"):
            load_tracks(tmp_path)

    def test_what_is_not_npz_is_named(self, tmp_path):
        (tmp_path / "bonn_train.npz").write_text("version https://git-lfs.github.com/spec/v1")
        with pytest.raises(DataError, match=r"bonn_train.npz: not an .npz file"):
            load_tracks(tmp_path)

    def test_nothing_but_empty_rows(self, tmp_path):
        arrays = walkers(["000001"], 3, 2, 0)
        arrays["vis"][:] = 0
        np.savez(tmp_path / "bonn_train.npz", **arrays)
        with pytest.raises(DataError, match="no row has a keypoint"):
            load_tracks(tmp_path)
