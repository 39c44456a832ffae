"""Muon: singular values of its steps, steps worked by hand, Adam's beside them, and runs that stop and go on."""

import io

import pytest
import torch
from torch import Tensor, nn

from keytrack_ros.errors import OptionError
from keytrack_ros.training.common.muon import BETAS, COEFFICIENTS, EPSILON, ITERATIONS, MOMENTUM, Muon, orthogonal
from keytrack_ros.training.common.setup import open_optimiser
from keytrack_ros.training.detector.options import DetectorTrainOptions
from keytrack_ros.training.pose.options import PoseTrainOptions

WEAKEST = 0.002
"""Part of a matrix's norm from which on a singular value is brought to 0.65 … 1.21."""


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_singular_values(rows: int, columns: int, values: Tensor, seed: int = 0) -> Tensor:
    """[rows, columns] float64 with these singular values and random directions."""
    drawn = torch.randn(rows, columns, generator=chance(seed), dtype=torch.float64)
    left, _, right = torch.linalg.svd(drawn, full_matrices=False)
    return left @ torch.diag(values.double()) @ right


def quintic(values: Tensor) -> Tensor:
    """What the iterations make of singular values, in the precision of `values`."""
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        values = a * values + b * values**3 + c * values**5
    return values


def exact_orthogonal(matrix: Tensor) -> Tensor:
    """`orthogonal` by its definition, in float64: the quintic on each singular value."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    return left @ torch.diag(quintic(values / values.norm())) @ right


def test_the_quintic_takes_singular_values_to_where_the_docstring_says():
    made = quintic(torch.logspace(-2, 0, 100_001, dtype=torch.float64))
    assert made.min().item() == pytest.approx(0.682, abs=1e-3)
    assert made.max().item() == pytest.approx(1.134, abs=1e-3)
    made = quintic(torch.logspace(-2.69897, 0, 100_001, dtype=torch.float64))  # from 0.002
    assert made.min().item() == pytest.approx(0.682, abs=1e-3)
    assert made.max().item() == pytest.approx(1.202, abs=1e-3)
    assert quintic(torch.tensor(1e-6, dtype=torch.float64)).item() == pytest.approx(484.9e-6, rel=1e-3)


@pytest.mark.parametrize(("rows", "columns"), [(16, 144), (144, 16), (64, 64), (1, 32), (32, 1), (128, 576)])
@pytest.mark.parametrize("weakest", [1.0, 0.1, 0.01])
def test_singular_values_become_one_nearly(rows: int, columns: int, weakest: float):
    values = torch.logspace(0, torch.tensor(weakest).log10().item(), min(rows, columns))
    made = torch.linalg.svdvals(orthogonal(with_singular_values(rows, columns, values).float()).double())
    assert (values / values.norm()).min() > WEAKEST
    assert made.min() > 0.64
    assert made.max() < 1.21


def test_strong_directions_count_alike_and_the_weakest_stay_weak():
    values = torch.logspace(0, -6, 24)
    matrix = with_singular_values(24, 40, values, seed=3)
    left, found, right = torch.linalg.svd(matrix, full_matrices=False)
    made = orthogonal(matrix.float()).double()
    along = torch.diagonal(left.T @ made @ right.T)  # how far the step goes along each direction of the gradient
    strong = (found / found.norm()) > 0.1
    assert strong.sum() == 4
    torch.testing.assert_close(along[strong], quintic(found / found.norm())[strong], rtol=0.1, atol=0.0)
    assert along[-8:].abs().max() < 0.2
    assert torch.linalg.svdvals(made).max() < 1.21


def test_the_size_of_a_matrix_does_not_matter_and_zero_stays_zero():
    matrix = torch.randn(8, 12, generator=chance(1))
    torch.testing.assert_close(orthogonal(2.0**20 * matrix), orthogonal(matrix), rtol=0.02, atol=0.02)
    torch.testing.assert_close(orthogonal(2.0**-10 * matrix), orthogonal(matrix), rtol=0.02, atol=0.02)
    assert not orthogonal(torch.zeros(8, 12)).any()


def stepped(
    weights: nn.Parameter, gradients: list[Tensor], rate: float = 0.1, decay: float = 0.0
) -> tuple[Tensor, Muon]:
    """The weights after a step with each of the gradients."""
    optimiser = Muon([{"params": [weights], "lr": rate, "weight_decay": decay}])
    for gradient in gradients:
        weights.grad = gradient
        optimiser.step()
    return weights.detach(), optimiser


def test_a_step_of_a_matrix_by_hand():
    # The norm of the gradient is 5, its singular values are 0.6 and 0.8 of it; √max is √4 = 2.
    gradient = torch.tensor([[3.0, 0, 0, 0], [0, -4.0, 0, 0]])
    expected = torch.zeros(2, 4)
    expected[0, 0], expected[1, 1] = -0.1 * 0.2 * 2 * quintic(torch.tensor([0.6, 0.8])) * torch.tensor([1, -1])
    weights, _ = stepped(nn.Parameter(torch.zeros(2, 4)), [gradient])
    torch.testing.assert_close(weights, expected, rtol=0.06, atol=0.0)  # bfloat16


def test_steps_of_a_matrix_follow_the_momentum():
    gradients = [torch.randn(6, 10, generator=chance(seed)) for seed in range(4)]
    expected, momentum = torch.ones(6, 10, dtype=torch.float64), torch.zeros(6, 10, dtype=torch.float64)
    for gradient in gradients:
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        ahead = (1 - MOMENTUM) * gradient + MOMENTUM * momentum
        expected = (1 - 0.1 * 0.5) * expected - 0.1 * 0.2 * 10**0.5 * exact_orthogonal(ahead)
    weights, _ = stepped(nn.Parameter(torch.ones(6, 10)), gradients, decay=0.5)
    torch.testing.assert_close(weights.double(), expected, rtol=0.0, atol=0.005)


def test_a_step_is_as_long_as_adamws():
    # Of a matrix with equal singular values each weight moves by 0.2 learning rates (root mean square), nearly.
    for rows, columns in ((32, 32), (16, 144), (144, 16)):
        gradient = with_singular_values(rows, columns, torch.ones(min(rows, columns))).float()
        weights, _ = stepped(nn.Parameter(torch.zeros(rows, columns)), [gradient], rate=1.0)
        assert 0.2 * 0.64 < weights.square().mean().sqrt() < 0.2 * 1.21


def test_a_vector_takes_adams_steps():
    gradients = [torch.randn(7, generator=chance(seed)) * 10.0 ** (seed - 2) for seed in range(6)]
    gradients[3][2] = 0
    weights, _ = stepped(nn.Parameter(torch.ones(7)), gradients, rate=0.01)
    reference = nn.Parameter(torch.ones(7))
    adam = torch.optim.Adam([reference], lr=0.01, betas=(0.9, 0.99), eps=1e-8)
    for gradient in gradients:
        reference.grad = gradient
        adam.step()
    torch.testing.assert_close(weights, reference.detach(), rtol=1e-6, atol=1e-7)
    assert (BETAS, EPSILON) == ((0.9, 0.99), 1e-8)


@pytest.mark.parametrize("shape", [(5,), (3, 4)])
def test_weight_decay_is_decoupled(shape: tuple[int, ...]):
    start, gradient = torch.full(shape, 2.0), torch.randn(shape, generator=chance(0))
    plain, _ = stepped(nn.Parameter(start.clone()), [gradient], rate=0.1)
    decayed, _ = stepped(nn.Parameter(start.clone()), [gradient], rate=0.1, decay=0.25)
    torch.testing.assert_close(plain - decayed, torch.full(shape, 2.0 * 0.1 * 0.25), rtol=0, atol=1e-6)


def test_parameters_without_gradient_are_not_touched():
    matrix, vector, used = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimiser = Muon([{"params": [matrix, vector, used], "lr": 0.1, "weight_decay": 0.5}])
    used.grad = torch.ones(3)
    optimiser.step()
    assert (matrix == 1).all()
    assert (vector == 1).all()
    assert (used != 1).all()
    assert set(optimiser.state) == {used}


def test_a_closure_is_refused():
    with pytest.raises(ValueError, match="takes no closure"):
        Muon([nn.Parameter(torch.ones(2))]).step(lambda: 0.0)


def test_a_convolution_is_the_matrix_of_its_outputs_in_any_memory_layout():
    gradients = [torch.randn(8, 3, 3, 3, generator=chance(seed)) for seed in range(3)]
    start = torch.randn(8, 3, 3, 3, generator=chance(9))
    plain, _ = stepped(nn.Parameter(start.clone()), gradients)
    channels_last = nn.Parameter(start.clone(memory_format=torch.channels_last))
    last, _ = stepped(channels_last, [g.contiguous(memory_format=torch.channels_last) for g in gradients])
    flat, _ = stepped(nn.Parameter(start.reshape(8, 27).clone()), [g.reshape(8, 27) for g in gradients])
    assert torch.equal(last, plain)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(flat.reshape(8, 3, 3, 3), plain)


def small_network() -> nn.Module:
    torch.manual_seed(4)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def learn(network: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        images = torch.randn(2, 3, 6, 6, generator=chance(step)).contiguous(memory_format=torch.channels_last)
        for group in optimiser.param_groups:
            group["lr"] = 0.01 / (1 + step)
        optimiser.zero_grad()
        network(images).square().mean().backward()
        optimiser.step()


def test_a_run_goes_on_from_its_saved_state_bit_for_bit():
    whole = small_network()
    learn(whole, open_optimiser("muon", whole, 0.01), range(8))
    first = small_network()
    optimiser = open_optimiser("muon", first, 0.01)
    learn(first, optimiser, range(5))
    file = io.BytesIO()
    torch.save({"network": first.state_dict(), "optimiser": optimiser.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = small_network()
    resumed = open_optimiser("muon", second, 0.01)
    second.load_state_dict(state["network"])
    resumed.load_state_dict(state["optimiser"])
    counts = [values["steps"] for values in resumed.state.values() if "steps" in values]
    assert [count.item() for count in counts] == [5.0] * 4  # two biases, scale and shift of the normalisation
    learn(second, resumed, range(5, 8))
    for name, values in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], values), name


def test_an_ill_conditioned_problem_is_solved():
    # Least squares |A X − B|² where A's singular values are 1 … 0.01: each direction of the gradient counts alike.
    factors = with_singular_values(32, 16, torch.logspace(0, -2, 16)).float()
    solution = torch.randn(16, 8, generator=chance(5))
    target = factors @ solution
    weights = nn.Parameter(torch.zeros(16, 8))
    optimiser = Muon([{"params": [weights]}])
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.2 * (1 - step / 300)
        optimiser.zero_grad()
        (factors @ weights - target).square().sum().backward()
        optimiser.step()
    left = (factors @ weights - target).square().sum() / target.square().sum()
    assert left < 1e-5


def test_options_open_the_optimiser_that_they_name():
    network = small_network()
    assert isinstance(open_optimiser("muon", network, 0.01), Muon)
    assert isinstance(open_optimiser("adamw", network, 0.01), torch.optim.AdamW)
    for name in ("muon", "adamw"):
        matrices, vectors = open_optimiser(name, network, 0.01).param_groups
        assert [p.ndim for p in matrices["params"]] == [4, 4]
        assert [p.ndim for p in vectors["params"]] == [1] * 4
        assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.01, 0.0)


@pytest.mark.parametrize("options", [PoseTrainOptions, DetectorTrainOptions])
def test_an_unknown_optimiser_is_refused(options: type):
    with pytest.raises(OptionError, match=r"optimiser: .*sgd.*adamw.*muon"):
        options(optimiser="sgd")
