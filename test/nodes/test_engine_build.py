"""The node builds missing TensorRT engines only when it may, and works on meanwhile."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from test.nodes.camera import Camera, ids_by_place
from test.nodes.graph import Graph

PLACES = [(150.0, 200.0), (400.0, 300.0)]

# Python runs this before the node: stand-ins for TensorRT, CUDA and the driver, and builds that wait for a file.
STAND_INS = """
import sys, time
from pathlib import Path

from keytrack_ros.inference import gpu
from test.inference import stand_in_cuda, stand_in_tensorrt

def wait():
    while not Path({go!r}).exists():
        time.sleep(0.02)

stand_in_tensorrt.during_build = wait
sys.modules["tensorrt"] = stand_in_tensorrt
sys.modules["cuda.bindings.runtime"] = stand_in_cuda
gpu.DRIVER = "libc.so.6"
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that builds wait for; the node's machine has a GPU and no engines."""
    file = tmp_path / "go"
    (tmp_path / "sitecustomize.py").write_text(STAND_INS.format(go=str(file)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return file


def test_while_engines_are_built_the_node_tracks_and_answers(graph: Graph, toy_models: Path, go: Path) -> None:
    parameters = {
        "inference.models": toy_models,
        "inference.allow_engine_build": True,
        "inference.precision": "fp32",
        "tracker.gating": False,  # the matching network is asked about every frame
    }
    process = graph.start("tracker", parameters)
    assert graph.state() == "active"
    camera = Camera(graph)
    first = camera.show(PLACES)
    assert graph.set_parameter("toks.dilation", 1.4).successful
    assert graph.get_parameter("toks.dilation") == 1.4
    graph.spin_until(lambda: "engine of toy_detector.onnx; this takes minutes" in process.log)
    assert "toy_pose.onnx runs on ONNX Runtime" in process.log
    assert "from now on" not in process.log

    go.touch()
    for network in ("toy_detector", "toy_pose", "pose_entailment"):
        changed = re.compile(rf"{network}\.onnx runs on TensorRT .* from now on")
        graph.spin_until(lambda changed=changed: camera.show(PLACES) and changed.search(process.log))  # type: ignore[misc]
    later = camera.show(PLACES)
    assert ids_by_place(later) == ids_by_place(first)
    for before, after in zip(first.poses, later.poses, strict=True):
        for a, b in zip(before.keypoints, after.keypoints, strict=True):
            np.testing.assert_allclose([a.x, a.y], [b.x, b.y], atol=0.5)
    assert graph.change_state("deactivate")
    assert graph.change_state("cleanup")
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_by_default_nothing_is_built_and_the_log_says_how(graph: Graph, toy_models: Path, go: Path) -> None:
    process = graph.start("tracker", {"inference.models": toy_models})
    assert len(Camera(graph).show(PLACES).poses) == 2
    assert process.log.count("`keytrack build-engines` makes it") >= 2
    assert "this takes minutes" not in process.log
    assert not (go.parent / "cache" / "keytrack_ros" / "engines").exists()
