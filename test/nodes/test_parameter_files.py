"""Files whose sections are those of other nodes; what ROS itself makes of them is seen on a real node."""

from __future__ import annotations

from pathlib import Path

import pytest

from keytrack_ros.nodes.parameter_files import without_effect
from test.nodes.graph import Graph


@pytest.mark.parametrize(
    ("section", "node", "reaches"),
    [
        ("video", "/video", True),
        ("/video", "/video", True),
        ("viedo", "/video", False),
        ("video", "/front/video", False),
        ("/front/video", "/front/video", True),
        ("/**", "/front/video", True),
        ("/**", "/video", True),
        ("/*", "/video", True),
        ("/*", "/front/video", False),
        ("/*/video", "/front/video", True),
        ("/**/video", "/a/b/video", True),
        ("/**/video", "/video", True),
    ],
)
def test_a_file_is_named_where_ros_finds_no_section_for_the_node(
    graph: Graph, tmp_path: Path, section: str, node: str, reaches: bool
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"{section}:\n  ros__parameters:\n    source: {tmp_path}/none.avi\n")
    lines = without_effect(["node", "--ros-args", "--params-file", str(file)], [node])
    process = graph.start("video", ros_args=["--params-file", str(file), "-r", f"__ns:={Path(node).parent}"])
    assert process.wait() == 1
    assert ("none.avi: there is no such file" in process.log) == reaches
    assert ("parameter source is empty" in process.log) == (not reaches)
    named = f"/{section.strip('/')}"
    said = f"{file} sets nothing here: it has parameters of {named}, and this is {node}; /** stands for any node"
    assert lines == ([] if reaches else [said])
    assert (said in process.log) == (not reaches)


def test_nested_names_and_several_nodes(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  tracker:\n    ros__parameters:\n      a: 1\n")
    arguments = ["--params-file", str(file)]
    assert without_effect(arguments, ["/cameras", "/front/tracker"]) == []
    assert without_effect(arguments, ["/cameras"]) == [
        f"{file} sets nothing here: it has parameters of /**/tracker, and this is /cameras; /** stands for any node"
    ]
    assert without_effect(["--params-file", str(tmp_path / "none.yaml"), "--params-file"], ["/cameras"]) == []


def test_the_node_says_so(graph: Graph, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("trakcer:\n  ros__parameters:\n    confirm_frames: 1\n")
    process = graph.start("tracker", {"autostart": False}, ros_args=["--params-file", str(file)])
    graph.spin_until(lambda: f"{file} sets nothing here: it has parameters of /trakcer" in process.log)
    assert process.end() == 0
