"""`scripts/photographs_to_coco.py` on a package of our own."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from keytrack_ros.annotations.image_labels import TRAIN, read_sources

SCRIPT = Path(__file__).parents[3] / "scripts/photographs_to_coco.py"


def encoded(suffix: str, height: int, width: int) -> bytes:
    pixels = np.full((height, width, 3), (10, 120, 230), np.uint8)
    return bytes(cv2.imencode(suffix, pixels)[1])


def run(tmp_path: Path, lines: list[str]) -> subprocess.CompletedProcess[str]:
    (tmp_path / "list.txt").write_text("".join(f"{line}\n" for line in lines))
    command = [sys.executable, SCRIPT, tmp_path / "packages", tmp_path / "out", "--list", tmp_path / "list.txt"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_photographs_of_packages_become_a_source_without_people(tmp_path: Path) -> None:
    folder = tmp_path / "packages/wallpapers/usr/share"
    folder.mkdir(parents=True)
    (folder / "hill.png").write_bytes(encoded(".png", 400, 1600))
    inside = b"qres" * 5 + encoded(".webp", 90, 60) + b"the next file"
    (folder / "all.rcc").write_bytes(inside)
    result = run(tmp_path, ["wallpapers usr/share/hill.png", "wallpapers usr/share/all.rcc@20"])
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("things_train.json: 2 images without people")
    train = next(source for source in read_sources(tmp_path / "out") if source.part == TRAIN)
    assert (train.name, len(train.images)) == ("things", 2)
    assert [image.size for image in train.images] == [(800, 200), (60, 90)]
    for image in train.images:
        assert len(image.boxes) == 0
        assert cv2.imread(str(image.file)).shape[1::-1] == image.size


def test_what_a_package_lacks_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "packages/wallpapers"
    folder.mkdir(parents=True)
    (folder / "text.png").write_bytes(b"not an image")
    for line, says in (
        ("wallpapers none.png", "none.png: not there; unpack the package into"),
        ("wallpapers text.png@3", "text.png: no image at byte 3; the package is of another version"),
    ):
        result = run(tmp_path, [line])
        assert result.returncode == 1
        assert says in result.stderr
        assert "Traceback" not in result.stderr
