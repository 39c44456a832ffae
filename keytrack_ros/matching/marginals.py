"""How surely each pose continues each track, when everyone continues at most one.

Every assignment of poses to tracks, in which a pose has one track or none and a track one pose or none, has a weight:
the product of exp(log-odds) of its pairs. The probability of a pair is the share of the assignments that have it (the
marginals of joint probabilistic data association). Counting them is exponential; belief propagation gives them in as
many products as there are pairs (Williams and Lau, "Approximate evaluation of marginal association probabilities with
belief propagation", 2014, §III). It is exact but in rings, as where two poses both fit two tracks: there the likelier
assignment gets too much, 0.96 for 0.72 and at the worst for 0.60, but nearly always is the same one.
"""

from __future__ import annotations

import numpy as np

from keytrack_ros.poses import BoolArray, FloatArray

ROUNDS = 16
"""Exchanges of messages at most. Four are enough but where several poses want fewer tracks that fit them all alike …"""

SETTLED_CHANGE = 1e-4
"""… and none are left to exchange once a round changes no message by more than this."""

LARGEST_LOGIT = 20.0
"""Of a pair: differences of sums of larger weights would be lost in rounding."""


def association_probabilities(logits: FloatArray, weak: BoolArray | None = None) -> FloatArray:
    """Probabilities that a pose and a track belong together, given all other poses and tracks: [P, T] → [P, T].

    Of two tracks that fit a pose, the one that another pose fits better counts little: that is what a softmax over
    tracks and one over poses do not know. −inf stays where `logits` is −inf.

    Poses of `weak` [P] are rivals of each other, but not of the others: those are assigned before them.
    """
    found = _marginals(logits)
    if weak is not None and weak.any():
        found[~weak] = _marginals(logits[~weak])
    return np.where(np.isneginf(logits), -np.inf, found).astype(np.float32)


def _marginals(logits: FloatArray) -> FloatArray:
    weights = np.exp(np.minimum(logits.astype(np.float64), LARGEST_LOGIT))
    free = np.ones_like(weights)  # from track to pose: how likely no other pose takes the track
    for _ in range(ROUNDS):
        offered = weights * free
        claims = weights / (1 + offered.sum(1, keepdims=True) - offered)
        before, free = free, 1 / (1 + claims.sum(0, keepdims=True) - claims)
        if np.abs(free - before).max(initial=0) < SETTLED_CHANGE:
            break
    offered = weights * free
    return np.asarray(offered / (1 + offered.sum(1, keepdims=True)))
