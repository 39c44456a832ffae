"""Published HRNet checkpoints that `keytrack models fetch` knows by name; detectors are in `published_detectors`.

File names, addresses and accuracies are those of mmpose's model zoo; the eight digits at the end of a file's name begin
its SHA-256. The files of HRNet's own authors lie in folders that only a browser can open.
"""

from __future__ import annotations

from dataclasses import dataclass

_MMPOSE = "https://download.openmmlab.com/mmpose"
_COCO = f"{_MMPOSE}/v1/body_2d_keypoint/topdown_heatmap/coco"
_ZOO = "https://github.com/leoxiaobin/deep-high-resolution-net.pytorch"
_LICENCE = "Apache-2.0 (mmpose) for the code; trained on {}, whose images have terms of their own"


@dataclass(frozen=True)
class PublishedNetwork:
    """A checkpoint that others publish.

    Attributes:
        name: by which it is fetched and then used.
        file: the publisher's name for it.
        sha256: SHA-256 of the file, or its first digits.
        size: width and height of the crop it was trained for, pixels.
        joints: name of the joint set of its outputs.
        folder: address of the folder that holds the file, or "" where it cannot be fetched by a program.
        page: where a person finds it.
        licence: terms.
        accuracy: as published, on what.
        decoder: with which that accuracy was measured.
    """

    name: str
    file: str
    sha256: str
    size: tuple[int, int]
    joints: str
    folder: str
    page: str
    licence: str
    accuracy: str
    decoder: str = "quarter"

    @property
    def url(self) -> str:
        """Address of the file, or ""."""
        return f"{self.folder}/{self.file}" if self.folder else ""


_SIZES = {"256x192": (192, 256), "384x288": (288, 384)}


def _posetrack(
    variant: str, size: str, digits: str, date: str, true_boxes: float, with_detector: float
) -> PublishedNetwork:
    name = f"hrnet_{variant}_posetrack18_{size}"
    return PublishedNetwork(
        name=name,
        file=f"{name}-{digits}_{date}.pth",
        sha256=digits,
        size=_SIZES[size],
        joints="posetrack17",
        folder=f"{_MMPOSE}/top_down/hrnet",
        page="https://github.com/open-mmlab/mmpose",
        licence=_LICENCE.format("COCO and PoseTrack 2018"),
        accuracy=f"PoseTrack 2018 val: AP {true_boxes} with true boxes, {with_detector} with a detector",
    )


def _coco(variant: str, size: str, digits: str, date: str, accuracy: float, dark: bool = False) -> PublishedNetwork:
    batch = "8xb64" if variant == "w32" else "8xb32"
    kind = "_dark" if dark else ""
    return PublishedNetwork(
        name=f"hrnet_{variant}_coco{kind}_{size}",
        file=f"td-hm_hrnet-{variant}{kind}{'-' if dark else '_'}{batch}-210e_coco-{size}-{digits}_{date}.pth",
        sha256=digits,
        size=_SIZES[size],
        joints="coco17",
        folder=_COCO,
        page="https://github.com/open-mmlab/mmpose",
        licence=_LICENCE.format("COCO"),
        accuracy=f"COCO val2017: AP {accuracy} with a detector",
        decoder="dark" if dark else "quarter",
    )


def _official(variant: str, size: str, sha256: str, accuracy: float) -> PublishedNetwork:
    return PublishedNetwork(
        name=f"pose_hrnet_{variant}_{size}",
        file=f"pose_hrnet_{variant}_{size}.pth",
        sha256=sha256,
        size=_SIZES[size],
        joints="coco17",
        folder="",
        page=f"{_ZOO} (model zoo, pose_coco)",
        licence="MIT for the code; trained on COCO, whose images have terms of their own",
        accuracy=f"COCO val2017: AP {accuracy} with a detector",
    )


PUBLISHED: dict[str, PublishedNetwork] = {
    network.name: network
    for network in (
        _posetrack("w48", "384x288", "5fd6d3ff", "20211130", 84.6, 77.8),
        _posetrack("w48", "256x192", "b5d9b3f1", "20211130", 84.6, 77.4),
        _posetrack("w32", "384x288", "806f00a3", "20211130", 83.7, 77.3),
        _posetrack("w32", "256x192", "1ee951c4", "20201028", 83.4, 76.9),
        _coco("w48", "384x288", "c161b7de", "20220915", 76.7),
        _coco("w48", "256x192", "0e67c616", "20220913", 75.6),
        _coco("w32", "384x288", "ca5956af", "20220909", 76.1),
        _coco("w32", "256x192", "81c58e40", "20220909", 74.9),
        _coco("w48", "384x288", "39c3c381", "20220916", 77.2, dark=True),
        _coco("w48", "256x192", "e1ebdd6f", "20220913", 76.4, dark=True),
        _coco("w32", "384x288", "9bab4c9b", "20220917", 76.6, dark=True),
        _coco("w32", "256x192", "0e00bf12", "20220914", 75.7, dark=True),
        _official("w48", "384x288", "95e0fec3194826d5e3f806ea89be68bbb84517b114c3a32b3058c56610b5ef61", 76.3),
        _official("w32", "256x192", "19bc083708bb8d873211e50d85d56344c10290c6e8b564c813fdde09645c4c1c", 74.4),
    )
}
"""All of them, by name."""
