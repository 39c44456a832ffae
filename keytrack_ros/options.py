"""Options as frozen dataclasses. Each option's default, range and description are declared once and become ROS
parameters, CLI help and the tables of the documentation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np

from keytrack_ros.errors import OptionError

Value = bool | int | float | str


def option(
    default: Value,
    description: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    choices: tuple[str, ...] | None = None,
    live: bool = True,
) -> Any:
    """A field of an `Options` class.

    `at_least` and `at_most` bound numbers (inclusive), `choices` lists the allowed strings; `live` tells whether it can
    be changed while the tracker runs.
    """
    return field(
        default=default,
        metadata={
            "description": description,
            "at_least": at_least,
            "at_most": at_most,
            "choices": choices,
            "live": live,
        },
    )


@dataclass(frozen=True)
class Options:
    """Base of all option classes: every value is checked when an instance is made.

    Raises OptionError, naming the field, when a value has the wrong type or lies outside its range.
    """

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not is_dataclass(value):
                object.__setattr__(self, item.name, checked(item, value, item.name))


def checked(item: Field[Any], value: Any, name: str) -> Value:
    """`value` if it is valid for the field (an int is taken for a float); otherwise raises OptionError with `name`."""
    default, about = item.default, item.metadata
    if isinstance(value, np.generic):  # NumPy's numbers are as good as Python's
        value = value.item()
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        wanted = type(default).__name__
        raise OptionError(f"{name}: {value!r} is a {type(value).__name__}; a {wanted} is needed")
    low, high, choices = about.get("at_least"), about.get("at_most"), about.get("choices")
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"{name}: {value} is not a finite number")
    if (low is not None and value < low) or (high is not None and value > high):
        raise OptionError(f"{name}: {value} lies outside {_range(low, high)}")
    if choices is not None and value not in choices:
        raise OptionError(f"{name}: '{value}' is none of {', '.join(choices)}")
    return cast(Value, value)


def _range(low: float | None, high: float | None) -> str:
    return f"{'-∞' if low is None else f'{low:g}'}..{'∞' if high is None else f'{high:g}'}"


def flatten(options: Options, prefix: str = "") -> Iterator[tuple[str, Field[Any], Value]]:
    """Every leaf of nested options as (dotted name, field, value), in the order of declaration."""
    for item in fields(options):
        value = getattr(options, item.name)
        if isinstance(value, Options):
            yield from flatten(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, item, value


OptionsT = TypeVar("OptionsT", bound=Options)


def with_values(options: OptionsT, values: Mapping[str, Value]) -> OptionsT:
    """`options` with some leaves replaced, named by dotted names as `flatten` gives them.

    Raises OptionError for an unknown name, a wrong type or a value out of range; the dotted name is in the text.
    """
    known = {name: item for name, item, _ in flatten(options)}
    for name, value in values.items():
        if name not in known:
            raise OptionError(f"{name}: there is no such option; known are {', '.join(known)}")
        checked(known[name], value, name)
    return _replaced(options, values, "")


def _replaced(options: OptionsT, values: Mapping[str, Value], prefix: str) -> OptionsT:
    changes: dict[str, Any] = {}
    for item in fields(options):
        value, name = getattr(options, item.name), prefix + item.name
        if isinstance(value, Options):
            changes[item.name] = _replaced(value, values, f"{name}.")
        elif name in values:
            changes[item.name] = values[name]
    return replace(options, **changes)
