"""The Foxglove layout against what the running tracker publishes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from test.nodes.graph import REPOSITORY, Graph

LAYOUT = json.loads((REPOSITORY / "config" / "foxglove" / "tracker.json").read_text(encoding="utf-8"))


def panels(part: Any) -> list[str]:
    """The panels of a part of the window."""
    return [part] if isinstance(part, str) else panels(part["first"]) + panels(part["second"])


def test_every_panel_has_its_place() -> None:
    assert sorted(panels(LAYOUT["layout"])) == sorted(LAYOUT["configById"])


def test_every_topic_is_one_of_the_tracker(graph: Graph, toy_models: Path) -> None:
    topics = set(re.findall(r"/(?:tracker/\w+|diagnostics)", json.dumps(LAYOUT["configById"])))
    assert {"/tracker/debug_image", "/tracker/markers", "/diagnostics"} <= topics
    graph.start("tracker", {"inference.models": toy_models})
    graph.spin_until(lambda: all(graph.node.count_publishers(topic) for topic in topics))
    graph.spin_until(lambda: graph.diagnostics)
    names = {value["selectedName"] for value in LAYOUT["configById"].values() if "selectedName" in value}
    assert names == {graph.diagnostics["name"]}
    (path,) = LAYOUT["configById"]["Plot!rate"]["paths"]
    assert re.findall(r'key=="(\w+)"', path["value"])[0] in graph.diagnostics
