"""The SROS 2 policy against what the running tracker really offers and hears."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from test.nodes.camera import Camera
from test.nodes.graph import REPOSITORY, Graph

POLICY = REPOSITORY / "config" / "sros2" / "keytrack.policy.xml"


def allowed(kind: str, way: str) -> set[str]:
    """Names that the tracker's profile allows, in full."""
    profile = ElementTree.parse(POLICY).find(".//profile[@node='tracker']")
    assert profile is not None
    texts = [item.text or "" for item in profile.findall(f"{kind}[@{way}='ALLOW']/*")]
    return {text.replace("~", "/tracker") if text.startswith("~") else f"/{text}" for text in texts}


def names(found: list[tuple[str, list[str]]]) -> set[str]:
    return {name for name, _ in found}


def test_it_allows_all_that_the_tracker_does(graph: Graph, toy_models: Path) -> None:
    graph.start("tracker", {"inference.models": toy_models, "use_sim_time": True, "depth.enabled": True})
    Camera(graph)
    node = graph.node
    graph.spin_until(lambda: "tracker" in node.get_node_names())
    published = partial(node.get_publisher_names_and_types_by_node, "tracker", "/")
    subscribed = partial(node.get_subscriber_names_and_types_by_node, "tracker", "/")
    served = partial(node.get_service_names_and_types_by_node, "tracker", "/")
    graph.spin_until(lambda: {"/tracker/poses", "/tracker/poses_3d", "/diagnostics"} <= names(published()))
    graph.spin_until(lambda: {"/image", "/depth", "/camera_info", "/clock"} <= names(subscribed()))
    graph.spin_until(lambda: {"/tracker/reset", "/tracker/enable", "/tracker/set_parameters"} <= names(served()))
    assert names(published()) <= allowed("topics", "publish")
    assert names(subscribed()) <= allowed("topics", "subscribe")
    assert names(served()) <= allowed("services", "reply")
