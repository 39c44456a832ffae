"""What must hold whatever the scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keytrack_ros import skeleton
from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.evaluation.evaluate import combined, score_sequence
from keytrack_ros.evaluation.frames import SequencePair, strictly_inside
from keytrack_ros.evaluation.protocol import CLEAN, OFFICIAL
from keytrack_ros.evaluation.scores import Scores
from test.evaluation.toy_sequences import Person, random_ground_truth, random_prediction, score, sequence

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=25, deadline=None)


def numbers(scores: Scores) -> dict[str, object]:
    """All of them, by name, for comparison."""
    flat = {f"{name} of joints": pytest.approx(values, abs=1e-9, nan_ok=True) for name, values in scores.joints.items()}
    flat |= {f"{name}": pytest.approx(value, abs=1e-9, nan_ok=True) for name, value in scores.totals.items()}
    for similarity, values in scores.person.items():
        flat |= {f"{name} by {similarity}": pytest.approx(value, abs=1e-9) for name, value in values.items()}
    return flat


def plain(scores: Scores) -> dict[str, object]:
    flat: dict[str, object] = {f"{name} of joints": values for name, values in scores.joints.items()}
    flat |= scores.totals
    for similarity, values in scores.person.items():
        flat |= {f"{name} by {similarity}": value for name, value in values.items()}
    return flat


def shuffled(source: LabelledSequence, seed: int) -> LabelledSequence:
    """The same people in another order within each image."""
    random = np.random.default_rng(seed)
    rows = [random.permutation(np.arange(*source.rows(k).indices(source.people))) for k in range(len(source))]
    return source.taken(np.concatenate(rows))


def with_other_ids(source: LabelledSequence, seed: int) -> LabelledSequence:
    """Each track under another name."""
    ids, inverse = np.unique(source.track_ids, return_inverse=True)
    return replace(source, track_ids=np.random.default_rng(seed).permutation(1000)[: len(ids)][inverse])


@quick
@given(seeds)
def test_ground_truth_against_itself_is_perfect(seed: int):
    ground_truth = random_ground_truth(seed)
    scores = score(ground_truth, ground_truth, CLEAN)
    annotated = ground_truth.present.any(0)
    for name, values in scores.joints.items():
        assert values[annotated] == pytest.approx(0.0 if name == "IDSW" else 100.0), name
        assert np.isnan(values[~annotated]).all()
        assert scores.totals[name] == pytest.approx(0.0 if name == "IDSW" else 100.0), name
    for values in scores.person.values():
        for name in ("HOTA", "DetA", "AssA", "LocA", "IDF1", "MOTA", "MOTP", "precision", "recall"):
            assert values[name] == pytest.approx(100)


@quick
@given(seeds)
def test_ground_truth_against_itself_is_perfect_in_poseval_where_all_is_annotated(seed: int):
    random = np.random.default_rng(seed)
    ground_truth = sequence(
        [[Person(g, 200 + 150 * g + random.normal(), score=0.5) for g in range(4)] for _ in range(5)]
    )
    scores = score(ground_truth, ground_truth, OFFICIAL)
    for name, total in scores.totals.items():
        assert total == pytest.approx(0 if name == "IDSW" else 100), name


@quick
@given(seeds, st.sampled_from([15.0, 60.0, 200.0]), st.sampled_from([CLEAN, OFFICIAL]))
def test_names_of_tracks_do_not_matter(seed: int, apart: float, protocol):
    ground_truth = random_ground_truth(seed, apart=apart)
    prediction = random_prediction(seed, ground_truth)
    renamed = score(with_other_ids(ground_truth, seed + 2), with_other_ids(prediction, seed + 3), protocol)
    assert plain(renamed) == numbers(score(ground_truth, prediction, protocol))


@quick
@given(seeds, st.sampled_from([CLEAN, OFFICIAL]))
def test_ids_that_two_sequences_share_or_exchange_do_not_matter(seed: int, protocol):
    ground_truths = [random_ground_truth(seed + k) for k in range(2)]
    pairs = [(ground_truth, random_prediction(seed + k, ground_truth)) for k, ground_truth in enumerate(ground_truths)]
    exchanged = []
    for k, (ground_truth, prediction) in enumerate(pairs):
        # Both sequences draw their names from one pool: some are common to both, some change sides.
        ids = np.random.default_rng(seed).permutation(1000)[500 * k : 500 * k + 500]
        exchanged.append(
            tuple(replace(side, track_ids=ids[side.track_ids % 500]) for side in (ground_truth, prediction))
        )
    before, after = (
        combined([score_sequence(SequencePair(*pair), protocol) for pair in both], protocol)
        for both in (pairs, exchanged)
    )
    assert plain(after) == numbers(before)


@quick
@given(seeds, st.sampled_from([15.0, 60.0, 200.0]))
def test_order_of_people_does_not_matter(seed: int, apart: float):
    ground_truth = random_ground_truth(seed, apart=apart)
    prediction = random_prediction(seed, ground_truth)
    reordered = score(shuffled(ground_truth, seed + 2), shuffled(prediction, seed + 3), CLEAN)
    assert plain(reordered) == numbers(score(ground_truth, prediction, CLEAN))


@quick
@given(seeds)
def test_order_of_people_does_not_matter_to_poseval_where_they_are_apart(seed: int):
    ground_truth = random_ground_truth(seed, apart=200.0)
    prediction = random_prediction(seed, ground_truth)
    reordered = score(shuffled(ground_truth, seed + 2), shuffled(prediction, seed + 3), OFFICIAL)
    assert plain(reordered) == numbers(score(ground_truth, prediction, OFFICIAL))


@quick
@given(seeds, st.data())
def test_removing_a_prediction_never_raises_recall(seed: int, data: st.DataObject):
    # People are apart: among people in a crowd, keeping a match can cost another one, in the definition itself.
    ground_truth = random_ground_truth(seed, apart=200.0)
    prediction = random_prediction(seed, ground_truth)
    gone = data.draw(st.integers(0, max(0, prediction.people - 1)))
    fewer = prediction.taken(np.delete(np.arange(prediction.people), slice(gone, gone + 1)))
    before, after = score(ground_truth, prediction, CLEAN), score(ground_truth, fewer, CLEAN)
    for name in ("recall", "AP_recall"):
        annotated = ~np.isnan(before.joints[name])
        assert (after.joints[name][annotated] <= before.joints[name][annotated] + 1e-9).all(), name
    for similarity in before.person:
        assert after.person[similarity]["recall"] <= before.person[similarity]["recall"] + 1e-9


@quick
@given(seeds)
def test_all_scores_are_in_range(seed: int):
    ground_truth = random_ground_truth(seed, apart=20.0)
    for protocol in (CLEAN, OFFICIAL):
        scores = score(ground_truth, random_prediction(seed, ground_truth, jitter=20.0), protocol)
        for name, values in scores.joints.items():
            known = values[~np.isnan(values)]
            assert (known <= 100 + 1e-9).all(), name
            if name not in ("MOTA", "MOTP", "MOTP_events"):  # these may fall below 0
                assert (known >= 0).all(), name
        assert (scores.counts["misses"] + scores.counts["detections"] == scores.counts["objects"]).all() or (
            protocol is OFFICIAL
        )


@quick
@given(seeds)
def test_strictly_inside_agrees_with_halfplanes_for_a_triangle(seed: int):
    random = np.random.default_rng(seed)
    triangle = random.integers(-5, 6, (3, 2)).astype(float)
    points = random.integers(-6, 7, (40, 2)).astype(float)
    edges = np.roll(triangle, -1, axis=0) - triangle
    side = edges[:, 0] * (points[:, None, 1] - triangle[:, 1]) - edges[:, 1] * (points[:, None, 0] - triangle[:, 0])
    expected = (side > 0).all(1) | (side < 0).all(1)
    assert strictly_inside(points, triangle).tolist() == expected.tolist()


def test_strictly_inside_a_region_that_is_not_convex():
    horseshoe = np.array([[0, 0], [9, 0], [9, 9], [6, 9], [6, 3], [3, 3], [3, 9], [0, 9]], float)
    points = np.array([[1, 5], [4.5, 5], [8, 5], [4.5, 2], [0, 5], [3, 5], [9, 9], [20, 3]], float)
    assert strictly_inside(points, horseshoe).tolist() == [True, False, True, True, False, False, False, False]
    assert not strictly_inside(points, horseshoe[:2]).any()


def test_every_joint_is_in_one_group():
    from keytrack_ros.evaluation.scores import GROUPS

    assert sorted(name for joints in GROUPS.values() for name in joints) == sorted(skeleton.NAMES)
