"""From a matcher's name to the matcher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.registry import AUTO, find_model
from keytrack_ros.matching.entailment import EntailmentMatcher
from keytrack_ros.matching.track_entailment import TrackEntailmentMatcher


def open_matcher(
    model: str = AUTO, folders: Sequence[Path | str] = (), threads: int = 0
) -> EntailmentMatcher | TrackEntailmentMatcher:
    """The matcher that a model file describes.

    Args:
        model: name of the network, path of its model file, or `auto` for the first matcher that is found.
        folders: searched first, see `find_model`.
        threads: cores that one call may use; 0 = all.

    Raises:
        ModelError: no network is found, or it is not one for this job.
    """
    card = find_model(MatcherCard, model, folders)
    if card.input == "tracks":
        return TrackEntailmentMatcher(card, threads)
    return EntailmentMatcher(card, threads)
