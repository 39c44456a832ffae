"""Parameter files that set nothing: ROS passes over sections of other nodes in silence, a misspelt one too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

_OPTION = "--params-file"
_KEY = "ros__parameters"


def without_effect(arguments: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """One line for each parameter file of a command line that has sections, but none for one of the nodes.

    Args:
        arguments: the command line.
        nodes: full names, as `/front/tracker`.
    """
    lines = []
    for option, value in pairwise(arguments):
        if option != _OPTION:
            continue
        named = list(_sections(_content(Path(value))))
        if named and not any(_pattern(name).fullmatch(node) for name in named for node in nodes):
            lines.append(
                f"{value} sets nothing here: it has parameters of {', '.join(named)}, and this is {', '.join(nodes)}; "
                "/** stands for any node"
            )
    return lines


def _content(file: Path) -> Any:
    """What a file holds; None where PyYAML cannot read it, which ROS has read by then."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _sections(content: Any, prefix: str = "") -> Iterator[str]:
    """The full names of nodes, with wildcards, that a file has parameters for."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if key == _KEY:
            yield prefix
        else:
            yield from _sections(value, f"{prefix}/{str(key).strip('/')}")


def _pattern(name: str) -> re.Pattern[str]:
    """`*` stands for one part of a name, `**` for any number of parts, as in rcl."""
    parts = {"**": r"(/\w+)*", "*": r"/\w+"}
    return re.compile("".join(parts.get(part, "/" + re.escape(part)) for part in name.split("/")[1:]))
