"""Fixtures that every test may use."""

from __future__ import annotations

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
