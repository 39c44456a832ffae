"""Writes docs/parameters.md from the options in the code. Run it after an option has changed; a test compares."""

from __future__ import annotations

from pathlib import Path

from keytrack_ros.nodes.recorder_node import RecorderOptions
from keytrack_ros.nodes.tracker_node import TrackerNodeOptions
from keytrack_ros.nodes.video_node import VideoOptions
from keytrack_ros.options import Options, flatten

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "parameters.md"

HEADER = """# Parameters

Written by `scripts/write_reference.py`. Parameters marked *fixed* are read when the node is configured; all
others can be changed while it runs (`ros2 param set`). Values outside the range are refused with the reason. The same
names are options of `keytrack track` and `replay` (`--set toks.dilation=1.3`, `--params FILE`).
"""


def table(node: str, options: Options) -> str:
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
        rows.append(f"| `{name}` | {shown} | {allowed} | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def document() -> str:
    """All of docs/parameters.md."""
    nodes = {"tracker": TrackerNodeOptions(), "video": VideoOptions(), "recorder": RecorderOptions()}
    return "\n".join([HEADER, *(table(name, options) for name, options in nodes.items())])


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
