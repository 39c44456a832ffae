"""Model files: a YAML file beside an ONNX file that describes the network's inputs and outputs.

HRNet or any other heatmap network, and any YOLOX-style detector, runs if a model file describes it.
docs/models/README.md explains the keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import yaml

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError


@dataclass(frozen=True)
class ImageInput:
    """Image → network input [N, 3, height, width]: (pixel − mean) / std on 0..255."""

    name: str
    size: tuple[int, int]
    """width, height in pixels"""
    color: str = "rgb"
    """rgb or bgr: order of the channels"""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """both in the order of `color`"""
    free_size: bool = False
    """detectors: the network takes any multiples of its largest stride, and `size` is what its cost is known for"""

    def __post_init__(self) -> None:
        if self.color not in ("rgb", "bgr"):
            raise ModelError(f"color '{self.color}' is neither rgb nor bgr")
        if len(self.size) != 2 or min(self.size) <= 0:
            raise ModelError(f"size {list(self.size)} is not [width, height] in pixels")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ModelError("mean and std need 3 numbers each, std positive")


Figure = str | int | float


@dataclass(frozen=True)
class ModelCard:
    """Keys of every model file.

    Attributes:
        name: by which options name the network.
        file: name of the ONNX file.
        sha256: hash of that file, or "" if it is not checked.
        licence: terms of the weights.
        source: origin of the weights.
        auto: whether it is a candidate when no name is given.
        weights: name of the torch checkpoint that the ONNX file was made from, in the same folder, or "".
        fp32_sha256: of an INT8 network the hash of the FP32 file that it was made from, "" otherwise.
        figures: parameters, accuracy and the like, by name, for people.
        path: where the ONNX file was found (not part of the YAML).
    """

    task: ClassVar[str]
    name: str
    file: str
    sha256: str = ""
    licence: str = ""
    source: str = ""
    auto: bool = True
    weights: str = ""
    fp32_sha256: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict, hash=False)
    path: Path = field(default=Path(), metadata={"yaml": False})

    @property
    def fingerprint(self) -> str:
        """First 12 hex digits of the file's SHA-256, as diagnostics show it."""
        return file_sha256(self.path)[:12]

    def verify(self) -> None:
        """Raises ModelError if the file's SHA-256 is not the one that the model file names."""
        found = file_sha256(self.path)
        if self.sha256 and found != self.sha256:
            raise ModelError(
                f"{self.path}: damaged or not {self.name}: SHA-256 is {found}, expected {self.sha256}; "
                "get the file again, or correct sha256 in its model file"
            )


@dataclass(frozen=True)
class DetectorCard(ModelCard):
    """A person detector.

    Attributes:
        input: the image is scaled to fit into its top left corner; the rest is filled with `fill`.
        output: name of the output, [1, cells, 5 + classes] for decoder `yolox`, [1, N, 5] for `end2end`.
        decoder: `yolox`: raw cx, cy, w, h per grid cell, then objectness and class scores (already sigmoid).
            `end2end`: x_min, y_min, x_max, y_max in network pixels and score, after NMS, as mmdeploy exports them.
        labels: of `end2end`, name of the output [1, N] with the class of each box; "" if all are people.
        strides: of the grids of `yolox`, in the order of the output's rows.
        person_class: which class is a person.
    """

    task: ClassVar[str] = "detection"
    input: ImageInput = None  # type: ignore[assignment]
    output: str = ""
    decoder: str = "yolox"
    labels: str = ""
    strides: tuple[int, ...] = (8, 16, 32)
    person_class: int = 0
    fill: int = 114

    DECODERS: ClassVar[tuple[str, ...]] = ("yolox", "end2end")

    def __post_init__(self) -> None:
        _require(self, "input", "output")
        _check_decoder(self.decoder, self.DECODERS)
        if self.input.free_size and self.decoder != "yolox":
            raise ModelError(f"input.free_size: decoder {self.decoder} has one size of input; yolox may have any")
        if self.input.free_size and any(side % max(self.strides) for side in self.input.size):
            raise ModelError(
                f"size {list(self.input.size)} is not in multiples of {max(self.strides)}, the last stride"
            )

    @property
    def input_sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of the smallest, the usual and the largest input; with `free_size` half to twice as long."""
        usual, multiple = self.input.size, max(self.strides)
        if not self.input.free_size:
            return usual, usual, usual
        half = -(-usual[0] // 2 // multiple) * multiple, -(-usual[1] // 2 // multiple) * multiple
        return half, usual, (2 * usual[0], 2 * usual[1])

    def input_size(self, image: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the network's input for images of that width and height.

        With `input.free_size` the size that shows the image largest, at no more pixels than `input.size` has: the
        network costs as much, and sees more of a wide image.
        """
        (least, _, most), multiple = self.input_sizes, max(self.strides)
        widths, heights = (range(low, high + 1, multiple) for low, high in zip(least, most, strict=True))
        pixels = self.input.size[0] * self.input.size[1]
        sizes = [(w, h) for w in widths for h in heights if w * h <= pixels]
        return max(sizes, key=lambda size: (min(size[0] / image[0], size[1] / image[1]), -size[0] * size[1]))


@dataclass(frozen=True)
class PoseCard(ModelCard):
    """A top-down pose network with one heatmap per joint, or SimCC's two distributions.

    Attributes:
        input: size of the crop; its aspect is the crop's aspect.
        output: name of the heatmaps, [N, joints, h, w], or of SimCC's distributions over columns, [N, joints, columns].
        output_y: of `simcc`, name of the distributions over rows, [N, joints, rows]; "" otherwise.
        joints: joint of each channel, by name, or the name of a known set (posetrack15, posetrack17, coco17, mpii16).
        padding: factor by which the box grows once it has the crop's aspect (HRNet: 1.25).
        decoder: `quarter`: maximum, moved by a quarter pixel towards the larger neighbour (HRNet, Simple Baselines);
            `dark`: top of the Gaussian fitted to the heatmap (Zhang et al., 2020); `argmax`: maximum alone; `simcc`:
            maxima of the two distributions (RTMPose).
        dark_kernel: side of the smoothing kernel of `dark`, heatmap pixels, odd; 11 fits targets with σ = 2, 17 σ = 3.
        blur_sigma: Gaussian smoothing of the heatmap before the maximum, heatmap pixels; 0 = none.
        offset: position of a heatmap pixel's value: 0 at its corner (HRNet's convention), 0.5 at its centre.
        flip_shift: heatmap pixels by which the mirrored-back map is moved right in the flip test (HRNet: 1).
    """

    task: ClassVar[str] = "pose"
    input: ImageInput = None  # type: ignore[assignment]
    output: str = ""
    output_y: str = ""
    joints: tuple[str, ...] = ()
    padding: float = 1.25
    decoder: str = "quarter"
    dark_kernel: int = 11
    blur_sigma: float = 0.0
    offset: float = 0.0
    flip_shift: int = 1

    DECODERS: ClassVar[tuple[str, ...]] = ("quarter", "dark", "argmax", "simcc")

    def __post_init__(self) -> None:
        _require(self, "input", "output", "joints")
        if self.input.free_size:
            raise ModelError("input.free_size: only detectors may have it; a pose network's crops have one size")
        _check_decoder(self.decoder, self.DECODERS)
        if (self.decoder == "simcc") != bool(self.output_y):
            raise ModelError("output_y is needed by decoder simcc, and by no other")
        if self.padding < 1 or self.blur_sigma < 0:
            raise ModelError("padding must be at least 1 and blur_sigma at least 0")
        if self.dark_kernel < 3 or self.dark_kernel % 2 == 0:
            raise ModelError(f"dark_kernel {self.dark_kernel} is not an odd number of at least 3")
        skeleton.channels_of(self.joints)


@dataclass(frozen=True)
class MatcherCard(ModelCard):
    """A network that scores whether poses are of one person.

    Attributes:
        input: `pairs`: two poses, as in the paper; the other attributes are for this one. `tracks`: a pose and a track.
        grid: columns and rows of the position tokens (paper: 24, 18).
        memory_frames: δ that it was trained for.
        segments: `distinct` (current and t−1 … t−δ have δ + 1 rows) or `paper` (δ rows).
    """

    task: ClassVar[str] = "matching"
    input: str = "pairs"
    grid: tuple[int, int] = (24, 18)
    memory_frames: int = 4
    segments: str = "distinct"

    def __post_init__(self) -> None:
        if self.segments not in ("distinct", "paper"):
            raise ModelError(f"segments '{self.segments}' is neither distinct nor paper")
        if self.input not in ("pairs", "tracks"):
            raise ModelError(f"input '{self.input}' is neither pairs nor tracks")


CARD_TYPES: dict[str, type[ModelCard]] = {card.task: card for card in (DetectorCard, PoseCard, MatcherCard)}


def load_card(path: Path) -> ModelCard:
    """Reads a model file; `path` of the result is not set yet.

    Raises ModelError that names the file and the key for anything unknown, missing or of the wrong type.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path}: a model file is a YAML mapping")
    task = content.pop("task", None)
    if task not in CARD_TYPES:
        raise ModelError(f"{path}: task '{task}' is none of {', '.join(CARD_TYPES)}")
    joints = content.get("joints")
    if isinstance(joints, str):
        if joints not in skeleton.JOINT_SETS:
            raise ModelError(f"{path}: joint set '{joints}' is none of {', '.join(skeleton.JOINT_SETS)}")
        content["joints"] = list(skeleton.JOINT_SETS[joints])
    try:
        card: ModelCard = _build(CARD_TYPES[task], content)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return card


def write_card(card: ModelCard, file: Path) -> None:
    """Writes a model file that `load_card` reads back as `card`; empty values are left out."""
    content: dict[str, Any] = {"name": card.name, "task": card.task}
    values = asdict(card)
    for item in fields(card):
        if item.metadata.get("yaml", True) and item.name != "name" and values[item.name] not in ("", {}):
            content[item.name] = _plain(values[item.name])
    if isinstance(card, MatcherCard) and card.input == "tracks":
        for key in ("grid", "memory_frames", "segments"):  # of pairs only
            del content[key]
    if isinstance(card, PoseCard):
        sets = [name for name, joints in skeleton.JOINT_SETS.items() if joints == card.joints]
        content["joints"] = sets[0] if sets else list(card.joints)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    file.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _build(kind: type[Any], content: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind) if f.metadata.get("yaml", True)}
    for key in content:
        if key not in known:
            raise ModelError(f"unknown key '{key}'; known are {', '.join(known)}")
    for key, item in known.items():
        if key not in content and item.default is MISSING and item.default_factory is MISSING:
            raise ModelError(f"key '{key}' is missing")
    return kind(**{key: _value(hints[key], value, key) for key, value in content.items()})


def _value(kind: Any, value: Any, key: str) -> Any:
    if kind is ImageInput:
        if not isinstance(value, dict):
            raise ModelError(f"{key}: a mapping is needed")
        return _build(ImageInput, value)
    if key == "figures":
        if not isinstance(value, dict) or not all(isinstance(v, Figure) for v in value.values()):
            raise ModelError("figures: a mapping of names to numbers or texts is needed")
        return {str(name): figure for name, figure in value.items()}
    arguments = getattr(kind, "__args__", None)
    if arguments:  # a tuple
        if not isinstance(value, list):
            raise ModelError(f"{key}: a list is needed")
        return tuple(_value(arguments[0], v, key) for v in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ModelError(f"{key}: {value!r} is not of type {kind.__name__}")
    return value


def _require(card: ModelCard, *keys: str) -> None:
    for key in keys:
        if not getattr(card, key):
            raise ModelError(f"key '{key}' is missing")


def _check_decoder(decoder: str, known: tuple[str, ...]) -> None:
    if decoder not in known:
        raise ModelError(f"decoder '{decoder}' is none of {', '.join(known)}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hex. Raises ModelError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
