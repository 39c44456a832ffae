"""Pipeline options from a ROS parameter file and from NAME=VALUE texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from keytrack_ros.errors import OptionError
from keytrack_ros.options import Value, flatten, with_values
from keytrack_ros.pipeline import PipelineOptions


def pipeline_options(params: Path | None = None, settings: Sequence[str] = ()) -> PipelineOptions:
    """The defaults, changed by a ROS parameter file, changed by `settings` (NAME=VALUE with dotted names).

    Parameters of the file that belong to the node alone (topics, quality of service and the like) are passed over.

    Raises OptionError for a file that is not one, an unknown name, a wrong type or a value out of range.
    """
    options = PipelineOptions()
    if params is not None:
        try:
            options = with_values(options, read_params(params))
        except OptionError as error:
            raise OptionError(str(error) if str(params) in str(error) else f"{params}: {error}") from None
    known = {name: value for name, _, value in flatten(options)}
    values: dict[str, Value] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise OptionError(f"--set {setting}: NAME=VALUE is needed, such as toks.dilation=1.3")
        if name not in known:
            raise OptionError(f"--set {setting}: there is no such option; known are {', '.join(known)}")
        values[name] = _parsed(name, text, known[name])
    return with_values(options, values)


def with_shortcuts(settings: Sequence[str] | None, models: Sequence[Path] | None, flip_test: bool) -> list[str]:
    """`settings` (NAME=VALUE) and what --models and --flip-test stand for."""
    values = list(settings or ())
    if flip_test:
        values.append("estimator.flip_test=true")
    if models:
        values.append("inference.models=" + ":".join(map(str, models)))
    return values


def read_params(path: Path) -> dict[str, Value]:
    """The pipeline's parameters of a ROS parameter file, by dotted names; those of all nodes in it, in order.

    Raises OptionError if it cannot be read or is not such a file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    groups = {item.name for item in fields(PipelineOptions)}
    found = {}
    sections = list(_sections(content))
    if not sections:
        raise OptionError(f"{path}: no 'ros__parameters' in it; a ROS parameter file is needed")
    for section in sections:
        found.update({name: value for name, value in _leaves(section) if name.split(".")[0] in groups})
    return found


def _sections(content: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping under a key ros__parameters; node names may be nested."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if key == "ros__parameters":
            if isinstance(value, dict):
                yield value
        else:
            yield from _sections(value)


def _leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _parsed(name: str, text: str, like: Value) -> Value:
    """The text as a value of the type that the option has."""
    try:
        if isinstance(like, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(like)(text)
    except (KeyError, ValueError):
        wanted = "true or false" if isinstance(like, bool) else f"a {type(like).__name__}"
        raise OptionError(f"{name}: '{text}' is not {wanted}") from None
