"""Pose Entailment as a matcher: the exported network on ONNX Runtime.

`EntailmentNetwork`, the torch module behind it, can be imported from here too; torch is loaded only then.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.registry import AUTO, find_model
from keytrack_ros.inference.session import OnnxSession
from keytrack_ros.matching.matcher import MatchQuery
from keytrack_ros.matching.tokens import PairTokens, PoseTokens, pair_tokens, pose_tokens
from keytrack_ros.poses import FloatArray

if TYPE_CHECKING:
    from keytrack_ros.matching.network import EntailmentNetwork as EntailmentNetwork

CHUNK = 128
"""Pairs in one call of the network: bounds its memory in a crowd; larger chunks are not faster."""

INPUTS = ("positions", "types", "segments", "mask")
OUTPUT = "logits"


class EntailmentMatcher:
    """Scores pairs of poses with a Pose Entailment network.

    Args:
        model: model file or name of the network, see `find_model`, or a card with its `path` set; by default the first
            matcher that is found, which is the shipped one unless a folder before it has another.
        folders: folders with model files that are searched first.
        threads: cores that one call may use; 0 = all.
        chunk: most pairs in one call of the network.

    Raises:
        ModelError: no network is found, or it is not one for this job.
    """

    def __init__(
        self,
        model: MatcherCard | str = AUTO,
        folders: Sequence[Path | str] = (),
        threads: int = 0,
        chunk: int = CHUNK,
    ) -> None:
        self.card = find_model(MatcherCard, model, folders) if isinstance(model, str) else model
        self._session = OnnxSession(self.card.path, threads)
        self._chunk = chunk
        if set(self._session.input_shapes) != set(INPUTS) or OUTPUT not in self._session.output_names:
            raise ModelError(
                f"{self.card.path}: inputs {', '.join(self._session.input_shapes)} and outputs "
                f"{', '.join(self._session.output_names)}; a matcher has {', '.join(INPUTS)} and {OUTPUT}; "
                "export it with `keytrack train matcher`"
            )

    def score(self, query: MatchQuery) -> FloatArray:
        """[M] float32: the network's probability that each pair is one person.

        A pose without any keypoint in the frame gives 0: there is nothing to say about it.

        Raises ModelError if a past pose is older than the network's memory.
        """
        pairs = query.pairs
        if len(pairs) == 0:
            return np.zeros(0, np.float32)
        gaps = query.gaps[pairs[:, 1]]
        if gaps.min() < 1 or gaps.max() > self.card.memory_frames:
            raise ModelError(
                f"{self.card.name}: asked about a pose {gaps.min() if gaps.min() < 1 else gaps.max()} frames ago; the "
                f"network knows 1 to {self.card.memory_frames}: set tracker.memory_frames to that at most"
            )
        current = pose_tokens(query.current.keypoints, query.current.visible, query.frame_size, self.card.grid)
        past = pose_tokens(query.past.keypoints, query.past.visible, query.frame_size, self.card.grid)
        scores = np.empty(len(pairs), np.float32)
        for start in range(0, len(pairs), self._chunk):
            rows = slice(start, start + self._chunk)
            a, b = pairs[rows].T
            tokens = pair_tokens(_taken(current, a), _taken(past, b), gaps[rows], self.card.segments)
            scores[rows] = self._probabilities(tokens)
        evidence = current.mask[pairs[:, 0]].any(1) & past.mask[pairs[:, 1]].any(1)
        return np.where(evidence, scores, 0).astype(np.float32)

    def _probabilities(self, tokens: PairTokens) -> FloatArray:
        logits = self._session.run({name: getattr(tokens, name) for name in INPUTS})[OUTPUT]
        odds = logits[:, 1] - logits[:, 0]
        return np.asarray(np.exp(-np.logaddexp(0, -odds)), np.float32)  # sigmoid without overflow


def _taken(tokens: PoseTokens, rows: Any) -> PoseTokens:
    return PoseTokens(tokens.positions[rows], tokens.mask[rows])


def __getattr__(name: str) -> Any:
    if name == "EntailmentNetwork":
        from keytrack_ros.matching.network import EntailmentNetwork

        return EntailmentNetwork
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
