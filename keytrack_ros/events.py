"""What happens to tracks from one frame to the next, as behaviour code wants to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from keytrack_ros.poses import TrackState


class EventKind(IntEnum):
    """The numbers are those of `msg/TrackEvent`.

    The events of one id come in the order BORN, CONFIRMED, any number of LOST and REBORN in turn, ENDED. A track that
    is never confirmed is BORN and ENDED only.
    """

    BORN = 1
    CONFIRMED = 2
    LOST = 3
    REBORN = 4
    ENDED = 5


@dataclass(frozen=True)
class TrackEvent:
    """Something that happened to a track in one frame."""

    track_id: int
    kind: EventKind


_CHANGES = {
    (None, TrackState.TENTATIVE): (EventKind.BORN,),
    (None, TrackState.CONFIRMED): (EventKind.BORN, EventKind.CONFIRMED),  # with `confirm_frames` 1
    (TrackState.TENTATIVE, TrackState.CONFIRMED): (EventKind.CONFIRMED,),
    (TrackState.CONFIRMED, TrackState.LOST): (EventKind.LOST,),
    (TrackState.LOST, TrackState.CONFIRMED): (EventKind.REBORN,),
}


def events_between(before: Mapping[int, TrackState], after: Mapping[int, TrackState]) -> tuple[TrackEvent, ...]:
    """The events that lead from the tracks of one frame to those of the next.

    Args:
        before, after: state of every living track by its id; LOST is a confirmed one that is not seen in the frame.

    Returns:
        First the ended tracks, then the others, each by ascending id.
    """
    ended = [TrackEvent(track_id, EventKind.ENDED) for track_id in sorted(before.keys() - after.keys())]
    changed = [
        TrackEvent(track_id, kind)
        for track_id, state in sorted(after.items())
        for kind in _CHANGES.get((before.get(track_id), state), ())
    ]
    return (*ended, *changed)
