"""Options as ROS parameters: declared once, guarded always, the same in config/tracker.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from keytrack_ros.errors import OptionError
from keytrack_ros.nodes.parameters import OptionParameters
from keytrack_ros.nodes.tracker_node import TrackerNodeOptions
from keytrack_ros.options import Options, flatten, option
from test.nodes.graph import REPOSITORY


@dataclass(frozen=True)
class Inner(Options):
    ratio: float = option(0.5, "a ratio", at_least=0.0, at_most=1.0)
    count: int = option(3, "a count", at_least=1)


@dataclass(frozen=True)
class Outer(Options):
    inner: Inner = field(default_factory=Inner)
    mode: str = option("fast", "a mode", choices=("fast", "slow"))
    folder: str = option("", "a folder", live=False)


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(args=[], context=context)
    yield context
    context.shutdown()


def node_with(context: Context, **values: Any) -> Node:
    """A node to which a file or the command line gave values; `inner__ratio` stands for inner.ratio."""
    overrides = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
    return Node("node", context=context, parameter_overrides=overrides, start_parameter_services=False)


def test_parameters_are_described_and_ranged_as_the_options_are(context: Context) -> None:
    node = node_with(context)
    parameters = OptionParameters(node, Outer(), "later")
    assert parameters.options == Outer()
    ratio = node.describe_parameter("inner.ratio")
    assert ratio.description == "a ratio"
    assert (ratio.floating_point_range[0].from_value, ratio.floating_point_range[0].to_value) == (0.0, 1.0)
    count = node.describe_parameter("inner.count")
    assert (count.integer_range[0].from_value, count.integer_range[0].to_value) == (1, 2**63 - 1)
    assert node.describe_parameter("mode").additional_constraints == "one of: fast, slow"


def test_values_from_outside_reach_the_options(context: Context) -> None:
    node = node_with(context, inner__ratio=0.25, folder="a", inner__count=9)
    assert OptionParameters(node, Outer(), "later").options == Outer(Inner(0.25, 9), "fast", "a")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("inner__ratio", 1.5, "inner.ratio.*1.5"),
        ("inner__ratio", "half", "inner.ratio: 'half' is a str; a float is needed"),
        ("inner__count", 0, "inner.count.*0"),
        ("inner__count", "many", "inner.count.*many"),
        ("mode", "sideways", "mode: 'sideways' is none of fast, slow"),
    ],
)
def test_wrong_values_from_outside_are_named(context: Context, name: str, value: object, reason: str) -> None:
    with pytest.raises(OptionError, match=reason) as caught:
        OptionParameters(node_with(context, **{name: value}), Outer(), "later")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("inner.ratio", -0.1, "inner.ratio"),
        ("inner.ratio", float("nan"), "inner.ratio"),
        ("inner.ratio", "half", "inner.ratio: 'half' is a str; a float is needed"),
        ("inner.count", 2.0, "inner.count: 2.0 is a float; a int is needed"),
        ("mode", "sideways", "'sideways' is none of fast, slow"),
    ],
)
def test_wrong_values_at_run_time_are_refused_with_the_reason(
    context: Context, name: str, value: object, reason: str
) -> None:
    node = node_with(context)
    parameters = OptionParameters(node, Outer(), "later")
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful
    assert reason in result.reason
    assert parameters.options == Outer()


def test_fixed_parameters_keep_their_value_only_while_locked(context: Context) -> None:
    node = node_with(context)
    parameters = OptionParameters(node, Outer(), "it can after cleanup")
    parameters.locked = True
    result = node.set_parameters([Parameter("folder", value="a")])[0]
    assert (result.successful, result.reason) == (False, "folder cannot be changed now; it can after cleanup")
    assert node.set_parameters([Parameter("folder", value="")])[0].successful  # the value that it has
    assert node.set_parameters([Parameter("inner.ratio", value=0.75)])[0].successful
    parameters.locked = False
    assert node.set_parameters([Parameter("folder", value="a")])[0].successful
    assert parameters.options == Outer(Inner(0.75, 3), "fast", "a")


def test_of_several_parameters_set_at_once_all_or_none_change(context: Context) -> None:
    node = node_with(context)
    parameters = OptionParameters(node, Outer(), "later")
    result = node.set_parameters_atomically([Parameter("inner.ratio", value=0.9), Parameter("mode", value="sideways")])
    assert not result.successful
    assert parameters.options == Outer()


def test_a_whole_number_is_good_enough_for_a_float(context: Context) -> None:
    node = node_with(context, inner__ratio=0)
    parameters = OptionParameters(node, Outer(), "later")
    assert parameters.options.inner.ratio == 0.0
    assert node.set_parameters([Parameter("inner.ratio", value=1)])[0].successful
    assert parameters.options.inner.ratio == 1.0
    assert not node.set_parameters([Parameter("inner.ratio", value=2)])[0].successful


def test_whole_numbers_are_texts_where_texts_are_needed(context: Context) -> None:
    # `source:=0` is a webcam; ROS reads a number.
    node = node_with(context, folder=0)
    parameters = OptionParameters(node, Outer(), "later")
    assert parameters.options.folder == "0"
    assert node.set_parameters([Parameter("folder", value=1)])[0].successful
    assert parameters.options.folder == "1"
    assert not node.set_parameters([Parameter("folder", value=True)])[0].successful


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def test_parameter_file_holds_every_parameter_with_its_default_and_a_comment() -> None:
    text = (REPOSITORY / "config" / "tracker.yaml").read_text(encoding="utf-8")
    found = leaves(yaml.safe_load(text)["/**"]["tracker"]["ros__parameters"])
    defaults = {name: value for name, _, value in flatten(TrackerNodeOptions())}
    assert found == defaults
    assert {name: type(value) for name, value in found.items()} == {n: type(v) for n, v in defaults.items()}

    lines = text.splitlines()
    fixed = {name for name, item, _ in flatten(TrackerNodeOptions()) if not item.metadata["live"]}
    for name in defaults:
        key = name.rpartition(".")[2]
        places = [i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:")]
        comments = [lines[i - 1].strip() for i in places]
        assert all(comment.startswith("#") for comment in comments), name
        if name in fixed:
            assert any(comment.endswith("[fixed]") for comment in comments), name
