"""Fixtures that every test may use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import keytrack_ros  # noqa: F401  # before any test imports ONNX Runtime: it turns telemetry off

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data pack beside the repository (tracks, images, stand-in networks); it is not part of the package."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the data pack ../shared/data is not on this machine")
    return folder


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """pytest's own, on our logger and from WARNING on: `launch`, which ROS loads, changes the root logger."""
    root, library = logging.getLogger(), logging.getLogger("keytrack_ros")
    level, propagate = root.level, library.propagate
    root.setLevel(logging.WARNING)
    library.addHandler(caplog.handler)
    library.propagate = False  # or each record would be there twice
    yield caplog
    library.propagate = propagate
    library.removeHandler(caplog.handler)
    root.setLevel(level)
