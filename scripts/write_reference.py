"""Writes docs/reference/ (parameters, messages, command line) from the code. Run `make reference` after a change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from keytrack_ros.cli.app import app
from keytrack_ros.nodes.examples.count_crossings_node import CrossingOptions
from keytrack_ros.nodes.examples.follow_person_node import FollowOptions
from keytrack_ros.nodes.recorder_node import RecorderOptions
from keytrack_ros.nodes.tracker_node import TrackerNodeOptions
from keytrack_ros.nodes.video_node import VideoOptions
from keytrack_ros.options import Options, flatten

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "docs" / "reference"

PARAMETERS = """# Parameters

Parameters marked *fixed* are read when the node is configured; all others can be changed while it runs
(`ros2 param set`). Values outside the range are refused with the reason. The tracker's are also options of `keytrack
track` and `keytrack replay`: `--set toks.dilation=1.3`, or all at once with `--params FILE`.
"""

MESSAGES = """# Messages

The definitions in `msg/`, as they are.
"""

COMMANDS = """# Command line

What `keytrack COMMAND --help` shows. Exit codes: 0 done, 1 error (one line on stderr), 2 wrong usage, 130 Ctrl-C.
"""


def parameter_table(node: str, options: Options) -> str:
    """The parameters of one node as a Markdown section."""
    rows = [f"## Node `{node}`", "", "| parameter | default | range | |", "|---|---|---|---|"]
    for name, field, default in flatten(options):
        about = field.metadata
        low, high = about["at_least"], about["at_most"]
        allowed = ", ".join(about["choices"] or ())
        if low is not None or high is not None:
            allowed = f"{'' if low is None else f'{low:g}'} … {'' if high is None else f'{high:g}'}".strip()
        shown = f"`{str(default).lower() if isinstance(default, bool) else default}`" if default != "" else ""
        text = about["description"] + ("" if about["live"] else " *(fixed)*")
        rows.append(f"| `{name}` | {shown} | {allowed} | {_cell(text)} |")
    return "\n".join(rows) + "\n"


def command_sections(command: Any, name: str) -> Iterator[str]:
    """A Markdown section for a command of Typer, or for each command of a group."""
    if hasattr(command, "commands"):
        for child in sorted(command.commands):
            yield from command_sections(command.commands[child], f"{name} {child}")
        return
    rows = [f"## `{name}`", "", command.help.strip(), "", "| argument or option | default | |", "|---|---|---|"]
    for parameter in command.params:
        if parameter.name == "help":
            continue
        is_argument = parameter.param_type_name == "argument"
        names = [parameter.metavar or parameter.name.upper()] if is_argument else parameter.opts
        shown = ", ".join(f"`{text}`" for text in (*names, *parameter.secondary_opts))
        default = getattr(parameter.default, "value", parameter.default)
        stated = "" if default in (None, False, ()) or callable(default) else f"`{default}`"
        rows.append(f"| {shown} | {stated} | {_cell(parameter.help or '')} |")
    yield "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def documents() -> dict[Path, str]:
    """Every file of docs/reference/ and its text."""
    nodes = {
        "tracker": TrackerNodeOptions(),
        "video": VideoOptions(),
        "recorder": RecorderOptions(),
        "follow_person": FollowOptions(),
        "count_crossings": CrossingOptions(),
    }
    messages = [
        f"## keytrack_ros/{file.stem}\n\n```\n{file.read_text(encoding='utf-8').strip()}\n```\n"
        for file in sorted((REPOSITORY / "msg").glob("*.msg"))
    ]
    return {
        FOLDER / "parameters.md": "\n".join([PARAMETERS, *(parameter_table(*node) for node in nodes.items())]),
        FOLDER / "messages.md": "\n".join([MESSAGES, *messages]),
        FOLDER / "commands.md": "\n".join([COMMANDS, *command_sections(typer.main.get_command(app), "keytrack")]),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
