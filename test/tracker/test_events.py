"""Events of tracks, by hand and from the tracker."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keytrack_ros.events import EventKind, TrackEvent, events_between
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.poses import Poses, TrackState
from keytrack_ros.tracker import PoseTracker, TrackerOptions
from test.tracker.test_life import SIZE, detected

T, C, LOST = TrackState.TENTATIVE, TrackState.CONFIRMED, TrackState.LOST
LETTER = {
    EventKind.BORN: "b",
    EventKind.CONFIRMED: "c",
    EventKind.LOST: "l",
    EventKind.REBORN: "r",
    EventKind.ENDED: "e",
}
A_LIFE = re.compile("b(c(lr)*l?)?e?")


@pytest.fixture(scope="module")
def matcher():
    matcher = open_matcher()
    yield matcher
    matcher.close()


class Story:
    """A tracker at 10 frames a second, and what happened to each id as a text of letters."""

    def __init__(self, matcher, **options: object) -> None:
        self.tracker = PoseTracker(TrackerOptions(**options), matcher)  # type: ignore[arg-type]
        self.lives: dict[int, str] = defaultdict(str)
        self.stamp = 0.0

    def show(self, poses: Poses, frames: int = 1, step: float = 0.1) -> Story:
        for _ in range(frames):
            self.tracker.update(poses, SIZE, self.stamp)
            self.stamp += step
            for event in self.tracker.events:
                self.lives[event.track_id] += LETTER[event.kind]
        return self


def test_each_change_of_state_is_its_event():
    before = {1: T, 2: T, 3: C, 4: C, 5: LOST, 6: LOST, 7: C, 9: T}
    after = {1: T, 2: C, 3: C, 4: LOST, 5: LOST, 6: C, 11: T, 10: C}
    assert events_between(before, after) == (
        TrackEvent(7, EventKind.ENDED),
        TrackEvent(9, EventKind.ENDED),
        TrackEvent(2, EventKind.CONFIRMED),
        TrackEvent(4, EventKind.LOST),
        TrackEvent(6, EventKind.REBORN),
        TrackEvent(10, EventKind.BORN),
        TrackEvent(10, EventKind.CONFIRMED),
        TrackEvent(11, EventKind.BORN),
    )


def test_nothing_happens_to_somebody_who_stays(matcher):
    story = Story(matcher).show(detected((200, 300)), frames=10)
    assert dict(story.lives) == {1: "bc"}
    assert story.tracker.events == ()


def test_born_and_confirmed_come_in_the_first_and_the_third_frame(matcher):
    story = Story(matcher, confirm_frames=3)
    lives = [story.show(detected((200, 300))).lives[1] for _ in range(4)]
    assert lives == ["b", "b", "bc", "bc"]


def test_born_and_confirmed_come_together_where_one_frame_confirms(matcher):
    assert Story(matcher, confirm_frames=1).show(detected((200, 300))).lives[1] == "bc"


def test_a_track_that_is_never_confirmed_ends_without_being_lost(matcher):
    story = Story(matcher, delta=2).show(detected((200, 300))).show(Poses.empty(), frames=5)
    assert dict(story.lives) == {1: "be"}


def test_lost_in_the_first_frame_without_the_person_and_reborn_in_the_next_with(matcher):
    story = Story(matcher, lost_s=3.0).show(detected((200, 300)), frames=5)
    assert story.show(Poses.empty()).lives[1] == "bcl"
    assert story.show(Poses.empty(), frames=19).lives[1] == "bcl"
    assert story.show(detected((203, 300))).lives[1] == "bclr"


def test_ended_after_lost_s(matcher):
    story = Story(matcher, lost_s=1.0).show(detected((200, 300)), frames=5).show(Poses.empty(), frames=10)
    assert story.lives[1] == "bcl"
    assert story.show(Poses.empty()).lives[1] == "bcle"


def test_a_carried_pose_is_still_the_person(matcher):
    story = Story(matcher, carry_frames=3).show(detected((200, 300)), frames=5)
    carried = detected((200, 300), box_score=np.nan, carried=np.array([True]))
    assert story.show(carried, frames=3).lives[1] == "bc"
    assert story.show(carried).lives[1] == "bcl"


def test_a_long_gap_between_frames_ends_without_being_lost(matcher):
    story = Story(matcher, lost_s=1.0).show(detected((200, 300)), frames=5)
    story.stamp += 5
    assert dict(story.show(detected((200, 300))).lives) == {1: "bce", 2: "b"}


@pytest.mark.parametrize("cause", ["reset", "time_back", "size"])
def test_a_reset_ends_all_tracks_in_the_next_frame(matcher, cause):
    story = Story(matcher).show(detected((200, 300), (500, 300)), frames=5)
    size = SIZE
    if cause == "reset":
        story.tracker.reset()
    elif cause == "time_back":
        story.stamp = 0.0
    else:
        size = (SIZE[0] * 2, SIZE[1] * 2)
    story.tracker.update(detected((200, 300)), size, story.stamp)
    assert story.tracker.events == (
        TrackEvent(1, EventKind.ENDED),
        TrackEvent(2, EventKind.ENDED),
        TrackEvent(3, EventKind.BORN),
    )


def test_an_untracked_detection_is_no_event(matcher):
    story = Story(matcher, birth_score=0.5).show(detected((200, 300), box_score=0.4), frames=3)
    assert dict(story.lives) == {}


FRAMES = st.lists(
    st.tuples(
        st.lists(
            st.sampled_from([(150, 300), (160, 305), (400, 300), (420, 290), (650, 310)]), max_size=3, unique=True
        ),
        st.sampled_from([0.2, 0.8]),  # score of the boxes
        st.sampled_from([0.1, 0.1, 0.1, 1.2, -5.0]),  # step of time
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(frames=FRAMES, confirm_frames=st.integers(1, 3))
def test_every_id_lives_once_and_in_order(matcher, frames, confirm_frames):
    # People appear, vanish and overlap at random, and time jumps; afterwards all that lived has ended.
    story = Story(matcher, confirm_frames=confirm_frames, lost_s=1.0)
    for places, box_score, step in frames:
        story.show(detected(*places, box_score=box_score) if places else Poses.empty(), step=step)
    assert all(A_LIFE.fullmatch(life) for life in story.lives.values()), story.lives
    story.show(Poses.empty(), frames=2, step=60.0)
    assert all(life.endswith("e") and A_LIFE.fullmatch(life) for life in story.lives.values()), story.lives
