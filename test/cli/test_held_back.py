"""First frames of tracks in recordings: held back until the track is confirmed, dropped if it never is."""

import numpy as np

from keytrack_ros.cli.held_back import HeldBack
from keytrack_ros.media.frames import Frame
from keytrack_ros.poses import Poses, TrackState
from keytrack_ros.tracker import TrackerOptions
from test.people import people

T, C, U = TrackState.TENTATIVE, TrackState.CONFIRMED, TrackState.UNTRACKED


def frame(index: int) -> Frame:
    return Frame(index, index * 10**8, np.zeros((2, 2, 3), np.uint8))


def tracked(*rows: tuple[int, TrackState]) -> Poses:
    if not rows:
        return Poses.empty()
    ids, states = zip(*rows, strict=True)
    return people(*[(100 * k, 100) for k in range(len(rows))], track_ids=np.array(ids), states=np.array(states))


def written(held: HeldBack, *frames: Poses) -> list[list[int]]:
    """Ids of each frame that comes out, in order."""
    out = []
    for index, poses in enumerate(frames):
        out += held.add(frame(index), poses)
    out += held.rest()
    assert [f.index for f, _ in out] == list(range(len(frames)))
    return [poses.track_ids.tolist() for _, poses in out]


def test_first_frames_of_a_track_are_written_once_it_is_confirmed():
    assert written(HeldBack(TrackerOptions()), tracked((1, T)), tracked((1, T)), tracked((1, C))) == [[1], [1], [1]]


def test_a_track_that_is_never_confirmed_is_not_written():
    frames = [tracked((1, C), (2, T)), tracked((1, C)), tracked((1, C), (-1, U))]
    assert written(HeldBack(TrackerOptions()), *frames) == [[1], [1], [1]]


def test_hidden_people_are_written_and_hold_nothing_back():
    lost = TrackState.LOST
    frames = [tracked((1, C), (2, T)), tracked((1, C), (2, C)), tracked((1, C), (2, lost)), tracked((1, C), (2, C))]
    assert written(HeldBack(TrackerOptions()), *frames) == [[1, 2]] * 4


def test_frames_without_doubt_are_not_held():
    held = HeldBack(TrackerOptions())
    assert [f.index for f, _ in held.add(frame(0), tracked((1, C)))] == [0]
    assert [f.index for f, _ in held.add(frame(1), tracked())] == [1]
    assert list(held.add(frame(2), tracked((1, C), (2, T)))) == []
    assert [f.index for f, _ in held.add(frame(3), tracked((1, C), (2, C)))] == [2, 3]


def test_no_frame_is_held_for_longer_than_confirmation_may_take():
    options = TrackerOptions(confirm_frames=2, delta=3)
    held = HeldBack(options)
    waiting = 0
    for index in range(20):
        waiting += 1 - len(list(held.add(frame(index), tracked((index + 1, T)))))
        assert waiting <= 6


def test_tentative_tracks_are_written_at_once_if_they_are_published():
    options = TrackerOptions(publish_tentative=True)
    held = HeldBack(options)
    ((_, poses),) = held.add(frame(0), tracked((1, T), (-1, U)))
    assert poses.track_ids.tolist() == [1]
