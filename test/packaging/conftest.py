"""The installed commands, as their users have them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from test.toy import write_networks


@pytest.fixture(scope="session")
def installed() -> Path:
    """The environment's bin/ with `keytrack`; the executables of the nodes are in ../lib/keytrack_ros."""
    folder = Path(sys.prefix) / "bin"
    if not (folder / "keytrack").is_file():
        pytest.skip(f"keytrack_ros is not installed in {sys.prefix}; `make dev` installs it")
    return folder


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with detector and pose network that find bright rectangles."""
    return write_networks(tmp_path_factory.mktemp("toy") / "models")
