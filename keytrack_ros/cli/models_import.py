"""`keytrack models import` and `export`: checkpoints and foreign ONNX files become networks with a name, and back."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import InputError, ModelError, OptionError
from keytrack_ros.estimation.crops import crop_image, crop_transforms
from keytrack_ros.inference.cards import Figure, ImageInput, PoseCard, file_sha256, write_card
from keytrack_ros.inference.download import check_sha256
from keytrack_ros.inference.images import network_input
from keytrack_ros.inference.published import PUBLISHED, PublishedNetwork
from keytrack_ros.inference.registry import AUTO, PACKAGE_MODELS, cache_folder, find_model, model_folders
from keytrack_ros.inference.session import OnnxSession
from keytrack_ros.media.files import require_free
from keytrack_ros.poses import FloatArray

INPUT, OUTPUT = "input", "heatmaps"
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet, RGB 0..255: what HRNet was trained with."""

_DEFAULT_SIZE = (192, 256)
_STEP = 32  # HRNet halves its input five times
_SETS_BY_OUTPUTS = {15: "posetrack15", 16: "mpii16"}


@dataclass(frozen=True)
class ImportRequest:
    """What to import.

    Attributes:
        file: checkpoint (.pth, .pt) or .onnx.
        name: by which options name the network afterwards.
        joints: name of a joint set, or joints separated by commas, or "" where it can be told from the file.
        size: width and height of the crop, or None where it can be told from the file.
        decoder: see `PoseCard`; "" for the publisher's, or `quarter`.
        licence: terms of the weights, or "" for the publisher's.
        half: whether the weights are stored as FP16.
        image: an image on whose crops the network is compared with torch, beside random input.
        overwrite: whether a network with that name may be replaced.
    """

    file: Path
    name: str
    joints: str = ""
    size: tuple[int, int] | None = None
    decoder: str = ""
    licence: str = ""
    half: bool = False
    image: Path | None = None
    overwrite: bool = False


def import_network(request: ImportRequest) -> PoseCard:
    """Checks the file and keeps it in the user's cache as a pose network; returns its model file, `path` set.

    Raises:
        OptionError: the name, size or joints are not such.
        ModelError: the file is not what it should be, or what is needed cannot be told from it.
        OutputError: there is a network with that name already.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", request.name) or request.name == AUTO:
        raise OptionError(f"--as {request.name}: a name of letters, digits, '_', '.' and '-' is needed, not '{AUTO}'")
    if (PACKAGE_MODELS / f"{request.name}.yaml").exists():
        raise OptionError(f"--as {request.name}: a network of the package has that name; take another")
    folder = cache_folder()
    require_free(folder / f"{request.name}.yaml", overwrite=request.overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    # Made aside, in the same file system, so that a network is there whole or not at all.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".import-") as aside:
        new = Path(aside)
        card = (_from_onnx if request.file.suffix == ".onnx" else _from_checkpoint)(request, new)
        kept = folder / card.weights
        if card.weights and not (kept.exists() and kept.samefile(request.file)):
            shutil.copyfile(request.file, new / card.weights)
            (new / card.weights).replace(kept)
        for file in (new / card.file, new / f"{card.name}.yaml"):
            file.replace(folder / file.name)
    return replace(card, path=folder / card.file)


def export_network(
    name: str,
    onnx_file: Path,
    size: tuple[int, int] | None = None,
    half: bool = False,
    image: Path | None = None,
    folders: Sequence[Path] = (),
    overwrite: bool = False,
) -> PoseCard:
    """Writes the pose network `name` as an ONNX file with its model file beside it, from its torch weights.

    Args:
        name: of a pose network.
        onnx_file: where to; the model file gets the same name with .yaml.
        size: width and height of the crop; None keeps the network's.
        half: whether the weights are stored as FP16.
        image: an image on whose crops the graph is compared with torch, beside random input.
        folders: searched for the network before all others.
        overwrite: whether files may be replaced.

    Raises:
        ModelError: there are no torch weights of it, or the graph computes something else than they do.
        OutputError: the files are there already.
    """
    card = find_model(PoseCard, name, folders)
    places = [folder / card.weights for folder in (card.path.parent, *model_folders(folders))]
    weights = next((place for place in places if card.weights and place.is_file()), None)
    if weights is None:
        raise ModelError(
            f"{name}: its torch weights are not kept{f' ({card.weights})' if card.weights else ''}; "
            f"the network itself is {card.path}"
        )
    if onnx_file.suffix != ".onnx":
        raise OptionError(f"--onnx {onnx_file}: a name that ends in .onnx is needed")
    for file in (onnx_file, onnx_file.with_suffix(".yaml")):
        require_free(file, overwrite=overwrite)
    onnx_file.parent.mkdir(parents=True, exist_ok=True)
    card = replace(card, name=onnx_file.stem, file=onnx_file.name, weights="")
    card = replace(card, input=replace(card.input, size=size or card.input.size))
    return _export(weights, card, onnx_file.parent, half, image)


def parse_size(text: str) -> tuple[int, int]:
    """WxH → width, height. Raises OptionError for anything else."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise OptionError(f"--size {text}: width x height is needed, such as 192x256")
    return int(match[1]), int(match[2])


def _from_checkpoint(request: ImportRequest, folder: Path) -> PoseCard:
    require_torch(f"to make a network of {request.file}")
    from keytrack_ros.estimation.checkpoints import load_hrnet

    known = next((network for network in PUBLISHED.values() if network.file == request.file.name), None)
    if known is not None:
        check_sha256(request.file, known.sha256, known.name)
    loaded = load_hrnet(request.file)
    joints = _joints(request, loaded.outputs, known)
    figures: dict[str, Figure] = {"architecture": f"HRNet {loaded.variant}"}
    if known is not None:
        figures["published accuracy"] = known.accuracy
    card = PoseCard(
        name=request.name,
        file=f"{request.name}.onnx",
        licence=request.licence or (known.licence if known else ""),
        source=f"{request.file.name}, SHA-256 {file_sha256(request.file)}{f', {known.page}' if known else ''}",
        auto=False,
        weights=_name_in_cache(request),
        figures=figures,
        input=ImageInput(INPUT, request.size or _size(request.file, known), "rgb", MEAN, STD),
        output=OUTPUT,
        joints=joints,
        decoder=request.decoder or (known.decoder if known else "quarter"),
    )
    return _export(request.file, card, folder, request.half, request.image)


def _from_onnx(request: ImportRequest, folder: Path) -> PoseCard:
    session = OnnxSession(request.file)
    inputs = dict(session.input_shapes)
    images = [(name, shape) for name, shape in inputs.items() if len(shape) == 4 and shape[1] in (3, None)]
    if len(inputs) != 1 or len(images) != 1:
        raise ModelError(f"{request.file}: inputs are {inputs}; a pose network has one, [N, 3, height, width]")
    name, (batch, _, height, width) = images[0]
    size = request.size or ((width, height) if width and height else None)
    if size is None:
        raise ModelError(f"{request.file}: takes images of any size; say with --size WxH which it was made for")
    if (width or size[0], height or size[1]) != size:
        raise ModelError(f"{request.file}: takes images of {width}x{height}, not of {size[0]}x{size[1]}")
    if not request.joints:
        raise ModelError(f"{request.file}: which joint each output shows cannot be seen from the file; add --joints")
    joints = _named_joints(request.joints)
    outputs = session.run({name: np.zeros((batch or 1, 3, size[1], size[0]), np.float32)})
    shapes = {key: value.shape for key, value in outputs.items()}
    simcc = _simcc_outputs(shapes, len(joints), size)
    fitting = [key for key, shape in shapes.items() if len(shape) == 4 and shape[1] == len(joints)]
    if simcc and request.decoder:
        raise ModelError(f"{request.file}: has SimCC's outputs {' and '.join(simcc)}; --decoder is for heatmaps")
    if not simcc and len(fitting) != 1:
        raise ModelError(
            f"{request.file}: outputs are {shapes}; one of [N, {len(joints)}, h, w] is needed, or SimCC's two of "
            f"[N, {len(joints)}, columns] and [N, {len(joints)}, rows]"
        )
    output, output_y = simcc or (fitting[0], "")
    card = PoseCard(
        name=request.name,
        file=f"{request.name}.onnx",
        sha256=file_sha256(request.file),
        licence=request.licence,
        source=request.file.name,
        auto=False,
        input=ImageInput(name, size, "rgb", MEAN, STD),
        output=output,
        output_y=output_y,
        joints=joints,
        decoder="simcc" if simcc else request.decoder or "quarter",
    )
    shutil.copyfile(request.file, folder / card.file)
    write_card(card, folder / f"{card.name}.yaml")
    return card


def _simcc_outputs(shapes: Mapping[str, tuple[int, ...]], joints: int, size: tuple[int, int]) -> tuple[str, str] | None:
    """Names of SimCC's outputs over columns and over rows: as many of both for each pixel of the crop."""
    bins = {key: shape[2] for key, shape in sorted(shapes.items()) if len(shape) == 3 and shape[1] == joints}
    for x, y in permutations(bins, 2):  # of a square crop, the first by name is x
        if bins[x] * size[1] == bins[y] * size[0]:
            return x, y
    return None


def _export(weights: Path, card: PoseCard, folder: Path, half: bool, image: Path | None) -> PoseCard:
    """Writes the card's ONNX file and model file into `folder`; returns the card with hash and figures."""
    require_torch(f"to export {card.name}")
    from keytrack_ros.estimation.checkpoints import load_hrnet
    from keytrack_ros.training.common.export import export_onnx

    width, height = card.input.size
    if width % _STEP or height % _STEP or not width or not height:
        raise OptionError(f"--size {width}x{height}: HRNet needs multiples of {_STEP}")
    samples = [] if image is None else [_crops(image, card)]
    network = load_hrnet(weights).network
    export_onnx(
        network, folder / card.file, card.input.name, (3, height, width), card.output, 16 if half else 32, samples
    )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    card = replace(
        card,
        sha256=file_sha256(folder / card.file),
        figures={**card.figures, "parameters": parameters, "stored as": "FP16" if half else "FP32"},
        path=folder / card.file,
    )
    write_card(card, folder / f"{card.name}.yaml")
    return card


def _crops(file: Path, card: PoseCard) -> FloatArray:
    """Crops of the whole image and of its quarters, as the estimator cuts them."""
    read = cv2.imread(str(file))
    if read is None:
        raise InputError(f"{file}: cannot be read as an image")
    image = np.asarray(read, np.uint8)
    height, width = image.shape[:2]
    corners = [(x, y) for x in (0, width / 2) for y in (0, height / 2)]
    boxes = np.array([(0, 0, width, height), *((x, y, x + width / 2, y + height / 2) for x, y in corners)])
    size = card.input.size
    return network_input(crop_image(image, crop_transforms(boxes, size, card.padding), size), card.input)


def _joints(request: ImportRequest, outputs: int, known: PublishedNetwork | None) -> tuple[str, ...]:
    """Joints of the outputs: as asked for, as published, or as number and file name tell."""
    text = request.name.lower() + request.file.name.lower()
    told = "posetrack17" if "posetrack" in text else "coco17" if "coco" in text else ""
    by_count = told if outputs == 17 else _SETS_BY_OUTPUTS.get(outputs, "")
    chosen = request.joints or (known.joints if known else by_count)
    if not chosen:
        raise ModelError(
            f"{request.file}: what its {outputs} outputs show cannot be told from its name; add --joints coco17, "
            "posetrack17, or the joints separated by commas"
        )
    joints = _named_joints(chosen)
    if len(joints) != outputs:
        raise ModelError(f"{request.file}: has {outputs} outputs, but --joints {chosen} are {len(joints)}")
    return joints


def _named_joints(text: str) -> tuple[str, ...]:
    if text in skeleton.JOINT_SETS:
        return skeleton.JOINT_SETS[text]
    joints = tuple(joint.strip() for joint in text.split(","))
    if len(joints) == 1:
        raise OptionError(f"--joints {text}: none of {', '.join(skeleton.JOINT_SETS)}, and no list of joints")
    skeleton.channels_of(joints)
    return joints


def _name_in_cache(request: ImportRequest) -> str:
    """A fetched file keeps its name, another gets the network's."""
    in_cache = request.file.resolve().parent == cache_folder().resolve()
    return request.file.name if in_cache else f"{request.name}{request.file.suffix}"


def _size(file: Path, known: PublishedNetwork | None) -> tuple[int, int]:
    """As published, or as the file's name says (height x width), or that of the smaller published networks."""
    if known is not None:
        return known.size
    match = re.search(r"(\d{2,3})x(\d{2,3})", file.name)
    return (int(match[2]), int(match[1])) if match else _DEFAULT_SIZE


def require_torch(purpose: str) -> None:
    """Raises ModelError if torch or onnx is not installed."""
    missing = [package for package in ("torch", "onnx") if find_spec(package) is None]
    if missing:
        raise ModelError(f"{purpose}, {' and '.join(missing)} must be installed: pip install {' '.join(missing)}")
