"""Options dataclasses as ROS parameters: default, range and description of each stand in the options alone."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import Field
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from keytrack_ros.errors import OptionError
from keytrack_ros.options import Options, Value, flatten, with_values

_INT64 = 2**63 - 1

OptionsT = TypeVar("OptionsT", bound=Options)


class OptionParameters(Generic[OptionsT]):
    """Declares every leaf of nested options as a parameter, and keeps the options as the parameters have them.

    A parameter may be set at any time to any value that its option allows, except that options that are not `live`
    keep their value while `locked`. A refusal says why.

    Args:
        node: on which the parameters are declared.
        defaults: values of the parameters that neither a file nor the command line sets.
        released_by: how a locked parameter becomes free, for the reason of a refusal.

    Attributes:
        options: the present values; a new object after every change, so that other threads may hold on to one.
        locked: see above.

    Raises:
        OptionError: a file or the command line gives a parameter a value that it cannot have.
    """

    def __init__(self, node: Node, defaults: OptionsT, released_by: str) -> None:
        self.locked = False
        self._released_by = released_by
        self._live = {name: item.metadata["live"] for name, item, _ in flatten(defaults)}
        self._texts = {name for name, _, default in flatten(defaults) if isinstance(default, str)}
        values = {name: _declare(node, name, item, default) for name, item, default in flatten(defaults)}
        try:
            self.options = with_values(defaults, self._as_typed(values))
        except OptionError as error:
            raise OptionError(f"parameter {error}") from None
        node.add_on_set_parameters_callback(self._set)

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        wanted = self._as_typed({item.name: item.value for item in parameters if item.name in self._live})
        present = {name: value for name, _, value in flatten(self.options)}
        if self.locked:
            for name, value in wanted.items():
                if not self._live[name] and value != present[name]:
                    reason = f"{name} cannot be changed now; {self._released_by}"
                    return SetParametersResult(successful=False, reason=reason)
        try:
            self.options = with_values(self.options, wanted)
        except OptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _as_typed(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """`values` with whole numbers as text where the option is a text: `source:=0` arrives as a number."""
        return {
            name: str(value) if name in self._texts and type(value) is int else value for name, value in values.items()
        }


def warn_of_unknown_parameters(node: Node, foreign: Collection[str] = ()) -> None:
    """Logs parameters that a file or the command line sets for this node but that it does not have: misspelt ones.

    Args:
        foreign: parameters of other nodes in the process, which the command line sets for all.
    """
    # rclpy offers no other way to them; without the attribute nothing is reported.
    overrides: dict[str, Any] = getattr(node, "_parameter_overrides", {})
    unknown = [name for name in sorted(overrides) if not node.has_parameter(name) and name not in foreign]
    known = list(node.get_parameters_by_prefix(""))
    for name in unknown:
        if name.startswith("qos_overrides."):
            continue
        nearest = difflib.get_close_matches(name, known, 1)
        hint = f"; the nearest is {nearest[0]}" if nearest else ""
        node.get_logger().warning(f"parameter {name} is set, but this node has none of that name{hint}")


def _declare(node: Node, name: str, item: Field[Any], default: Value) -> Value:
    """Declares a parameter; returns its value. Raises OptionError if a file or the command line gives a wrong one."""
    try:
        value: Value = node.declare_parameter(name, default, _descriptor(name, item, default)).value
    except InvalidParameterValueException as error:
        raise OptionError(str(error)) from None
    return value


def _descriptor(name: str, item: Field[Any], default: Value) -> ParameterDescriptor:
    about = item.metadata
    # The options check types themselves: with a reason that can be read, and 1 is good enough for 1.0.
    descriptor = ParameterDescriptor(name=name, description=about["description"], dynamic_typing=True)
    low, high, choices = about["at_least"], about["at_most"], about["choices"]
    if choices is not None:
        descriptor.additional_constraints = f"one of: {', '.join(choices)}"
    elif low is None and high is None:
        pass
    elif isinstance(default, float):
        low, high = -math.inf if low is None else float(low), math.inf if high is None else float(high)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif isinstance(default, int):
        low, high = -_INT64 if low is None else int(low), _INT64 if high is None else int(high)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return descriptor
