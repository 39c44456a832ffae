"""`keytrack models quantize`: the INT8 network for CPUs with VNNI or AMX, made from an FP32 one and sample images."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np

from keytrack_ros.cli.calibration import Batch, calibration_batches, read_images
from keytrack_ros.detection import DetectorOptions
from keytrack_ros.errors import ModelError, OptionError
from keytrack_ros.inference.cards import DetectorCard, MatcherCard, ModelCard, PoseCard, file_sha256, write_card
from keytrack_ros.inference.int8 import int8_name
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.quantization import CPU, output_nodes, quantize
from keytrack_ros.inference.registry import PACKAGE_MODELS, cache_folder, cards_in, find_model, model_folders
from keytrack_ros.inference.session import OnnxSession
from keytrack_ros.media.files import require_free

MAX_SAMPLES = 300
MAX_DIFFERENCE = 0.25
"""Error of the INT8 outputs, as a part of the FP32 outputs' norm, above which the network is not kept."""


@dataclass(frozen=True)
class QuantizeRequest:
    """What to quantise; see `keytrack models quantize --help`."""

    name: str
    images: str
    folders: Sequence[Path] = ()
    out: Path | None = None
    all_layers: bool = False
    detector: str = "auto"
    overwrite: bool = False


@dataclass(frozen=True)
class Quantized:
    """The result.

    Attributes:
        card: of the INT8 network, with `path` set.
        samples: inputs that it was calibrated on.
        difference: root mean square difference from FP32 on other inputs, as a part of the FP32 outputs' norm.
    """

    card: ModelCard
    samples: int
    difference: float


def quantize_network(request: QuantizeRequest) -> Quantized:
    """Calibrates, writes the INT8 network with its model file, and compares it with FP32 on inputs kept for that.

    Raises:
        OptionError: it is a matcher, or already INT8.
        DataError: too few frames or people in the images.
        ModelError: there is no such network, it cannot be quantised, or INT8 changes its outputs too much.
        OutputError: the files exist, or cannot be written.
    """
    card = _card(request)
    folder = request.out or (cache_folder() if card.path.parent == PACKAGE_MODELS else card.path.parent)
    name = int8_name(card.name)
    file, model_file = folder / f"{name}.onnx", folder / f"{name}.yaml"
    for target in (file, model_file):
        require_free(target, overwrite=request.overwrite)
    inference = InferenceOptions(models=":".join(map(str, request.folders)), device="cpu", precision="fp32")
    images = read_images(request.images, MAX_SAMPLES)
    batches = calibration_batches(card, images, DetectorOptions(model=request.detector), inference)
    batches = batches[:: ceil(len(batches) / MAX_SAMPLES)]
    held_back = batches[::10]
    used = [batch for index, batch in enumerate(batches) if index % 10]
    graph = quantize(card.path, used, CPU, () if request.all_layers else output_nodes(card.path))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".quantize-") as aside:
        new = Path(aside) / file.name
        new.write_bytes(graph)
        difference = _difference(card, new, held_back)
        if not difference <= MAX_DIFFERENCE:
            raise ModelError(
                f"{card.name}: INT8 changes its outputs by {difference:.0%} of their norm, more than "
                f"{MAX_DIFFERENCE:.0%}; it was not kept; calibrate on images like those of your camera, or use FP32"
            )
        result = replace(
            card,
            name=name,
            file=file.name,
            sha256=file_sha256(new),
            fp32_sha256=file_sha256(card.path),
            source=f"keytrack models quantize {card.name}, calibrated on {len(used)} inputs",
            auto=False,
            weights="",
            figures={},
            path=file,
        )
        write_card(result, Path(aside) / model_file.name)
        new.replace(file)
        (Path(aside) / model_file.name).replace(model_file)
    return Quantized(result, len(used), difference)


def _card(request: QuantizeRequest) -> DetectorCard | PoseCard:
    for known in cards_in(model_folders(request.folders)):
        if known.name != request.name:
            continue
        if isinstance(known, MatcherCard):
            raise OptionError(f"{known.name} is a matcher; matchers stay FP32, since their scores decide identities")
        if isinstance(known, DetectorCard) and known.decoder != "yolox":
            raise OptionError(f"{known.name} has NMS in its graph; only detectors with decoder yolox can be quantised")
        if known.fp32_sha256:
            raise OptionError(f"{known.name} is an INT8 network already; name the FP32 one")
        return find_model(type(known), known.name, request.folders)  # type: ignore[return-value]
    raise ModelError(f"there is no network '{request.name}'; `keytrack models list` shows all")


def _difference(card: DetectorCard | PoseCard, int8: Path, batches: Sequence[Batch]) -> float:
    sessions = OnnxSession(card.path), OnnxSession(int8)
    squares = norm = 0.0
    for batch in batches:
        exact, rounded = (np.asarray(session.run(batch)[card.output], np.float64) for session in sessions)
        squares += float(np.square(rounded - exact).sum())
        norm += float(np.square(exact).sum())
    return float(np.sqrt(squares / norm)) if norm > 0 else float("inf")
