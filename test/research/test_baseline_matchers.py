"""The matchers that Pose Entailment is compared with."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from keytrack_ros.errors import ModelError
from keytrack_ros.matching.matcher import MatchQuery
from keytrack_ros.poses import Poses
from keytrack_ros.research.flow import FlowMatcher, FrameMatcher, sampled
from keytrack_ros.research.overlap import OksMatcher
from keytrack_ros.skeleton import INDEX
from test.people import people

torch = pytest.importorskip("torch")
from keytrack_ros.research.graph import (  # noqa: E402
    GraphMatcher,
    GraphNetwork,
    contrastive_loss,
    partitions,
    save_weights,
    shapes,
    similarity_of,
)
from keytrack_ros.research.render import RenderMatcher, RenderNetwork, drawings  # noqa: E402


def ask(current: Poses, past: Poses, gaps: list[int] | None = None) -> MatchQuery:
    """Every current pose with every past one."""
    gaps = gaps or [1] * len(past)
    pairs = np.array([(a, b) for a in range(len(current)) for b in range(len(past))], np.int64).reshape(-1, 2)
    return MatchQuery(current, past, np.array(gaps), np.array(gaps) / 25, pairs, (640, 480))


def textured(shift: int) -> np.ndarray:
    """A blurred noise image, moved to the right by `shift` pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 800, 3), np.uint8)
    return np.ascontiguousarray(cv2.GaussianBlur(noise, (0, 0), 4)[:, 100 - shift : 740 - shift])


class TestFlow:
    def test_poses_are_carried_along_over_several_frames(self) -> None:
        matcher = FlowMatcher()
        for step in range(4):
            matcher.observe(textured(12 * step))
        now, then = people((336, 200)), people((300, 200))  # 3 frames of 12 px ago
        assert matcher.score(ask(now, then, [3])) == pytest.approx([1], abs=0.1)
        assert matcher.score(ask(now, then, [1])) == pytest.approx(
            OksMatcher().score(ask(people((324, 200)), then)), abs=0.1
        )
        assert OksMatcher().score(ask(now, then)) < 0.2

    def test_before_two_frames_and_after_a_change_of_size_nothing_moves(self) -> None:
        matcher, here = FlowMatcher(), people((300, 200))
        assert matcher.score(ask(here, here)) == pytest.approx([1])
        matcher.observe(textured(0))
        matcher.observe(textured(0)[:240])
        assert matcher.score(ask(here, here)) == pytest.approx([1])

    def test_it_is_one_that_sees_frames_and_others_are_not(self) -> None:
        assert isinstance(FlowMatcher(), FrameMatcher)
        assert not isinstance(OksMatcher(), FrameMatcher)

    def test_flow_between_pixels_and_outside(self) -> None:
        flow = np.zeros((4, 6, 2), np.float32)
        flow[..., 0] = np.arange(6)
        points = np.array([[[1.5, 2.0], [-9.0, 1.0], [99.0, 99.0]]], np.float32)
        assert sampled(flow, points)[0, :, 0] == pytest.approx([1.5, 0, 5], abs=0.05)


class TestGraph:
    def test_it_has_the_published_number_of_parameters(self) -> None:
        assert sum(p.numel() for p in GraphNetwork().parameters()) == 22_786

    def test_each_joint_has_all_its_neighbours_once(self) -> None:
        parts = partitions()
        assert parts.shape == (3, 15, 15)
        assert parts.sum((0, 1)) == pytest.approx(np.ones(15))
        neck, nose, shoulder = INDEX["head_bottom"], INDEX["nose"], INDEX["left_shoulder"]
        assert parts[0, neck, neck] == pytest.approx(0.25)  # nose, two shoulders and itself
        assert parts[2, shoulder, neck] == pytest.approx(0.25)
        assert parts[1, neck, nose] == pytest.approx(1 / 3)
        assert parts[1, nose, neck] == 0

    def test_place_and_size_do_not_matter(self) -> None:
        poses = people((100, 200), (400, 250))
        a = shapes(poses.keypoints, poses.visible)
        b = shapes(poses.keypoints * 1.7 + 30, poses.visible)
        np.testing.assert_allclose(a, b, atol=1e-5)
        np.testing.assert_allclose(a[0], a[1], atol=1e-5)
        assert np.abs(a).max() == pytest.approx(0.5)

    def test_loss_draws_one_person_together_and_pushes_others_a_margin_apart(self) -> None:
        a = torch.zeros(3, 128)
        b = torch.zeros(3, 128)
        b[:, 0] = torch.tensor([0.6, 0.6, 3.0])
        losses = [
            contrastive_loss(a[i : i + 1], b[i : i + 1], torch.tensor([s])) for i, s in ((0, 1.0), (1, 0.0), (2, 0.0))
        ]
        assert [float(loss) for loss in losses] == pytest.approx([0.18, 0.08, 0], abs=1e-5)

    def test_scores_are_those_of_the_distance(self, tmp_path: Path) -> None:
        save_weights(GraphNetwork(), tmp_path / "graph.pt")
        matcher = GraphMatcher(tmp_path / "graph.pt")
        one, nobody = people((100, 200)), Poses(np.zeros((1, 15, 2)), np.zeros((1, 15)))
        assert matcher.score(ask(one, people((500, 90)))) == pytest.approx([1], abs=1e-4)
        assert matcher.score(ask(one, nobody)).tolist() == [0]
        assert similarity_of(np.array([0.0, 0.5, 1.0])) == pytest.approx([1, 0.5, 0.2])


class TestRender:
    def test_a_dot_is_where_the_keypoint_is(self) -> None:
        relative = np.full((1, 15, 2), 0.5)
        relative[0, 1] = 1.5, 0.5  # outside
        relative[0, 2] = 1.0, 0.5  # just outside: its left edge is seen
        visible = np.ones((1, 15), bool)
        visible[0, 3] = False
        picture = drawings(relative, visible)
        assert picture.shape == (1, 15, 72, 96)
        assert picture[0, 0, 36, 48] == 1
        assert picture[0, 0, 35:38, 47:50].tolist() == [[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]]
        assert picture[0, 0].sum() == 4
        assert picture[0, 1].sum() == 0
        assert picture[0, 2].nonzero()[1].tolist() == [95, 95, 95]
        assert picture[0, 3].sum() == 0

    def test_scores_are_probabilities_in_the_order_of_the_pairs(self, tmp_path: Path) -> None:
        torch.manual_seed(1)
        network = RenderNetwork()
        save_weights(network, tmp_path / "render.pt")
        matcher = RenderMatcher(tmp_path / "render.pt")
        current, past = people((100, 200), (400, 250)), people((110, 200), (390, 250), (600, 400))
        together = matcher.score(ask(current, past))
        assert together.shape == (6,)
        assert ((together > 0) & (together < 1)).all()
        alone = matcher.score(ask(current[1], past[2]))
        assert alone[0] == pytest.approx(together[5], abs=1e-5)


@pytest.mark.parametrize("content", [None, b"", b"shopping list", "other"])
def test_weights_that_are_none(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "other":
        save_weights(RenderNetwork(), path)
    with pytest.raises(
        ModelError, match=r"weights\.pt: (there is no|not|holds the weights of RenderNetwork)"
    ) as raised:
        GraphMatcher(path)
    assert "\n" not in str(raised.value)
