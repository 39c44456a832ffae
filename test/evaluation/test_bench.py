"""The scripts in bench/ that prepare comparisons, on toy data."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from keytrack_ros.annotations.files import read_sequence
from keytrack_ros.annotations.sequence import Image, from_poses
from keytrack_ros.errors import InputError
from keytrack_ros.estimation import Estimator
from keytrack_ros.inference.options import InferenceOptions
from test.people import people
from test.toy import FRAME_SIZE, draw_frame, walk, write_networks
from test.training.matcher.toy_tracks import write_tracks


def script(name: str) -> ModuleType:
    return importlib.import_module(f"bench.{name}")


def test_keypoints_are_found_in_true_boxes(tmp_path: Path) -> None:
    true_boxes = script("true_boxes")
    places = walk(3, 2)
    images = tuple(Image(f"images/{k}.png", size=FRAME_SIZE) for k in range(4))
    poses = [people(*here, track_ids=np.array([4, 9])) for here in places]
    ground_truth = from_poses("walk", "walk.json", images, [*poses, people()])
    for k, here in enumerate(places):
        cv2.imwrite(str(tmp_path / f"{k}.png"), draw_frame(here))
    # The toy people are 60 x 160 px; their keypoints reach over 0.8 of that.
    centre = (ground_truth.boxes[:, :2] + ground_truth.boxes[:, 2:]) / 2
    ground_truth = replace(ground_truth, boxes=np.concatenate([centre - (30, 80), centre + np.array([30, 80])], 1))
    networks = write_networks(tmp_path / "networks")
    estimator = Estimator(inference=InferenceOptions(models=str(networks)))
    found = true_boxes.found_in_boxes(ground_truth, tmp_path, estimator)
    assert found.track_ids.tolist() == ground_truth.track_ids.tolist()
    assert np.abs(found.keypoints - ground_truth.keypoints).max() < 3
    (tmp_path / "1.png").unlink()
    with pytest.raises(InputError, match=r"there is no image for walk\.json: .*frame 1"):
        true_boxes.found_in_boxes(ground_truth, tmp_path, estimator)


@pytest.mark.parametrize("name", ["graph", "cnn"])
def test_rivals_learn_and_can_be_compared(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small networks are slower on more
    rivals = script("rivals")
    data = write_tracks(tmp_path / "tracks")
    graph, cnn = (rivals.GraphNetwork, rivals.graph_loss), (rivals.RenderNetwork, rivals.render_loss)
    network, loss = graph if name == "graph" else cnn
    accuracy = rivals.train(network(), loss, data, tmp_path / "weights.pt", steps=2, batch=8, rate=1e-3)
    torch.set_num_threads(threads)
    assert 0 <= accuracy <= 1
    from keytrack_ros.research.baselines import Run, parse_baseline

    run = Run(parse_baseline(f"{name},weights={tmp_path / 'weights.pt'}"))
    assert run.update(people((100, 200), (400, 200)), FRAME_SIZE, 0.0, None).tolist() == [1, 2]
    assert len(run.update(people((100, 200), (400, 200)), FRAME_SIZE, 0.1, None)) == 2


def test_places_are_those_of_the_pairs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    rivals = script("rivals")
    tracks = rivals.load_tracks_of(write_tracks(tmp_path), held_back=True)
    sampler = rivals.PairSampler(tracks, 4, "distinct", (4096, 4096))
    batch = sampler.nearest_batch(16, np.random.default_rng(0))  # as annotated
    (current, _), (visible, _) = rivals.places(batch)
    ground_truth = tracks.keypoints / tracks.sizes[tracks.video][:, None]
    apart = np.where(visible[:, None, :, None], np.abs(current[:, None] - ground_truth[None]), 0).max((2, 3)).min(1)
    assert (visible.sum(1) >= 12).all()
    assert apart.max() < 1 / 4096


def test_tracked_boxes_of_a_video_are_scored_by_frame_number(tmp_path: Path) -> None:
    video = script("video")
    lines = [f"{n},{g},{100 * g},10,20,40,1" for n in range(1, 5) for g in (1, 2)]
    (tmp_path / "gt.txt").write_text("\n".join(lines))
    (tmp_path / "seq.json").write_text('{"fps": 10, "first": 2, "last": 4}')
    ground_truth = read_sequence(tmp_path)
    # Frame 1 does not count. Person 1 is 7, 7, 8; person 2 is found in frame 3 only; 9 is nobody.
    rows = [[n, i, x, 10, x + 20, 50] for n, i, x in ((4, 8, 100), (1, 5, 100), (2, 7, 100), (3, 7, 100), (3, 6, 200))]
    scores = video.score(ground_truth, [*rows, [4, 9, 500, 10, 520, 50]]).scores()
    assert (scores["IDSW"], scores["FN"], scores["FP"]) == (1, 2, 1)
    assert scores["MOTA"] == pytest.approx(100 * (1 - 4 / 6))
    assert scores["IDF1"] == pytest.approx(100 * 2 * 3 / (6 + 5))
    assert (scores["ids"], scores["ghosts"], scores["ids/person"]) == (4, 1, 1.5)


def test_our_tracker_in_the_annotated_boxes_of_a_video(tmp_path: Path) -> None:
    video = script("video")
    writer = cv2.VideoWriter(str(tmp_path / "video.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, FRAME_SIZE)
    lines = []
    for n, here in enumerate(walk(8, 2), start=1):
        writer.write(draw_frame(here))
        lines += [f"{n},{g},{x - 30},{y - 80},60,160,1" for g, (x, y) in enumerate(here, start=1)]
    writer.release()
    (tmp_path / "gt.txt").write_text("\n".join(lines))
    ground_truth = read_sequence(tmp_path)
    networks = write_networks(tmp_path / "networks")
    options = video.pipeline_options(None, [f"inference.models={networks}"])
    boxes = video.detections(tmp_path / "video.avi", ground_truth, "true", options)
    tracked = video.run_in_boxes(tmp_path / "video.avi", ground_truth, options, boxes)
    scores = video.score(ground_truth, tracked.rows).scores()
    # The first two of eight frames come before the tracks are confirmed: 12 of 16 boxes are given out.
    assert (scores["FN"], scores["FP"], scores["IDSW"], scores["ids"]) == (4, 0, 0, 2)
    assert scores["IDF1"] == pytest.approx(100 * 2 * 12 / (16 + 12))
    assert tracked.seconds > 0
