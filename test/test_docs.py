"""Documents that state what the code does agree with the code."""

from __future__ import annotations

import importlib.util
import re

import pytest

from test.conftest import REPOSITORY

pytest.importorskip("rclpy", reason="rclpy is not installed; the options of the nodes cannot be read")


def test_parameter_reference_is_that_of_the_code():
    spec = importlib.util.spec_from_file_location("write_reference", REPOSITORY / "scripts" / "write_reference.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.DOCUMENT.read_text(encoding="utf-8") == script.document(), "run scripts/write_reference.py"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs"])
def test_links_between_documents_lead_somewhere(document):
    path = REPOSITORY / document
    for file in [path] if path.is_file() else sorted(path.rglob("*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", file.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (file.parent / target).exists(), f"{file.relative_to(REPOSITORY)} links to {target}"


def test_every_shipped_network_has_a_card():
    cards = (REPOSITORY / "docs" / "models" / "README.md").read_text(encoding="utf-8")
    for network in sorted((REPOSITORY / "keytrack_ros" / "models").glob("*.onnx")):
        name = network.stem.removesuffix("_int8")
        assert (REPOSITORY / "docs" / "models" / f"{name}.md").is_file(), f"{name} has no card"
        assert f"({name}.md)" in cards, f"docs/models/README.md does not link the card of {name}"
