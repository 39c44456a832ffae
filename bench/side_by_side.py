"""Two annotated videos of the same frames beside each other, slowed down, to look at who keeps their id.

keytrack track vtest.avi -o one --config A.yaml
keytrack track vtest.avi -o other --config B.yaml
python bench/side_by_side.py one/tracks.mp4 other/tracks.mp4 both.mp4 --start 130 --frames 45
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from keytrack_ros.media.sources import open_source
from keytrack_ros.media.video_writer import VideoWriter
from keytrack_ros.poses import ImageArray


def titled(image: ImageArray, title: str, scale: float) -> ImageArray:
    """The image, scaled, below a line of text."""
    size = round(image.shape[1] * scale) // 2 * 2, round(image.shape[0] * scale) // 2 * 2
    picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    head = np.full((28, size[0], 3), 255, np.uint8)
    cv2.putText(head, title, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([head, np.asarray(picture, np.uint8)])


def main(
    left: Path,
    right: Path,
    out: Path,
    start: Annotated[int, typer.Option(help="first frame")] = 0,
    frames: Annotated[int, typer.Option(help="how many")] = 100,
    titles: Annotated[str, typer.Option(help="of both, separated by '|'")] = "before|after",
    fps: Annotated[float, typer.Option(help="frames a second of the result")] = 4.0,
    scale: Annotated[float, typer.Option(help="of each video")] = 0.75,
) -> None:
    """Writes OUT with LEFT and RIGHT side by side."""
    names = titles.split("|")
    with (
        open_source(str(left), start=start, frames=frames) as one,
        open_source(str(right), start=start, frames=frames) as other,
        VideoWriter(out, fps) as video,
    ):
        for number, pair in enumerate(zip(one, other, strict=True), start):
            halves = [
                titled(f.image_bgr, f"{name}, frame {number}", scale) for f, name in zip(pair, names, strict=True)
            ]
            video.write(np.concatenate(halves, 1))


if __name__ == "__main__":
    typer.run(main)
