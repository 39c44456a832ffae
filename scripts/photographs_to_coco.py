"""Photographs without people out of Debian packages, as a source of background for the detector.

    for name in gcompris-qt-data lomiri-wallpapers lomiri-wallpapers-16.04 mate-backgrounds \\
        plasma-workspace-wallpapers stellarium-data ukui-wallpapers; do
        apt-get download $name && dpkg-deb -x ${name}_*.deb PACKAGES/$name
    done
    python scripts/photographs_to_coco.py PACKAGES OUT

Writes OUT/images/things/*.jpg, 800 pixels at most, and OUT/annotations/things_train.json. The packages are those of
Debian 12. The list beside the detector's card names the photographs, which were looked at: buildings, trees, animals,
tools, landscapes. `FILE@OFFSET` is an image inside another file, from that byte on (Qt's .rcc).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

LIST = Path(__file__).parents[1] / "docs/models/person_detector_photographs.txt"
LONGEST_SIDE = 800


def main(
    packages: Annotated[Path, typer.Argument(help="folder with a folder for each unpacked package")],
    out: Annotated[Path, typer.Argument(help="data folder of the detector's training")],
    photographs: Annotated[Path, typer.Option("--list", help="lines PACKAGE FILE or PACKAGE FILE@OFFSET")] = LIST,
) -> None:
    """Copies the photographs of the list."""
    folder = out / "images/things"
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    for number, line in enumerate(photographs.read_text().splitlines(), 1):
        package, _, member = line.partition(" ")
        name, _, offset = member.partition("@")
        pixels = reduced(read(packages / package / name, int(offset or 0)))
        height, width = pixels.shape[:2]
        file = folder / f"{number:04d}.jpg"
        cv2.imwrite(str(file), pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
        images.append({"id": number, "file_name": f"things/{file.name}", "width": width, "height": height})
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    annotations = out / "annotations/things_train.json"
    annotations.parent.mkdir(parents=True, exist_ok=True)
    annotations.write_text(json.dumps(content))
    typer.echo(f"{annotations}: {len(images)} images without people")


def read(file: Path, offset: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The image that begins at a byte of a file, BGR. Ends the script where there is none."""
    if not file.is_file():
        raise SystemExit(f"{file}: not there; unpack the package into {file.parents[0]} as the script's head shows")
    data = file.read_bytes()[offset:]
    if data[:4] == b"RIFF":  # WebP says how long it is; the others are read to their end
        data = data[: int.from_bytes(data[4:8], "little") + 8]
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise SystemExit(f"{file}: no image at byte {offset}; the package is of another version than the list's")
    return np.asarray(pixels, np.uint8)


def reduced(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """With the longest side at most `LONGEST_SIDE`."""
    scale = min(1.0, LONGEST_SIDE / max(pixels.shape[:2]))
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    typer.run(main)
