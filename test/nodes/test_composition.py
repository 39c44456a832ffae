"""The documented script with a tracker and another node in one process."""

from __future__ import annotations

import re
from pathlib import Path

from test.nodes.camera import Camera
from test.nodes.graph import REPOSITORY, Graph


def test_the_documented_node_shares_the_process_of_the_tracker(graph: Graph, toy_models: Path) -> None:
    text = (REPOSITORY / "docs" / "tutorials" / "people.md").read_text(encoding="utf-8")
    (script,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "TrackerNode" in code)
    process = graph.start_code(script, {"inference.models": toy_models, "tracker.confirm_frames": 1})
    camera = Camera(graph)
    graph.spin_until(lambda: camera.show([(150.0, 200.0), (400.0, 300.0)]) and "2 people" in process.log)
    assert {"tracker", "greeter"} <= set(graph.node.get_node_names())
    assert process.end() == 0
    assert "Traceback" not in process.log
