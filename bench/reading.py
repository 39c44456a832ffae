"""Frames a second of reading a video: `open_source` (PyAV) and OpenCV, in turns in one run, and whether pixels agree.

python bench/reading.py VIDEO [--rounds 3]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from keytrack_ros.media.sources import open_source


def by_opencv(video: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(video))
    while True:
        found, image = capture.read()
        if not found:
            return
        yield image


def by_source(video: Path) -> Iterator[np.ndarray]:
    with open_source(video) as source:
        for frame in source:
            yield frame.image_bgr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    readers = {"OpenCV": by_opencv, "open_source": by_source}
    for number in range(options.rounds):
        for name, read in readers.items():
            begin = time.perf_counter()
            frames = sum(1 for _ in read(options.video))
            print(f"round {number + 1}: {name:12s} {frames} frames, {frames / (time.perf_counter() - begin):.0f} fps")
    pairs = zip(by_opencv(options.video), by_source(options.video), strict=True)
    largest = max(int(np.abs(a.astype(np.int16) - b).max()) for a, b in pairs)
    print(f"largest difference of a pixel: {largest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
