"""Association probabilities against all assignments, counted one by one."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from keytrack_ros.matching.marginals import association_probabilities
from keytrack_ros.poses import FloatArray


def counted(logits: FloatArray) -> FloatArray:
    """The share of the assignments that have each pair, by weight."""
    poses, tracks = logits.shape
    total, found = 0.0, np.zeros(logits.shape)
    for choice in product(range(-1, tracks), repeat=poses):
        pairs = [(pose, track) for pose, track in enumerate(choice) if track >= 0]
        if len({track for _, track in pairs}) < len(pairs):
            continue
        weight = float(np.exp(sum(logits[pair] for pair in pairs)))
        total += weight
        for pair in pairs:
            found[pair] += weight
    return found / total


def test_a_lone_pair_is_judged_by_its_logit() -> None:
    assert association_probabilities(np.array([[0.0]]))[0, 0] == pytest.approx(0.5)
    assert association_probabilities(np.array([[2.0]]))[0, 0] == pytest.approx(1 / (1 + np.exp(-2)))


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_one_pose_or_one_track_is_exact(shape: tuple[int, int]) -> None:
    logits = np.random.default_rng(0).normal(0, 3, shape)
    np.testing.assert_allclose(association_probabilities(logits), counted(logits), atol=1e-6)


def test_who_fits_a_taken_track_is_the_other_one() -> None:
    # The first pose is surely of track 0, which the second fits too, better than track 1.
    logits = np.array([[9.0, -3.0], [3.0, 1.3]])
    found = association_probabilities(logits)
    np.testing.assert_allclose(found, counted(logits), atol=0.01)
    assert found[1, 1] > 0.75  # a softmax over tracks alone says 0.15


def test_a_clear_case_comes_before_ambiguous_ones_of_larger_logit() -> None:
    logits = np.array([[3.0, -np.inf, -np.inf], [-np.inf, 4.0, 4.0], [-np.inf, 4.0, 4.0]], np.float32)
    scores = association_probabilities(logits)
    assert scores[0, 0] > scores[1:, 1:].max() > 0.4
    assert (scores[np.isneginf(logits)] == -np.inf).all()


def test_huge_logits_do_not_overflow() -> None:
    scores = association_probabilities(np.array([[500.0, -500.0], [-500.0, 499.0]], np.float32))
    np.testing.assert_allclose(scores, np.eye(2), atol=1e-6)


def test_weak_poses_are_no_rivals_of_others() -> None:
    logits = np.array([[1.0, 0.5], [2.0, 3.0]])
    found = association_probabilities(logits, weak=np.array([False, True]))
    np.testing.assert_allclose(found[0], association_probabilities(logits[:1])[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], association_probabilities(logits)[1], rtol=1e-6)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.floats(-8, 8)))
def test_what_is_likelier_than_not_is_so_by_counting(logits: FloatArray) -> None:
    found, exact = association_probabilities(logits), counted(logits)
    assert np.abs(found - exact).max() < 0.2  # of these fixed examples; the next test has a case beyond it
    assert (exact[found > 0.5] > 0.3).all()  # a search for the worst case ended at 0.34
    assert (exact[found < 0.5] < 0.7).all()
    assert (found.sum(1) <= 1 + 1e-6).all()
    assert (found >= 0).all()


def test_in_a_ring_the_likelier_assignment_gets_too_much() -> None:
    logits = np.array([[4.0, 5.0], [5.0, 5.0]])
    found, exact = association_probabilities(logits), counted(logits)
    assert exact[0, 1] == pytest.approx(0.72, abs=0.01)
    assert found[0, 1] == pytest.approx(0.96, abs=0.01)


@pytest.mark.parametrize("shape", [(4, 2), (3, 2), (4, 3), (4, 4), (2, 4)])
@pytest.mark.parametrize("logit", [3.0, 7.0, 8.0])
def test_poses_that_want_the_same_tracks_share_them(shape: tuple[int, int], logit: float) -> None:
    logits = np.full(shape, logit)
    assert np.abs(association_probabilities(logits) - counted(logits)).max() < 0.05


def test_in_a_crowd_it_is_within_hundredths_on_average() -> None:
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(50):
        logits = rng.normal(-3, 2, (4, 4)) + 7 * np.eye(4)[rng.permutation(4)]
        errors.append(np.abs(association_probabilities(logits) - counted(logits)).max())
    assert np.mean(errors) < 0.02


def test_nobody() -> None:
    assert association_probabilities(np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert association_probabilities(np.zeros((2, 0), np.float32)).shape == (2, 0)
