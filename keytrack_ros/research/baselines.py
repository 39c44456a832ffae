"""What `keytrack compare` compares: a matcher, a memory, an assignment and a threshold, named in one word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from keytrack_ros.errors import OptionError
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.matcher import Matcher
from keytrack_ros.poses import ImageArray, IntArray, Poses
from keytrack_ros.research.association import ASSIGNMENTS, Associator
from keytrack_ros.research.flow import FlowMatcher, FrameMatcher
from keytrack_ros.tracker import PoseTracker

DEFAULTS = ("tracker", "entailment", "oks", "oks,memory=1", "iou", "iou,memory=1")
"""What is compared unless something else is named."""

_ONE_THREAD = InferenceOptions(device="cpu", threads=1)


@dataclass(frozen=True)
class Baseline:
    """One line of a comparison.

    Attributes:
        method: one of `METHODS`; `tracker` is the package's own as it is shipped, to which the rest does not apply.
        memory: past frames that are searched.
        assignment: `greedy` or `hungarian`.
        threshold: least score of a match.
        candidates: nearest poses of each past frame that are scored.
        weights: file of a network; of `entailment` a model file or name, by default the shipped one.
    """

    method: str
    memory: int = 4
    assignment: str = "greedy"
    threshold: float = 0.5
    candidates: int = 5
    weights: str = ""

    @property
    def name(self) -> str:
        """As it is given on the command line, without defaults and without folders."""
        default = replace(_DEFAULTS[self.method], method=self.method)
        words = [self.method]
        for item in fields(self):
            value = getattr(self, item.name)
            if value != getattr(default, item.name):
                words.append(f"{item.name}={Path(value).name if item.name == 'weights' else value}")
        return ",".join(words)

    @property
    def needs_images(self) -> bool:
        return self.method == "flow"

    def with_absolute_weights(self) -> Baseline:
        """The same for a process with another working folder."""
        file = Path(self.weights)
        return replace(self, weights=str(file.absolute())) if self.weights and file.is_file() else self


# Thresholds of the geometric ones are the best of 0.001 … 0.3 on training videos (docs/results.md).
_DEFAULTS = {
    "tracker": Baseline("tracker"),
    "entailment": Baseline("entailment"),
    "oks": Baseline("oks", threshold=0.001),
    "iou": Baseline("iou", threshold=0.001),
    "flow": Baseline("flow", threshold=0.001),
    "graph": Baseline("graph"),
    "cnn": Baseline("cnn"),
}
METHODS = tuple(_DEFAULTS)

_ENTAILMENT = "pose_entailment_paper"
"""Name of the shipped network that compares two poses."""


def parse_baseline(text: str) -> Baseline:
    """From METHOD[,NAME=VALUE…], such as `oks,memory=1,assignment=hungarian`.

    Raises OptionError for an unknown method or name, or a value that it cannot have.
    """
    method, *settings = [word.strip() for word in text.split(",")]
    if method not in _DEFAULTS:
        raise OptionError(f"method '{method}': unknown; known are {', '.join(METHODS)}")
    kinds: dict[str, Callable[[str], Any]] = {
        "memory": int,
        "assignment": str,
        "threshold": float,
        "candidates": int,
        "weights": str,
    }
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in kinds:
            raise OptionError(f"method '{text}': '{name}' is none of {', '.join(kinds)}")
        try:
            values[name] = kinds[name](value)
        except ValueError:
            raise OptionError(f"method '{text}': {name} is a number, not '{value}'") from None
    found = replace(_DEFAULTS[method], **values)
    if found.assignment not in ASSIGNMENTS:
        raise OptionError(f"method '{text}': assignment is one of {', '.join(ASSIGNMENTS)}")
    if found.memory < 1 or found.candidates < 1 or not 0 <= found.threshold <= 1:
        raise OptionError(f"method '{text}': memory and candidates are at least 1, threshold lies in 0..1")
    if method in ("graph", "cnn") and not found.weights:
        raise OptionError(f"method '{text}': name its network with weights=FILE; bench/rivals.py trains it")
    if method == "tracker" and values:
        raise OptionError(f"method '{text}': the tracker is compared as it is shipped; choose 'entailment' to vary it")
    return found


class Run:
    """A baseline on one sequence."""

    def __init__(self, chosen: Baseline) -> None:
        self._observe: Callable[[ImageArray], None] | None = None
        if chosen.method == "tracker":
            from keytrack_ros.matching.open_matcher import open_matcher

            tracker = PoseTracker(matcher=open_matcher(inference=_ONE_THREAD))
            self._update: Callable[[Poses, tuple[int, int], float], IntArray] = lambda poses, size, stamp: (
                tracker.update(poses, size, stamp).track_ids
            )
            return
        matcher = _matcher(chosen.method, chosen.memory, chosen.weights)
        if isinstance(matcher, FrameMatcher):
            self._observe = matcher.observe
        self._update = Associator(matcher, chosen.memory, chosen.assignment, chosen.threshold, chosen.candidates).update

    def update(self, poses: Poses, frame_size: tuple[int, int], stamp: float, image: ImageArray | None) -> IntArray:
        """[P] ids of the next frame's poses."""
        if self._observe is not None and image is not None:
            self._observe(image)
        return self._update(poses, frame_size, stamp)


def _matcher(method: str, memory: int, weights: str) -> Matcher:
    return FlowMatcher(memory) if method == "flow" else _shared_matcher(method, weights)


@cache
def _shared_matcher(method: str, weights: str) -> Matcher:
    """Those without memory serve all sequences of a process. Networks run on one thread: times can be compared."""
    if method == "entailment":
        from keytrack_ros.inference.cards import MatcherCard
        from keytrack_ros.inference.registry import find_model
        from keytrack_ros.matching.entailment import EntailmentMatcher

        return EntailmentMatcher(find_model(MatcherCard, weights or _ENTAILMENT), _ONE_THREAD)
    if method in ("graph", "cnn"):
        import torch

        from keytrack_ros.research.graph import GraphMatcher
        from keytrack_ros.research.render import RenderMatcher

        torch.set_num_threads(1)
        return GraphMatcher(Path(weights)) if method == "graph" else RenderMatcher(Path(weights))
    from keytrack_ros.research.overlap import IouMatcher, OksMatcher

    return IouMatcher() if method == "iou" else OksMatcher()
