import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; make dev installs it")

from keytrack_ros.matching.network import EntailmentNetwork, NetworkOptions  # noqa: E402


def random_pairs(count: int, seed: int = 0) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    positions = torch.randint(0, 432, (count, 30), generator=rng)
    types = torch.arange(15).repeat(2).expand(count, 30)
    gaps = torch.randint(1, 5, (count, 1), generator=rng)
    segments = torch.cat([torch.zeros(count, 15, dtype=torch.long), gaps.expand(count, 15)], 1)
    mask = torch.rand(count, 30, generator=rng) < 0.7
    return [positions, types, segments, mask]


@pytest.fixture(scope="module")
def network() -> EntailmentNetwork:
    torch.manual_seed(3)
    network = EntailmentNetwork().eval()
    with torch.no_grad():  # the initial weights are so small that every difference would be, too
        for parameter in network.parameters():
            parameter.mul_(4)
    return network


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class TestSize:
    def test_with_distinct_segments(self):
        assert count(EntailmentNetwork()) == 473_218

    def test_with_the_papers_segments(self):
        network = EntailmentNetwork(NetworkOptions(segments="paper"))
        assert count(network) == 473_090
        assert count(network.embedding) == 57_728 + 256
        assert [count(layer) for layer in network.layers] == [99_584] * 4
        assert count(network.pooler) == 16_512
        assert count(network.classifier) == 258


class TestEmbeddings:
    """Of Table 3: a network without one of them does not see what it would tell."""

    @pytest.mark.parametrize(
        ("embeddings", "seen"),
        [
            (("position", "type", "segment"), {"positions", "types", "segments"}),
            (("type", "segment"), {"types", "segments"}),
            (("position", "segment"), {"positions", "segments"}),
            (("position", "type"), {"positions", "types"}),
            (("type", "segment", "relative"), {"types", "segments", "relative"}),
            (("position", "type", "segment", "relative"), {"positions", "types", "segments", "relative"}),
        ],
    )
    @torch.no_grad()
    def test_only_those_that_are_named_have_influence(self, embeddings, seen):
        torch.manual_seed(1)
        network = EntailmentNetwork(NetworkOptions(embeddings=embeddings)).eval()
        for parameter in network.parameters():
            parameter.mul_(4)
        positions, types, segments, mask = random_pairs(8)
        given = {"positions": positions, "types": types, "segments": segments, "mask": mask, "relative": positions}
        before = network(**given)
        changed = {
            "positions": (positions + 100) % 432,
            "types": types.flip(1),
            "segments": 4 - segments,
            "relative": (positions + 100) % 432,
        }
        moved = {name for name, other in changed.items() if not torch.equal(network(**{**given, name: other}), before)}
        assert moved == seen

    def test_each_has_its_table(self):
        whole = count(EntailmentNetwork())
        sizes = {"position": 432, "type": 15, "segment": 5}
        for left_out, rows in sizes.items():
            rest = tuple(name for name in sizes if name != left_out)
            assert whole - count(EntailmentNetwork(NetworkOptions(embeddings=rest))) == 128 * rows
        besides = NetworkOptions(embeddings=(*sizes, "relative"))
        assert count(EntailmentNetwork(besides)) - whole == 128 * 432


def test_the_grid_sets_the_position_table():
    assert count(EntailmentNetwork(NetworkOptions(grid=(48, 36)))) - count(EntailmentNetwork()) == 128 * (4 - 1) * 432


def test_initial_weights_are_normal_with_deviation_0_02_and_biases_0():
    torch.manual_seed(0)
    network = EntailmentNetwork()
    assert network.embedding.positions.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert network.layers[2].attention.key.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert network.pooler.bias.abs().max() == 0


@torch.no_grad()
def test_a_masked_token_has_no_influence(network):
    pairs = random_pairs(8)
    before = network(*pairs)
    masked = ~pairs[3]
    masked[:, 0] = False  # token 0 is what the pooler reads, masked or not
    pairs[0] = torch.where(masked, (pairs[0] + 217) % 432, pairs[0])
    torch.testing.assert_close(network(*pairs), before, rtol=0, atol=1e-6)


@torch.no_grad()
def test_every_token_that_is_not_masked_has_influence(network):
    positions, types, segments, _ = random_pairs(1)
    everything = torch.ones(1, 30, dtype=torch.bool)
    before = network(positions, types, segments, everything)
    for token in range(30):
        moved = positions.clone()
        moved[0, token] = (moved[0, token] + 217) % 432
        assert (network(moved, types, segments, everything) - before).abs().max() > 1e-5


@torch.no_grad()
def test_the_segment_tells_the_gap(network):
    positions, types, segments, mask = random_pairs(1)
    logits = []
    for gap in range(1, 5):
        segments[:, 15:] = gap
        logits.append(network(positions, types, segments, mask)[0, 1].item())
    assert len({round(value, 6) for value in logits}) == 4


@torch.no_grad()
def test_without_any_unmasked_token_the_logits_are_finite(network):
    pairs = random_pairs(4)
    pairs[3][0] = False
    pairs[3][1, :15] = False
    pairs[3][2, 15:] = False
    assert torch.isfinite(network(*pairs)).all()


@torch.no_grad()
def test_a_pair_does_not_depend_on_the_others_of_its_batch(network):
    pairs = random_pairs(6)
    alone = torch.cat([network(*(tensor[i : i + 1] for tensor in pairs)) for i in range(6)])
    torch.testing.assert_close(network(*pairs), alone, rtol=0, atol=1e-5)
