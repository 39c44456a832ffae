"""ONNX Runtime reports to Microsoft by default from version 1.29 on; here nothing may look up a name in the network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from test.conftest import REPOSITORY

TRACK = """
import numpy as np
from keytrack_ros.pipeline import Pipeline
pipeline = Pipeline.from_options()
pipeline.process(np.zeros((96, 128, 3), np.uint8), 0.0)
pipeline.close()
print("tracked")
"""


def environment(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ORT_")}
    return kept | {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def test_a_tracker_looks_up_no_name_and_leaves_no_files(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed; it shows what a process sends into the network")
    trace = tmp_path / "trace.txt"
    command = [strace, "-f", "-s", "200", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace)]
    done = subprocess.run(
        [*command, sys.executable, "-c", TRACK], capture_output=True, text=True, env=environment(tmp_path), check=False
    )
    if "ptrace" in done.stderr or "PTRACE" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.splitlines()[0]}")
    assert done.stdout.strip() == "tracked", done.stderr
    calls = [
        line for line in trace.read_text(errors="replace").splitlines() if "AF_INET" in line or "microsoft" in line
    ]
    assert calls == []
    assert list(tmp_path.rglob("*icrosoft*")) == []


@pytest.mark.parametrize("module", ["keytrack_ros.inference.session", "keytrack_ros.cli.app", "keytrack_ros.pipeline"])
def test_it_is_off_before_onnxruntime_is_imported(tmp_path: Path, module: str) -> None:
    code = (
        "import builtins, os, sys\n"
        "real = builtins.__import__\n"
        "def spy(name, *rest):\n"
        "    if name.split('.')[0] == 'onnxruntime':\n"
        "        assert os.environ.get('ORT_DISABLE_TELEMETRY') == '1'\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = spy\n"
        f"import {module}\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(tmp_path), cwd=REPOSITORY, check=False
    )
    assert done.stdout.strip() == "1", done.stderr
