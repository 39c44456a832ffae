"""The recipes of config/training: their options exist, and say what the papers say."""

from dataclasses import fields

import pytest
import yaml

from keytrack_ros.cli.train import NETWORKS, option_values
from test.conftest import REPOSITORY

RECIPES = sorted((REPOSITORY / "config/training").glob("*.yaml"))


def options(name: str):
    file = REPOSITORY / f"config/training/{name}.yaml"
    network = NETWORKS["detector" if name.startswith("detector") else "pose"]
    defaults = {item.name: item.default for item in fields(network.options)}
    return option_values(network, defaults, set(), file)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_is_valid_and_named_in_the_documentation(file):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    chosen = options(file.stem)
    assert all(getattr(chosen, name) == value for name, value in content.items())
    assert f"{file.stem}.yaml" in (REPOSITORY / "docs/training.md").read_text(encoding="utf-8")


def test_hrnet_on_coco_as_in_the_paper():
    w32, w48 = options("hrnet_w32_coco"), options("hrnet_w48_coco")
    assert (w32.variant, w32.width, w32.height, w32.batch_size) == ("w32", 192, 256, 4 * 32)
    assert (w48.variant, w48.width, w48.height, w48.batch_size) == ("w48", 288, 384, 4 * 24)
    for paper in (w32, w48):
        assert (paper.optimiser, paper.learning_rate, paper.epochs, paper.milestones) == ("adam", 1e-3, 210, "170,200")
        assert (paper.augmentation, paper.half_size_epochs, paper.weight_decay) == ("hrnet", 0, 0.0)


def test_hrnet_on_posetrack_as_in_the_paper():
    for name in ("hrnet_w32_posetrack", "hrnet_w48_posetrack"):
        paper = options(name)
        assert (paper.learning_rate, paper.epochs, paper.milestones) == (1e-4, 20, "10,15")
