from dataclasses import dataclass, field

import numpy as np
import pytest

from keytrack_ros.errors import OptionError
from keytrack_ros.options import Options, flatten, option, with_values
from keytrack_ros.toks import ToksOptions


@dataclass(frozen=True)
class Inner(Options):
    """For the tests."""

    share: float = option(0.5, "a share", at_least=0.0, at_most=1.0)
    mode: str = option("fast", "a mode", choices=("fast", "good"), live=False)


@dataclass(frozen=True)
class Outer(Options):
    """For the tests."""

    inner: Inner = field(default_factory=Inner)
    count: int = option(3, "a count", at_least=1)
    on: bool = option(True, "a switch")


def test_flatten_gives_dotted_names_in_order():
    assert [(name, value) for name, _, value in flatten(Outer())] == [
        ("inner.share", 0.5),
        ("inner.mode", "fast"),
        ("count", 3),
        ("on", True),
    ]


def test_with_values_replaces_leaves_and_keeps_the_rest():
    changed = with_values(Outer(count=9), {"inner.share": 1, "on": False})
    assert changed == Outer(inner=Inner(share=1.0), count=9, on=False)
    assert isinstance(changed.inner.share, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inner.share": 1.5}, r"inner\.share: 1\.5 lies outside 0\.\.1"),
        ({"inner.share": float("nan")}, r"inner\.share: nan is not a finite number"),
        ({"inner.mode": "slow"}, r"inner\.mode: 'slow' is none of fast, good"),
        ({"count": 0}, r"count: 0 lies outside 1\.\.∞"),
        ({"count": 2.5}, r"count: 2\.5 is a float; a int is needed"),
        ({"count": True}, r"count: True is a bool; a int is needed"),
        ({"nothing": 1}, r"nothing: there is no such option; known are inner\.share, inner\.mode, count, on"),
    ],
)
def test_wrong_values_are_refused_with_the_name_and_the_reason(values, message):
    with pytest.raises(OptionError, match=message):
        with_values(Outer(), values)


def test_the_constructor_checks_too():
    with pytest.raises(OptionError, match=r"share: -1\.0 lies outside"):
        Inner(share=-1.0)


def test_numbers_of_numpy_are_numbers():
    options = ToksOptions(dilation=np.float64(1.5), oks_threshold=np.float32(0.25), enabled=np.bool_(True))
    assert (options.dilation, options.oks_threshold, options.enabled) == (1.5, 0.25, True)
    assert type(options.dilation) is float
