"""`keytrack train detector|pose` on toy folders in the public formats, from data to a network that a tracker loads."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from keytrack_ros import skeleton
from keytrack_ros.cli.app import app
from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.estimation import Estimator, EstimatorOptions
from test.training.detector.toy_people import picture
from test.training.pose.toy_poses import BOX, FIGURE, figure

pytest.importorskip("torch", reason="torch is not installed; make dev installs it")


def train(network: str, data: Path, out: Path, config: dict[str, object]) -> str:
    """Runs the command with a config file; what it printed, in one line."""
    file = data / "config.yaml"
    file.write_text(json.dumps({"threads": 1, "device": "cpu", **config}))
    result = CliRunner().invoke(app, ["train", network, f"--data={data}", f"--out={out}", f"--config={file}"])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_a_detector_is_trained_on_motchallenge_folders(tmp_path):
    for part, sequences in (("train", "ab"), ("val", "c")):
        for sequence in sequences:
            folder = tmp_path / "data" / part / sequence
            (folder / "gt").mkdir(parents=True)
            (folder / "img1").mkdir()
            lines = []
            for frame in range(1, 7):
                left, top = 5 + 4 * frame, 8
                cv2.imwrite(str(folder / f"img1/{frame:06d}.jpg"), picture((left, top, left + 16, top + 36), frame))
                lines.append(f"{frame},1,{left + 1},{top + 1},16,36,1,1,1")
            (folder / "gt/gt.txt").write_text("\n".join(lines))
    small = {"first_size": 64, "input_size": 96, "batch_size": 2, "epochs": 1, "steps_per_epoch": 2}
    said = train("detector", tmp_path / "data", tmp_path / "run", small)
    assert "12 images with 12 people to train on; 6 images with 6 people held back" in said
    detector = Detector(DetectorOptions(model=str(tmp_path / "run/person_detector.yaml"), score_threshold=0.0))
    assert len(detector.detect(picture(None, 0))[0]) > 0


def test_a_pose_network_is_trained_on_posetrack_2018(tmp_path):
    points = np.zeros((17, 3))
    for k, name in enumerate(skeleton.NAMES):
        points[skeleton.POSETRACK17.index(name)] = (*FIGURE[k], 1)
    for part, videos in (("train", (1, 2)), ("val", (3,))):
        for video in videos:
            name = f"{video:06d}_mpii_{part}"
            images, people = [], []
            for frame in range(3):
                file = f"images/{part}/{name}/{frame:06d}.png"
                (tmp_path / "data" / file).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(tmp_path / "data" / file), figure(frame))
                images.append({"id": frame, "file_name": file, "vid_id": str(video), "is_labeled": True})
                keypoints = points.ravel().tolist()
                person = {"image_id": frame, "category_id": 1, "track_id": 0, "bbox": BOX, "keypoints": keypoints}
                people.append(person)
            category = {"id": 1, "name": "person", "keypoints": skeleton.POSETRACK17}
            content = {"images": images, "annotations": people, "categories": [category]}
            file = tmp_path / f"data/annotations/{part}/{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content))
    small = {"width": 64, "height": 64, "half_size_epochs": 0, "epochs": 1, "samples_per_epoch": 8, "batch_size": 4}
    said = train("pose", tmp_path / "data", tmp_path / "run", small)
    assert "6 people to train on; 3 held back" in said
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        *("checkpoint.pt", "curves.png", "log.csv", "samples.png"),
        *("hrnet_w16.onnx", "hrnet_w16.pt", "hrnet_w16.yaml"),
    }
    estimator = Estimator(EstimatorOptions(model=str(tmp_path / "run/hrnet_w16.yaml")))
    box = np.array([[BOX[0], BOX[1], BOX[0] + BOX[2], BOX[1] + BOX[3]]], np.float32)
    assert len(estimator.estimate(figure(0), box)) == 1
