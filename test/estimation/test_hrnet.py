"""HRNet as published: names, shapes, sizes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from keytrack_ros.errors import ModelError
from keytrack_ros.estimation.hrnet import build_hrnet


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def on_meta(variant: str, outputs: int = 17) -> nn.Module:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return build_hrnet(variant, outputs)


@pytest.mark.parametrize("variant", ["w32", "w48"])
def test_names_and_shapes_are_those_of_the_published_code_in_order(shared_data: Path, variant: str) -> None:
    published = (shared_data / "hrnet" / f"hrnet_{variant}_keys.txt").read_text().splitlines()
    built = [f"{name} {tuple(value.shape)}" for name, value in on_meta(variant).state_dict().items()]
    assert built == published


@pytest.mark.parametrize(
    ("variant", "outputs", "expected"),
    [("w48", 17, 63_595_745), ("w48", 15, 63_595_647), ("w32", 17, 28_536_113), ("w32", 15, 28_536_047)],
)
def test_parameter_counts(variant: str, outputs: int, expected: int) -> None:
    assert parameters(on_meta(variant, outputs)) == expected


@pytest.mark.parametrize("variant", ["w48", "w32", "w16_small", "w24_small"])
def test_heatmaps_have_a_quarter_of_the_crops_size(variant: str) -> None:
    heatmaps = on_meta(variant, 15)(torch.zeros(2, 3, 256, 192, device="meta"))
    assert heatmaps.shape == (2, 15, 64, 48)


def test_the_small_network_is_small() -> None:
    assert parameters(on_meta("w16_small", 15)) < 1_400_000


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ModelError, match="HRNet variant 'w64' is not known; known are w48, w32, w16_small, w24_small"):
        build_hrnet("w64")
