"""Pose Entailment as a matcher: pairs of poses, token by token, and the exported network.

`EntailmentNetwork`, the torch module behind it, can be imported from here too; torch is loaded only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.matcher import MatchQuery
from keytrack_ros.matching.sessions import PAIRS, open_matcher_session
from keytrack_ros.matching.tokens import INPUTS, RELATIVE, PairTokens, pair_tokens, pose_tokens
from keytrack_ros.poses import FloatArray

if TYPE_CHECKING:
    from keytrack_ros.matching.network import EntailmentNetwork as EntailmentNetwork

OUTPUT = "logits"


class EntailmentMatcher:
    """Scores pairs of poses with a Pose Entailment network.

    Args:
        card: model file of the network, with its `path` set.
        inference: how it runs.
        chunk: most pairs in one call of the network.

    Raises:
        ModelError: the network cannot be loaded or is another one than its model file says.
    """

    def __init__(self, card: MatcherCard, inference: InferenceOptions | None = None, chunk: int = PAIRS) -> None:
        self.card = card
        rows = dict.fromkeys((*INPUTS, RELATIVE), (2 * skeleton.COUNT,))
        self._session = open_matcher_session(card, inference or InferenceOptions(), rows, OUTPUT)
        self._chunk = chunk
        inputs = set(self._session.input_shapes)
        if "mask" not in inputs or inputs - {*INPUTS, RELATIVE} or OUTPUT not in self._session.output_names:
            self.close()
            raise ModelError(
                f"{self.card.path}: inputs {', '.join(self._session.input_shapes)} and outputs "
                f"{', '.join(self._session.output_names)}; a matcher has {', '.join(INPUTS)} and {OUTPUT}; "
                "export it with `keytrack train matcher`"
            )

    def close(self) -> None:
        """Frees the network; the matcher is not used afterwards."""
        self._session.close()

    def score(self, query: MatchQuery) -> FloatArray:
        """[M] float32: the network's probability that each pair is one person.

        Nothing can be said, so 0, about a pose without any keypoint in the frame, and about a past pose that is older
        than any that the network was trained on.
        """
        pairs = query.pairs
        if len(pairs) == 0:
            return np.zeros(0, np.float32)
        gaps = query.gaps[pairs[:, 1]]
        current = pose_tokens(query.current.keypoints, query.current.visible, query.frame_size, self.card.grid)
        past = pose_tokens(query.past.keypoints, query.past.visible, query.frame_size, self.card.grid)
        a, b = pairs.T
        known = np.minimum(gaps, self.card.memory_frames)
        scores = self.probabilities(pair_tokens(current.take(a), past.take(b), known, self.card.segments))
        evidence = current.mask[pairs[:, 0]].any(1) & past.mask[pairs[:, 1]].any(1)
        return np.where(evidence & (gaps <= self.card.memory_frames), scores, 0).astype(np.float32)

    def probabilities(self, tokens: PairTokens) -> FloatArray:
        """[N] float32: the network's probability that each pair of tokens is one person."""
        chunks = [tokens.take(slice(k, k + self._chunk)) for k in range(0, len(tokens.mask), self._chunk)]
        names = list(self._session.input_shapes)
        outputs = [self._session.run({name: getattr(chunk, name) for name in names})[OUTPUT] for chunk in chunks]
        odds = np.concatenate([logits[:, 1] - logits[:, 0] for logits in outputs])
        return np.asarray(np.exp(-np.logaddexp(0, -odds)), np.float32)  # sigmoid without overflow


def __getattr__(name: str) -> Any:
    if name == "EntailmentNetwork":
        from keytrack_ros.matching.network import EntailmentNetwork

        return EntailmentNetwork
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
