"""Documents that state what the code does agree with the code."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from test.conftest import REPOSITORY

pytest.importorskip("rclpy", reason="rclpy is not installed; the options of the nodes cannot be read")


def test_reference_is_that_of_the_code():
    spec = importlib.util.spec_from_file_location("write_reference", REPOSITORY / "scripts" / "write_reference.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for path, text in script.documents().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is not what the code says; run `make reference`"


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


@pytest.mark.parametrize("document", ["docs/tutorials/matcher.md"])
def test_python_examples_run(document):
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(example, document, "exec"), {})  # an assert stands in the example itself


def test_site_builds_without_warnings(tmp_path):
    # --strict makes every warning an error: broken links, pages outside the navigation, unknown names in the API pages.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "reference" / "python.html").read_text(encoding="utf-8")
    assert "PoseTracker" in page
    fetched = re.findall(r"<(?:script|link)[^>]+(?:src|href)=\"(https?://[^\"]+)", page)
    assert not fetched, f"the site loads {fetched} from another host"
