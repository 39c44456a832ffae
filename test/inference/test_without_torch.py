"""A robot's installation: without torch, onnx and Matplotlib the tracker on the CPU works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from test.conftest import REPOSITORY

PROGRAM = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx", "matplotlib", "tensorrt", "cuda"):
            raise ImportError(name + " is not installed")

sys.meta_path.insert(0, Missing())
sys.argv = ["keytrack", "track", {video!r}, "-o", {out!r}, "--models", {networks!r}, "--no-video"]
from keytrack_ros.cli import main
code = main()
assert not {{"torch", "onnx", "matplotlib"}} & set(sys.modules)
sys.exit(code)
"""


def test_the_tracker_works_without_torch(toy_networks: Path, tmp_path: Path) -> None:
    import cv2

    from test.toy import draw_frame

    (tmp_path / "frames").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), draw_frame([(200.0 + 3 * index, 200.0)]))
    program = PROGRAM.format(video=str(tmp_path / "frames"), out=str(tmp_path / "out"), networks=str(toy_networks))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "tracks.json").read_text().count('"track_id"') >= 3
