"""How fast one device goes from frames to tracked people: frames a second, latency, and each stage against its floor.

    python bench/gpu.py                                                     W48 384×288, flip test, 13 crops
    python bench/gpu.py --pose w32 --width 192 --height 256 --no-flip-test  W32 256×192
    python bench/gpu.py --device cpu --frames 3 --pose w16_small            tries it out

Networks have random weights, on which no time depends, but what they say is planted: the detector sees all but one of
the people, whom TOKS carries over, like all others, from frame to frame (`toks.skip_iou` = 1, as in the paper). So
every frame has 2 · people − 1 crops, and the tracker has everybody to match.

The floor of a stage is that of its network: each convolution takes as long as its multiply-adds at the rate of a large
matrix product, or as long as reading its input and weights and writing its output at the rate of a large copy,
whichever is longer. Both rates are measured on the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from keytrack_ros import skeleton
from keytrack_ros.detection.nano import NanoDetector
from keytrack_ros.detection.yolox import cell_grid
from keytrack_ros.estimation import EstimatorOptions
from keytrack_ros.estimation.hrnet import build_hrnet
from keytrack_ros.gpu.batches import BatchedNetwork
from keytrack_ros.gpu.detection import DeviceDetector
from keytrack_ros.gpu.estimation import DeviceEstimator
from keytrack_ros.gpu.finder import DeviceFinder, torch_device
from keytrack_ros.inference.cards import DetectorCard, ImageInput, PoseCard
from keytrack_ros.inference.torch_session import fold_batch_norms
from keytrack_ros.pipeline.pose_finder import CameraFrame, FinderOptions
from keytrack_ros.poses import FloatArray, ImageArray, Poses
from keytrack_ros.toks import ToksOptions
from keytrack_ros.tracker import PoseTracker

app = typer.Typer(help=__doc__, rich_markup_mode=None)
console = Console(width=110)

STAGES = ("detection", "estimation", "toks", "tracking")
WARM_UP = 20
"""Frames that are not counted."""

FRAME_RATE_HZ = 30.0


class Scene(NamedTuple):
    """People who stand still, in frames of `size` (width, height); boxes [P, 4] in pixels, of the crops' aspect."""

    size: tuple[int, int]
    boxes: FloatArray

    @staticmethod
    def of(people: int, size: tuple[int, int], aspect: float) -> Scene:
        side = size[0] / people
        width = min(0.8 * side, 0.8 * size[1] * aspect)
        centre = np.stack([(np.arange(people) + 0.5) * side, np.full(people, size[1] / 2)], 1)
        half = np.array([width, width / aspect]) / 2
        return Scene(size, np.concatenate([centre - half, centre + half], 1).astype(np.float32))


class Planted(nn.Module):
    """Runs a network, and says something else: `says` [1, …] for every image."""

    def __init__(self, network: nn.Module, says: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("says", says)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images) * 0 + self.get_buffer("says")


class CountingEstimator(DeviceEstimator):
    """Notes how many crops the last frames had."""

    crops = 0

    def estimate(
        self, frames: Sequence[Tensor], boxes: Sequence[Tensor], options: EstimatorOptions
    ) -> tuple[Tensor, Tensor]:
        self.crops = sum(len(b) for b in boxes)
        return super().estimate(frames, boxes, options)


def rows_of(boxes: FloatArray, scene: Scene, side: int) -> Tensor:
    """What a detector with inputs of `side` says of the people [1, cells, 6]."""
    corners, _ = cell_grid((side, side), (8, 16, 32))
    scale = min(side / scene.size[0], side / scene.size[1])
    rows = np.zeros((1, len(corners), 6), np.float32)
    for low, high in (boxes * scale).reshape(-1, 2, 2):
        middle = (low + high) / 2 / 8
        column, row = np.minimum(middle, side // 8 - 1).astype(int)
        rows[0, row * (side // 8) + column] = [*(middle - (column, row)), *np.log((high - low) / 8), 0.9, 1]
    return torch.from_numpy(rows)


def maps_of(width: int, height: int) -> Tensor:
    """Heatmaps [1, 15, height, width] of a person who fills the box: keypoints on an ellipse of 0.8 of its extent."""
    angle = np.linspace(0, 2 * np.pi, skeleton.COUNT, endpoint=False)
    x, y = (0.5 + 0.4 / 1.25 * turn for turn in (np.cos(angle), np.sin(angle)))  # 1.25: the crop's padding
    rows, columns = np.mgrid[:height, :width]
    squared = (columns - (x * width)[:, None, None]) ** 2 + (rows - (y * height)[:, None, None]) ** 2
    return torch.from_numpy(np.exp(-squared / 8).astype(np.float32))[None]


def milliseconds(seconds: Sequence[float]) -> str:
    middle, late = 1e3 * np.percentile(seconds, [50, 95])
    return f"{middle:.2f} · {late:.2f}"


@torch.inference_mode()
def rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Multiply-adds a second of a large matrix product and bytes a second of a large copy (read and written)."""
    side, numbers = (8192, 1 << 28) if device.type == "cuda" else (512, 1 << 22)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.zeros(numbers, dtype=dtype, device=device)
    target = torch.empty_like(source)
    moved = 2 * numbers * source.element_size()
    return side**3 / fastest(lambda: a @ b, device), moved / fastest(lambda: target.copy_(source), device)


def fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of ten times."""
    times = []
    for _ in range(10):
        synchronise(device)
        begin = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - begin)
    return min(times)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def floor(
    network: nn.Module, images: int, shape: tuple[int, int, int], per_second: tuple[float, float], size: int
) -> float:
    """Seconds that the convolutions of `network` take at least for a batch; numbers have `size` bytes."""
    seconds = 0.0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal seconds
        weight = layer.get_parameter("weight")
        products = output.numel() * weight[0].numel()
        moved = (inputs[0].numel() + output.numel() + weight.numel()) * size
        seconds += max(products / per_second[0], moved / per_second[1])

    network = network.to("meta")
    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, nn.Conv2d)]
    network(torch.empty(images, *shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return seconds


@app.command()
def measure(
    device: Annotated[str, typer.Option(help="cuda or cpu")] = "cuda",
    frames: Annotated[int, typer.Option(help="that are timed, of each camera")] = 2000,
    pose: Annotated[str, typer.Option(help="w48, w32, w24_small or w16_small")] = "w48",
    width: Annotated[int, typer.Option(help="of a crop, pixels")] = 288,
    height: Annotated[int, typer.Option(help="of a crop, pixels")] = 384,
    flip_test: Annotated[bool, typer.Option(help="average with the mirrored crop")] = True,
    people: Annotated[
        int, typer.Option(help="in view of each camera; one fewer is detected, all are carried over")
    ] = 7,
    cameras: Annotated[int, typer.Option(help="whose frames are batched")] = 1,
    frame_width: Annotated[int, typer.Option(help="pixels")] = 1280,
    frame_height: Annotated[int, typer.Option(help="pixels")] = 720,
    detector_side: Annotated[int, typer.Option(help="of the detector's square input, pixels")] = 416,
    batch_size: Annotated[int, typer.Option(help="people that go through the network at once")] = 16,
    half: Annotated[bool, typer.Option(help="FP16 on the GPU")] = True,
) -> None:
    """Times one configuration."""
    on = torch_device(device)
    half = half and on.type == "cuda"
    scene = Scene.of(people, (frame_width, frame_height), width / height)
    torch.manual_seed(0)
    detector, hrnet = (fold_batch_norms(n.eval()) for n in (NanoDetector(), build_hrnet(pose, outputs=skeleton.COUNT)))
    sees = Planted(detector, rows_of(scene.boxes, scene, detector_side))
    all_but_one = rows_of(scene.boxes[1:], scene, detector_side)
    knows = Planted(hrnet, maps_of(width // 4, height // 4))
    options = EstimatorOptions(batch_size=batch_size, flip_test=flip_test)
    detector_card = DetectorCard(
        name="detector", file="", input=ImageInput("image", (detector_side, detector_side)), output="rows"
    )
    pose_card = PoseCard(
        name=pose, file="", input=ImageInput("image", (width, height)), output="maps", joints=skeleton.NAMES
    )
    square, crop = (3, detector_side, detector_side), (3, height, width)
    estimator = CountingEstimator(pose_card, BatchedNetwork(knows, crop, on, half), options)
    finder = DeviceFinder(DeviceDetector(detector_card, BatchedNetwork(sees, square, on, half), cameras), estimator, on)
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 256, (frame_height, frame_width, 3), np.uint8) for _ in range(4)]
    rig = Rig(finder, FinderOptions(estimator=options, toks=ToksOptions(skip_iou=1.0)), cameras, images, people)
    rig.step()
    with torch.inference_mode():
        sees.get_buffer("says").copy_(all_but_one)  # from now on one is missed, and known from the frame before
    rig.run(WARM_UP if on.type == "cuda" else 1)
    stages = rig.run(frames)

    what = torch.cuda.get_device_name() if on.type == "cuda" else "CPU"
    console.print(
        f"{what}, torch {torch.__version__}, {'FP16' if half else 'FP32'}: HRNet {pose} {height}×{width}"
        f"{' with flip test' if flip_test else ''}, {estimator.crops} crops a frame of {frame_width}×{frame_height}, "
        f"{cameras} camera{'s' * (cameras > 1)}, {frames} frames",
        soft_wrap=True,
    )
    console.print(
        f"from image to ids: {milliseconds(stages['all'])} ms (median · p95), "
        f"{1 / np.mean(stages['all']):.1f} frames a second"
    )
    per_second = rates(on, torch.float16 if half else torch.float32)
    bytes_each = 2 if half else 4
    floors = {
        "detection": floor(detector, cameras, square, per_second, bytes_each),
        "estimation": floor(hrnet, estimator.crops * (2 if flip_test else 1), crop, per_second, bytes_each),
    }
    table = Table("stage", "median · p95, ms", "floor, ms", "times the floor")
    for stage in STAGES:
        least = floors.get(stage)
        cells = ("", "") if least is None else (f"{1e3 * least:.2f}", f"{np.median(stages[stage]) / least:.1f}")
        table.add_row(stage, milliseconds(stages[stage]), *cells)
    console.print(table)
    console.print(
        f"measured: {per_second[0] / 1e12:.2f} T multiply-adds a second, {per_second[1] / 1e9:.1f} GB a second"
        + (f"; {torch.cuda.max_memory_reserved() / 2**30:.2f} GiB of GPU memory held" if on.type == "cuda" else "")
    )


class Rig:
    """Cameras, a finder and trackers at work.

    Args:
        finder: of all cameras.
        options: of all cameras.
        cameras: how many.
        images: that each camera shows, again and again.
        people: in all of them.
    """

    def __init__(
        self, finder: DeviceFinder, options: FinderOptions, cameras: int, images: list[ImageArray], people: int
    ) -> None:
        self._finder = finder
        self._options = options
        self._trackers = [PoseTracker() for _ in range(cameras)]
        self._images = images
        self._people = people
        self._frame = 0

    def step(self) -> float:
        """The next frame of every camera, from images to ids; returns the seconds that tracking took."""
        image, before = (
            self._images[self._frame % len(self._images)],
            Poses.empty(),
        )  # their poses are kept on the device
        found = self._finder.find([CameraFrame(k, image, before, self._options) for k in range(len(self._trackers))])
        began = time.perf_counter()
        height, width = image.shape[:2]
        for tracker, poses in zip(self._trackers, found, strict=True):
            tracked = tracker.update(poses, (width, height), self._frame / FRAME_RATE_HZ)
            if len(tracked) != self._people:
                raise SystemExit(f"{self._people} people went in, {len(tracked)} came out: make the frames larger")
        self._frame += 1
        return time.perf_counter() - began

    def run(self, frames: int) -> dict[str, list[float]]:
        """Seconds of each stage and of all, frame by frame, as a live tracker runs."""
        seconds: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "all")}
        for _ in range(frames):
            began = time.perf_counter()
            seconds["tracking"].append(self.step())
            seconds["all"].append(time.perf_counter() - began)
            for stage, spent in self._finder.stage_seconds.items():
                seconds[stage].append(spent)
        return seconds


if __name__ == "__main__":
    app()
