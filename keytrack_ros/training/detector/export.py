"""From a trained detector to the files that a tracker loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from keytrack_ros.detection.nano import STRIDES, NanoDetector
from keytrack_ros.inference.cards import DetectorCard, ImageInput, file_sha256, write_card
from keytrack_ros.training.common.export import NO_LICENCE, export_onnx
from keytrack_ros.training.detector.samples import FILL, INPUT_MEAN, INPUT_STD

SOURCE = "keytrack train detector"


def export_detector(
    network: NanoDetector,
    folder: Path,
    size: tuple[int, int],
    name: str = "person_detector",
    licence: str = NO_LICENCE,
    weight_bits: int = 16,
) -> list[Path]:
    """Writes NAME.onnx and NAME.yaml; the graph is compared with torch first.

    The input may have any size; `size` (width, height) is the one that decides its number of pixels. `weight_bits`: see
    `export_onnx`.

    Returns the two paths. Raises ModelError if the graph computes something else than the network.
    """
    onnx_file, card_file = folder / f"{name}.onnx", folder / f"{name}.yaml"
    card = DetectorCard(
        name=name,
        file=onnx_file.name,
        licence=licence,
        source=SOURCE,
        input=ImageInput("image", size, "rgb", (INPUT_MEAN,) * 3, (INPUT_STD,) * 3, free_size=True),
        output="rows",
        strides=STRIDES,
        fill=FILL,
    )
    wide = np.random.default_rng(0).normal(size=(1, 3, 96, 160)).astype(np.float32)
    shape = (3, size[1], size[0])
    export_onnx(network, onnx_file, card.input.name, shape, card.output, weight_bits, [wide], free_size=True)
    write_card(replace(card, sha256=file_sha256(onnx_file)), card_file)
    return [onnx_file, card_file]
