"""Graphs and networks for the tests of the nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from test.nodes.graph import Graph
from test.toy import write_networks


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with detector and pose network that find bright rectangles."""
    return write_networks(tmp_path_factory.mktemp("toy") / "models")


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    """An empty graph for one test."""
    graph = Graph(tmp_path)
    yield graph
    graph.close()


@pytest.fixture(scope="module")
def shared_graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """A graph for all tests of a module."""
    graph = Graph(tmp_path_factory.mktemp("graph"))
    yield graph
    graph.close()
