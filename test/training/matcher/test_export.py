import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; make dev installs it")

from keytrack_ros.errors import ModelError  # noqa: E402
from keytrack_ros.inference.cards import MatcherCard  # noqa: E402
from keytrack_ros.inference.registry import PACKAGE_MODELS, find_model  # noqa: E402
from keytrack_ros.inference.session import OnnxSession  # noqa: E402
from keytrack_ros.matching.network import EntailmentNetwork, NetworkOptions  # noqa: E402
from keytrack_ros.matching.track_network import TrackNetwork, TrackNetworkOptions  # noqa: E402
from keytrack_ros.matching.weights import load_weights  # noqa: E402
from keytrack_ros.training.common.export import MIN_HALF_SIZE, checked_graph, outputs, relative_error  # noqa: E402
from keytrack_ros.training.matcher.export import TOLERANCE, export_matcher, random_pairs  # noqa: E402


def pairs(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    types = np.tile(np.arange(15), (count, 2))
    segments = np.repeat(np.tile([[0, 3]], (count, 1)), 15, 1)
    mask = rng.random((count, 30)) < 0.7
    return {"positions": rng.integers(0, 432, (count, 30)), "types": types, "segments": segments, "mask": mask}


@pytest.mark.parametrize("segments", ["distinct", "paper"])
def test_an_exported_network_is_found_and_equals_torch(tmp_path, segments):
    torch.manual_seed(0)
    network = EntailmentNetwork(NetworkOptions(segments=segments, memory_frames=4)).eval()
    export_matcher(network, tmp_path)
    card = find_model(MatcherCard, "pose_entailment", [tmp_path])
    assert (card.grid, card.memory_frames, card.segments) == ((24, 18), 4, segments)
    session = OnnxSession(card.path)
    for count in (0, 1, 700):
        inputs = pairs(count)
        with torch.no_grad():
            expected = network(*(torch.from_numpy(array) for array in inputs.values())).numpy()
        np.testing.assert_allclose(session.run(inputs)["logits"], expected, atol=1e-5)
    assert session.input_shapes == dict.fromkeys(inputs, (None, 30))
    weights = load_weights(tmp_path / "pose_entailment.pt")
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in weights.state_dict().items())


def test_matrices_stand_in_the_graph_alone_and_another_graph_is_refused(tmp_path):
    torch.manual_seed(0)
    network = TrackNetwork(TrackNetworkOptions()).eval()
    file, graph, _ = export_matcher(network, tmp_path, half=True)
    assert file.stat().st_size < 0.2 * graph.stat().st_size
    found = load_weights(file).state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(found[key], value.half().float() if value.numel() >= MIN_HALF_SIZE else value), key
    torch.manual_seed(1)
    export_matcher(TrackNetwork(TrackNetworkOptions()).eval(), tmp_path / "other", half=True)
    graph.write_bytes((tmp_path / "other" / graph.name).read_bytes())
    with pytest.raises(ModelError, match=r"pose_entailment\.onnx: not the graph that was exported with"):
        load_weights(file)
    graph.unlink()
    with pytest.raises(ModelError, match=r"pose_entailment\.onnx: No such file"):
        load_weights(file)


def test_the_prior_moves_the_odds_and_not_the_given_network(tmp_path):
    torch.manual_seed(0)
    network = EntailmentNetwork().eval()
    before = network.classifier.bias.clone()
    export_matcher(network, tmp_path, prior=0.9)
    assert torch.equal(network.classifier.bias, before)
    inputs = [torch.from_numpy(array) for array in pairs(3).values()]
    with torch.no_grad():
        moved = load_weights(tmp_path / "pose_entailment.pt")(*inputs) - network(*inputs)
    np.testing.assert_allclose(moved, np.tile([0, math.log(9)], (3, 1)), atol=1e-5)


def test_a_graph_of_other_weights_differs_by_more_than_the_tolerance(tmp_path):
    torch.manual_seed(0)
    network = EntailmentNetwork().eval()
    batches = [random_pairs(network, count) for count in (2, 7)]
    graph = checked_graph(network, tmp_path / "n.onnx", batches, "logits", TOLERANCE)
    torch.manual_seed(1)
    other = EntailmentNetwork().eval()
    with torch.no_grad():
        expected = other(*(torch.from_numpy(array) for array in batches[1].values())).numpy()
    assert relative_error(outputs(graph, batches)[1], expected) > 100 * TOLERANCE


def test_weights_of_something_else_are_refused(tmp_path):
    file = tmp_path / "weights.pt"
    with pytest.raises(ModelError, match=r"weights.pt: No such file"):
        load_weights(file)
    torch.save({"network": {"grid": [24, 18]}, "weights": {}}, file)
    with pytest.raises(ModelError, match=r"weights.pt: not weights of a matcher"):
        load_weights(file)


def test_half_weights_are_rounded_once_for_torch_and_the_graph(tmp_path):
    torch.manual_seed(0)
    network = EntailmentNetwork().eval()
    whole, half = tmp_path / "whole", tmp_path / "half"
    export_matcher(network, whole)
    export_matcher(network, half, half=True)
    sizes = [(folder / "pose_entailment.onnx").stat().st_size for folder in (half, whole)]
    assert sizes[0] < 0.55 * sizes[1]
    given, rounded = network.state_dict(), load_weights(half / "pose_entailment.pt").state_dict()
    for key, value in given.items():
        assert torch.equal(rounded[key], value.half().float() if value.numel() >= 256 else value), key
    inputs = pairs(200)
    with torch.no_grad():
        expected = load_weights(half / "pose_entailment.pt")(*(torch.from_numpy(a) for a in inputs.values())).numpy()
    found = OnnxSession(half / "pose_entailment.onnx").run(inputs)["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - OnnxSession(whole / "pose_entailment.onnx").run(inputs)["logits"]).max() < 5e-3


def test_the_shipped_weights_have_the_papers_size():
    assert sum(p.numel() for p in load_weights(PACKAGE_MODELS / "pose_entailment_paper.pt").parameters()) == 473_218
    assert (PACKAGE_MODELS / "pose_entailment_paper.pt").stat().st_size < 1_000_000


def test_an_exported_network_of_tracks_is_found_and_equals_torch(tmp_path):
    torch.manual_seed(0)
    network = TrackNetwork().eval()
    export_matcher(network, tmp_path, name="mine")
    card = find_model(MatcherCard, "mine", [tmp_path])
    assert (card.input, card.weights) == ("tracks", "mine.pt")
    pairs_of_tracks = random_pairs(network, 9)
    with torch.no_grad():
        expected = network(*(torch.from_numpy(array) for array in pairs_of_tracks.values())).numpy()
    assert relative_error(outputs(card.path.read_bytes(), [pairs_of_tracks])[0], expected) < 1e-5
    assert "grid" not in card.path.with_suffix(".yaml").read_text()  # of pairs only
    weights = load_weights(tmp_path / "mine.pt")
    assert isinstance(weights, TrackNetwork)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in weights.state_dict().items())
