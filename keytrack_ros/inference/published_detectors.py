"""Published person detectors in ONNX that `keytrack models fetch` knows by name, and named sets of networks.

YOLOX: release 0.1.1rc0 of its authors. RTMDet: the SDK archives of mmpose, whose `end2end.onnx` has NMS in the graph;
the eight digits of an archive's name belong to the checkpoint that it was exported from. Neither publisher states the
SHA-256 of these files; those below are what independent projects pin (of rtmdet_m_person a single one).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from keytrack_ros.inference.cards import DetectorCard, ImageInput

_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
_RTMDET = "https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/onnx_sdk"
_COCO = "Apache-2.0 for the code; trained on COCO, whose images have terms of their own"
_OBJECTS = "Apache-2.0 for the code; trained on COCO and Objects365, which is for research"


@dataclass(frozen=True)
class PublishedDetector:
    """A detector that others publish in ONNX.

    Attributes:
        url: address of the ONNX file, or of the zip archive that holds it.
        member: name of the ONNX file in the archive, without folders; "" if `url` is the ONNX file.
        accuracy: as published, on what.
        card: its model file, with the SHA-256 of the ONNX file.
    """

    url: str
    member: str
    accuracy: str
    card: DetectorCard

    @property
    def name(self) -> str:
        """By which it is fetched and then used."""
        return self.card.name

    @property
    def file(self) -> str:
        """The publisher's name for the file."""
        return self.url.rpartition("/")[2]


def _yolox(size: str, side: int, accuracy: float, sha256: str) -> PublishedDetector:
    card = DetectorCard(
        name=f"yolox_{size}",
        file=f"yolox_{size}.onnx",
        sha256=sha256,
        licence=_COCO,
        source=f"{_YOLOX}/yolox_{size}.onnx",
        auto=False,
        input=ImageInput("images", (side, side), "bgr"),
        output="output",
    )
    return PublishedDetector(card.source, "", f"COCO val2017, 80 classes: AP {accuracy}", card)


def _rtmdet(size: str, side: int, archive: str, accuracy: float, sha256: str) -> PublishedDetector:
    card = DetectorCard(
        name=f"rtmdet_{size}_person",
        file=f"rtmdet_{size}_person.onnx",
        sha256=sha256,
        licence=_OBJECTS,
        source=f"{_RTMDET}/{archive}",
        auto=False,
        input=ImageInput("input", (side, side), "bgr", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)),
        output="dets",
        decoder="end2end",
        labels="labels",
    )
    return PublishedDetector(card.source, "end2end.onnx", f"COCO val2017, people: AP {accuracy}", card)


DETECTORS: dict[str, PublishedDetector] = {
    detector.name: replace(detector, card=replace(detector.card, figures={"published accuracy": detector.accuracy}))
    for detector in (
        _yolox("nano", 416, 25.8, "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d"),
        _yolox("tiny", 416, 32.8, "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7"),
        _yolox("s", 640, 40.5, "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063"),
        _yolox("m", 640, 47.2, "21ff6cfdeb53b013bac2249599e55f00bff3cfdfdab37ed7a4620818c1d15b3f"),
        _yolox("l", 640, 50.1, "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411"),
        _yolox("x", 640, 51.5, "c892d7aaf1c4746d8a4d675bec669a4db4f434b4ee1efb654bc9b353379c7c55"),
        _rtmdet(
            "nano",
            320,
            "rtmdet_nano_8xb32-100e_coco-obj365-person-05d8511e.zip",
            40.3,
            "8297e829ccc5590c8e2d32d5a211f322a0585fb7467eec85eb12c9525b0b95d6",
        ),
        _rtmdet(
            "m",
            640,
            "rtmdet_m_8xb32-100e_coco-obj365-person-235e8209.zip",
            62.5,
            "4f4d7e07350b1753299111d1ae500fd64447a5b0e38e4bacbefab6573c742d30",
        ),
    )
}
"""All of them, by name."""

SETS: dict[str, tuple[str, ...]] = {"accurate": ("yolox_x", "hrnet_w48_posetrack18_384x288")}
"""Names of networks that belong together; `config/accurate.yaml` uses those of `accurate`."""
