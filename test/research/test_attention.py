import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; make dev installs it")

from keytrack_ros.inference.registry import PACKAGE_MODELS  # noqa: E402
from keytrack_ros.matching.network import EntailmentNetwork  # noqa: E402
from keytrack_ros.matching.tokens import PairTokens, pair_tokens, pose_tokens  # noqa: E402
from keytrack_ros.matching.weights import load_weights  # noqa: E402
from keytrack_ros.research.attention import Attention, attention  # noqa: E402

SIZE = (640, 480)


@pytest.fixture(scope="module")
def network() -> EntailmentNetwork:
    found = load_weights(PACKAGE_MODELS / "pose_entailment_paper.pt")
    assert isinstance(found, EntailmentNetwork)
    return found


@pytest.fixture(scope="module")
def tokens() -> PairTokens:
    """Eight pairs of random poses, about a third of whose keypoints are missing."""
    rng = np.random.default_rng(5)
    current, past = (pose_tokens(rng.uniform(0, 480, (8, 15, 2)), rng.random((8, 15)) < 0.7, SIZE) for _ in range(2))
    return pair_tokens(current, past, np.arange(8) % 4 + 1)


@pytest.fixture(scope="module")
def found(network, tokens) -> Attention:
    return attention(network, tokens)


def test_every_token_of_every_head_spends_its_attention_once(found):
    assert found.weights.shape == (8, 4, 4, 30, 30)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-6)
    assert found.weights.min() >= 0


def test_masked_keypoints_get_none(found, tokens):
    masked = np.broadcast_to(~tokens.mask[:, None, None, None], found.weights.shape)
    assert 0.2 < masked.mean() < 0.4
    assert (found.weights[masked] == 0).all()
    assert (found.weights[~masked] > 0).all()


@torch.no_grad()
def test_the_network_says_what_it_says_without_being_watched(network, found, tokens):
    inputs = [torch.as_tensor(np.array(v)) for v in (tokens.positions, tokens.types, tokens.segments, tokens.mask)]
    np.testing.assert_allclose(network(*inputs).numpy(), found.logits, atol=1e-5)


@torch.no_grad()
def test_the_weights_are_those_by_which_values_are_mixed(network, found, tokens):
    # The first layer by hand: softmax(Q Kᵀ / √32) over the keypoints that are there.
    first = network.layers[0].attention
    inputs = [torch.as_tensor(np.array(v)) for v in (tokens.positions, tokens.types, tokens.segments)]
    embedding = network.embedding
    embedded = embedding.norm(
        embedding.positions(inputs[0]) + embedding.types(inputs[1]) + embedding.segments(inputs[2])
    )
    query, key = (part(embedded).view(8, 30, 4, 32).transpose(1, 2).numpy() for part in (first.query, first.key))
    scores = np.exp(query @ np.swapaxes(key, -1, -2) / np.sqrt(32)) * tokens.mask[:, None, None]
    np.testing.assert_allclose(found.weights[:, 0], scores / scores.sum(-1, keepdims=True), atol=1e-5)


def test_nothing_stays_behind_in_the_network(network, tokens):
    attention(network, tokens)
    modules = [module for layer in network.layers for module in layer.modules()]
    assert not any(module._forward_pre_hooks for module in modules)
