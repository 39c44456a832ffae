"""The interface of the first three stages, frames → poses without ids (paper §3.1, §3.3), and what goes through it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from keytrack_ros.detection import DetectorOptions
from keytrack_ros.estimation import EstimatorOptions
from keytrack_ros.inference.cards import DetectorCard, PoseCard
from keytrack_ros.poses import ImageArray, Poses
from keytrack_ros.toks import ToksOptions


@dataclass(frozen=True)
class FinderOptions:
    """Options of detection, pose estimation and TOKS."""

    detector: DetectorOptions = field(default_factory=DetectorOptions)
    estimator: EstimatorOptions = field(default_factory=EstimatorOptions)
    toks: ToksOptions = field(default_factory=ToksOptions)


@dataclass(frozen=True)
class CameraFrame:
    """The next frame of a camera, with everything that decides what is found in it.

    Attributes:
        camera: key of the camera, any hashable value.
        image_bgr: [H, W, 3] uint8.
        previous: poses of this camera's frame before (ids may have been added); None where that frame says nothing
            about this one, or where no pose is to be carried over.
        options: for this frame.
    """

    camera: Hashable
    image_bgr: ImageArray
    previous: Poses | None
    options: FinderOptions

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image_bgr.shape[1], self.image_bgr.shape[0]


class PoseFinder(Protocol):
    """Finds the poses in frames of one or several cameras; the frames of each camera come in order."""

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Wall time of detection, estimation and toks in the last call, all frames together."""
        ...

    @property
    def cards(self) -> tuple[DetectorCard, PoseCard]:
        """Model files of the networks."""
        ...

    def find(self, frames: Sequence[CameraFrame]) -> list[Poses]:
        """The poses of each frame, without ids; the same as if the frame were alone.

        Args:
            frames: at least one, and at most one of each camera.

        Raises ModelError if a network fails; no state of any of these frames is kept then.
        """
        ...

    def forget(self, camera: Hashable) -> None:
        """Frees the state of a camera that sends no more frames."""
        ...

    def close(self) -> None:
        """Frees the networks; the finder is not used afterwards."""
        ...


def group_by_estimator(frames: Sequence[CameraFrame]) -> dict[EstimatorOptions, list[int]]:
    """Indices of the frames whose poses may share a batch: those with the same options of the estimator."""
    groups: dict[EstimatorOptions, list[int]] = {}
    for index, frame in enumerate(frames):
        groups.setdefault(frame.options.estimator, []).append(index)
    return groups


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Adds the wall time of the block to `seconds[stage]`."""
    begin = perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + perf_counter() - begin
