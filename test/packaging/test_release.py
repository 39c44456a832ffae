"""What `make release-check` looks at, but for the wheel, which test_build builds."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from test.conftest import REPOSITORY


@pytest.fixture
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_check", REPOSITORY / "scripts" / "release_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_this_tree_has_one_version_a_changelog_and_a_complete_manifest(check: ModuleType) -> None:
    assert [*check.one_version(), *check.changelog(), *check.manifest()] == []


def test_what_is_wrong_is_named(check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = (REPOSITORY / "package.xml").read_text()
    (tmp_path / "package.xml").write_text(manifest.replace("<exec_depend>sensor_msgs</exec_depend>", ""))
    (tmp_path / "CITATION.cff").write_text("version: 9.9.9\n")
    (tmp_path / "CHANGELOG.rst").write_text(
        "^^^^^^^\nChanges\n^^^^^^^\n\n0.0.1 (2020-01-01)\n------------------\n* x\n"
    )
    package = tmp_path / "keytrack_ros"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "0.1.0"\n')
    (package / "node.py").write_text("from sensor_msgs.msg import Image\nimport numpy\n")
    monkeypatch.setattr(check, "ROOT", tmp_path)
    assert list(check.one_version()) == ["CITATION.cff has version 9.9.9, package.xml 0.1.0: make them equal"]
    assert list(check.changelog()) == [
        "CHANGELOG.rst has neither this version nor a section 'Forthcoming' with entries"
    ]
    assert list(check.manifest()) == [
        "keytrack_ros/node.py imports sensor_msgs: package.xml needs <exec_depend>sensor_msgs</exec_depend>"
    ]
