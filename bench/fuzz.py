"""Damaged input for every reader: images, messages, bags, videos, JSON, model files. Only the errors of
`keytrack_ros.errors` may come out.

python bench/fuzz.py                      # 1,000,000 inputs and more, about half an hour on one core
python bench/fuzz.py --inputs 1000        # a quick look
python bench/fuzz.py --only mcap --inputs 20000

Hypothesis draws a seed for each hundred inputs; the seed chooses whole files and what is done to them (bytes flipped,
cut, repeated, numbers made huge). What fails is shown with its seed, and kept in --keep.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from keytrack_ros.annotations.posetrack_reader import read_posetrack
from keytrack_ros.errors import KeytrackError
from keytrack_ros.inference.cards import load_card
from keytrack_ros.inference.session import OnnxSession
from keytrack_ros.media.image_source import read_image
from keytrack_ros.media.messages import typestore
from keytrack_ros.media.ros_images import image_to_bgr
from keytrack_ros.media.sources import open_source

_BATCH = 100
IMAGE = "sensor_msgs/msg/Image"
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
ENCODINGS = (
    "bgr8",
    "rgb8",
    "mono8",
    "mono16",
    "rgba16",
    "bayer_rggb8",
    "bayer_gbrg16",
    "yuv422",
    "nv12",
    "32FC1",
    "8UC3",
    "x",
)

Target = tuple[Callable[[random.Random], None], int]
"""What reads one damaged input, and its share of all inputs in per mille."""


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One to four changes of a file."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not out:
            break
        place = rng.randrange(len(out))
        change = rng.randrange(6)
        if change == 0:
            out[place] = rng.randrange(256)
        elif change == 1:
            out[place] ^= 1 << rng.randrange(8)
        elif change == 2:
            del out[place:]
        elif change == 3:
            del out[place : place + rng.randint(1, 64)]
        elif change == 4:
            out[place:place] = out[place : place + rng.randint(1, 256)]
        else:
            width = rng.choice((1, 2, 4, 8))
            value = rng.choice(_NUMBERS) & (2 ** (8 * width) - 1)
            out[place : place + width] = value.to_bytes(width, rng.choice(("little", "big")))
    return bytes(out)


def picture(size: tuple[int, int] = (24, 16)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)


def message(number: int) -> object:
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=100, nanosec=number * 10**8)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    data = picture().ravel()
    return types[IMAGE](header=header, height=16, width=24, encoding="bgr8", is_bigendian=0, step=72, data=data)


def bags(folder: Path) -> dict[str, bytes]:
    """Whole small bags by suffix."""
    found = {}
    for plugin, suffix in ((StoragePlugin.MCAP, ".mcap"), (StoragePlugin.SQLITE3, ".db3")):
        with Writer(folder / f"bag{suffix}", version=8, storage_plugin=plugin) as writer:
            connection = writer.add_connection("/camera", IMAGE, typestore=typestore())
            for k in range(4):
                writer.write(connection, 10**9 + k, typestore().serialize_cdr(message(k), IMAGE))
        found[suffix] = (folder / f"bag{suffix}" / f"bag{suffix}{suffix}").read_bytes()
        found["metadata.yaml"] = (folder / f"bag{suffix}" / "metadata.yaml").read_bytes()
    store = get_typestore(Stores.ROS1_NOETIC)
    with Rosbag1Writer(folder / "bag.bag") as writer:
        connection = writer.add_connection("/camera", IMAGE, typestore=store)
        types = store.types
        for k in range(4):
            stamp = types["builtin_interfaces/msg/Time"](sec=100, nanosec=k)
            header = types["std_msgs/msg/Header"](seq=k, stamp=stamp, frame_id="camera")
            image = types[IMAGE](
                header=header, height=16, width=24, encoding="bgr8", is_bigendian=0, step=72, data=picture().ravel()
            )
            writer.write(connection, 10**9 + k, store.serialize_ros1(image, IMAGE))
    found[".bag"] = (folder / "bag.bag").read_bytes()
    return found


def posetrack() -> bytes:
    points = [float(k) for k in range(51)]
    person = {"image_id": 1, "track_id": 1, "keypoints": points, "bbox": [0, 0, 9, 9], "scores": [0.5] * 17, "id": 1}
    images = [
        {"id": k, "file_name": f"{k}.jpg", "ignore_regions_x": [[0, 5, 5]], "ignore_regions_y": [[0, 0, 5]]}
        for k in (1, 2)
    ]
    return json.dumps({"images": images, "annotations": [person]}).encode()


def targets(folder: Path) -> dict[str, Target]:
    """Every reader, over files in a scratch folder."""
    image = picture()
    codecs = {s: bytes(cv2.imencode(s, image)[1].tobytes()) for s in (".jpg", ".png", ".bmp", ".tiff", ".webp", ".ppm")}
    codecs["16.png"] = bytes(cv2.imencode(".png", image.astype(np.uint16) * 40)[1].tobytes())
    wholes = bags(folder)
    clips = {}
    for suffix, code in ((".avi", "MJPG"), (".mp4", "mp4v"), (".mkv", "MJPG")):
        writer = cv2.VideoWriter(str(folder / f"clip{suffix}"), cv2.VideoWriter.fourcc(*code), 10, (64, 48))
        for _ in range(3):
            writer.write(picture((64, 48)))
        writer.release()
        clips[suffix] = (folder / f"clip{suffix}").read_bytes()
    models = Path(__file__).parent.parent / "keytrack_ros/models"
    card = (models / "person_detector.yaml").read_bytes()
    network = (models / "pose_entailment.onnx").read_bytes()

    def written(name: str, data: bytes) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    def image_files(rng: random.Random) -> None:
        read_image(written("image", damaged(codecs[rng.choice(sorted(codecs))], rng)))

    def compressed_messages(rng: random.Random) -> None:
        data = damaged(codecs[rng.choice(sorted(codecs))], rng)
        kind = rng.choice(("jpeg", "png", "bgr8; jpeg compressed bgr8", "16UC1; png", "", "h264"))
        image_to_bgr(SimpleNamespace(format=kind, data=np.frombuffer(data, np.uint8)))

    def raw_messages(rng: random.Random) -> None:
        height, width, encoding = rng.randrange(0, 40), rng.randrange(0, 40), rng.choice(ENCODINGS)
        step = rng.choice((width, 2 * width, 3 * width, 8 * width, rng.randrange(0, 200)))
        size = rng.choice((step * height, step * height * 3 // 2, rng.randrange(0, 4000)))
        image_to_bgr(
            SimpleNamespace(
                height=rng.choice((height, height, 2**31)),
                width=rng.choice((width, width, 2**31)),
                encoding=encoding,
                step=step,
                is_bigendian=rng.randrange(2),
                data=np.zeros(size, np.uint8),
            )
        )

    def bag_files(suffix: str) -> Callable[[random.Random], None]:
        def read(rng: random.Random) -> None:
            with open_source(written(f"fuzz{suffix}", damaged(wholes[suffix], rng)), in_stamp_order=True) as source:
                for _ in source:
                    pass

        return read

    def bag_metadata(rng: random.Random) -> None:
        bag = folder / "folder"
        bag.mkdir(exist_ok=True)
        (bag / "bag.db3.db3").write_bytes(wholes[".db3"])
        (bag / "metadata.yaml").write_bytes(damaged(wholes["metadata.yaml"], rng))
        with open_source(bag) as source:
            for _ in source:
                pass

    def videos(rng: random.Random) -> None:
        suffix = rng.choice(sorted(clips))
        with open_source(written(f"fuzz{suffix}", damaged(clips[suffix], rng))) as source:
            for _ in source:
                pass

    def json_files(rng: random.Random) -> None:
        read_posetrack(written("fuzz.json", damaged(posetrack(), rng)))

    def model_cards(rng: random.Random) -> None:
        load_card(written("fuzz.yaml", damaged(card, rng)))

    def networks(rng: random.Random) -> None:
        OnnxSession(written("fuzz.onnx", damaged(network, rng)[: rng.choice((200, 10_000, None))]), threads=1).close()

    return {
        "mcap": (bag_files(".mcap"), 12),
        "db3": (bag_files(".db3"), 4),
        "rosbag1": (bag_files(".bag"), 3),
        "metadata": (bag_metadata, 1),
        "videos": (videos, 2),
        "cards": (model_cards, 7),
        "networks": (networks, 1),
        "json": (json_files, 50),
        "images": (image_files, 40),
        "compressed_messages": (compressed_messages, 280),
        "raw_messages": (raw_messages, 600),
    }


def run(name: str, target: Target, inputs: int, seconds: float, keep: Path | None) -> dict[str, object]:
    """Feeds one reader; returns how many inputs there were, what became of them, and what failed."""
    read, _ = target
    outcomes: collections.Counter[str] = collections.Counter()
    failures: dict[str, str] = {}
    end = time.monotonic() + seconds

    @settings(
        max_examples=max(1, inputs // _BATCH),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(st.integers(0, 2**64 - 1))
    def feed(seed: int) -> None:
        for number in range(min(_BATCH, inputs)):
            if time.monotonic() < end:
                feed_one(f"{seed}/{number}")

    def feed_one(seed: str) -> None:
        try:
            read(random.Random(seed))
            outcomes["read"] += 1
        except KeytrackError:
            outcomes["refused"] += 1
        except Exception as error:
            outcomes["failed"] += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            cause = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
            if cause not in failures:
                failures[cause] = f"seed {seed}: {error}"
                if keep is not None:
                    (keep / f"{name}_{seed.replace('/', '_')}.txt").write_text(traceback.format_exc())

    begin = time.monotonic()
    feed()
    return {
        "inputs": sum(outcomes.values()),
        **outcomes,
        "seconds": round(time.monotonic() - begin, 1),
        "failures": failures,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_050_000, help="in all")
    parser.add_argument("--only", help="one reader, which gets all inputs")
    parser.add_argument("--minutes", type=float, default=60.0, help="limit for each reader")
    parser.add_argument("--keep", type=Path, help="folder for the tracebacks of what failed")
    parser.add_argument("--json", type=Path, help="where the numbers go")
    options = parser.parse_args()
    logging.getLogger("keytrack_ros").setLevel(logging.CRITICAL)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    report = {}
    with tempfile.TemporaryDirectory() as name:
        for reader, target in targets(Path(name)).items():
            if options.only not in (None, reader):
                continue
            inputs = options.inputs if options.only else options.inputs * target[1] // 1000
            report[reader] = run(reader, target, inputs, options.minutes * 60, options.keep)
            print(reader, json.dumps(report[reader]), flush=True)
    total = sum(int(str(numbers["inputs"])) for numbers in report.values())
    print(f"{total} inputs")
    if options.json is not None:
        options.json.write_text(json.dumps({"inputs": total, "readers": report}, indent=1))
    return int(any(numbers["failures"] for numbers in report.values()))


if __name__ == "__main__":
    sys.exit(main())
