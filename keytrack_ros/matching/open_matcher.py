"""From a matcher's name to the matcher."""

from __future__ import annotations

from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import AUTO, find_model
from keytrack_ros.matching.entailment import EntailmentMatcher
from keytrack_ros.matching.track_entailment import TrackEntailmentMatcher


def open_matcher(
    model: str = AUTO, inference: InferenceOptions | None = None
) -> EntailmentMatcher | TrackEntailmentMatcher:
    """The matcher that a model file describes.

    Args:
        model: name of the network, path of its model file, or `auto` for the first matcher that is found.
        inference: where networks are found and how they run.

    Raises:
        ModelError: no network is found, or it is not one for this job.
    """
    inference = inference or InferenceOptions()
    card = find_model(MatcherCard, model, inference.folders)
    if card.input == "tracks":
        return TrackEntailmentMatcher(card, inference)
    return EntailmentMatcher(card, inference)
