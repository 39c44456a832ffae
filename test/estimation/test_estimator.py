import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError
from keytrack_ros.estimation import Estimator, EstimatorOptions
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.skeleton import INDEX, derive_head_points
from test import toy


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_networks(tmp_path_factory.mktemp("networks"))


def estimator(networks: Path, **options: object) -> Estimator:
    return Estimator(EstimatorOptions(model=toy.ESTIMATOR, **options), InferenceOptions(models=str(networks)))  # type: ignore[arg-type]


def box(x: float, y: float) -> list[float]:
    w, h = toy.PERSON_SIZE
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def test_keypoints_land_in_image_pixels_row_by_row(networks):
    places = [(100, 150), (400, 300), (650, 450)]
    poses = estimator(networks).estimate(toy.draw_frame(places), np.array([box(*p) for p in places]))
    for row, place in enumerate(places):
        # the heatmap has a pixel per 8 image pixels
        np.testing.assert_allclose(poses.keypoints[row], toy.keypoints_of(*place), atol=4)
    np.testing.assert_allclose(poses.scores, 1, atol=1e-3)
    np.testing.assert_allclose(poses.boxes, [box(*p) for p in places])
    assert poses.track_ids.tolist() == [-1, -1, -1]


def test_dark_places_keypoints_between_heatmap_pixels(networks, tmp_path):
    card = (networks / f"{toy.ESTIMATOR}.yaml").read_text()
    (tmp_path / "dark.yaml").write_text(card.replace("decoder: quarter", "decoder: dark"))
    dark = Estimator(EstimatorOptions(model=str(tmp_path / "dark.yaml")), InferenceOptions(models=str(networks)))
    poses = dark.estimate(toy.draw_frame([(400, 300)]), np.array([box(400, 300)]))
    np.testing.assert_allclose(poses.keypoints[0], toy.keypoints_of(400, 300), atol=0.2)  # a heatmap pixel is 8 px


def test_an_empty_box_gives_unsure_keypoints(networks):
    poses = estimator(networks).estimate(toy.draw_frame([]), np.array([box(300, 300)]))
    assert poses.scores.max() == 0


def test_nobody(networks):
    assert len(estimator(networks).estimate(toy.draw_frame([]), np.zeros((0, 4)))) == 0


def test_batches_do_not_change_the_result(networks):
    places = [(60.0 + 30 * k, 100.0 + 15 * k) for k in range(11)]
    boxes = np.array([box(*p) for p in places])
    frame = toy.draw_frame(places)
    one, many = estimator(networks, batch_size=1), estimator(networks, batch_size=4)
    np.testing.assert_allclose(one.estimate(frame, boxes).keypoints, many.estimate(frame, boxes).keypoints, atol=1e-4)


def test_people_of_several_images_share_batches(networks):
    places = [[(200, 300), (400, 300), (650, 250)], [], [(300, 200), (500, 350)]]
    frames = [toy.draw_frame(some, size) for some, size in zip(places, ((768, 576), (64, 48), (900, 700)), strict=True)]
    boxes = [np.array([box(*p) for p in some]).reshape(-1, 4) for some in places]
    together, alone = estimator(networks, batch_size=4), estimator(networks)  # five people in two batches
    found = together.estimate_all(frames, boxes)
    assert [len(poses) for poses in found] == [3, 0, 2]
    for poses, frame, some in zip(found, frames, boxes, strict=True):
        expected = alone.estimate(frame, some)
        np.testing.assert_allclose(poses.keypoints, expected.keypoints, atol=1e-4)
        np.testing.assert_allclose(poses.scores, expected.scores, atol=1e-6)
        np.testing.assert_allclose(poses.boxes, some)


def test_flip_test_of_a_symmetric_person_stays_within_a_heatmap_pixel(networks):
    frame, boxes = toy.draw_frame([(400, 300)]), np.array([box(400, 300)])
    plain = estimator(networks).estimate(frame, boxes)
    flipped = estimator(networks, flip_test=True).estimate(frame, boxes)
    assert np.abs(plain.keypoints - flipped.keypoints).max() < 10
    assert flipped.scores.min() > 0.5


def test_boxes_beyond_the_image_are_estimated_on_black(networks):
    poses = estimator(networks).estimate(toy.draw_frame([]), np.array([[-500.0, -500, -400, -300]]))
    assert poses.scores.max() == 0


@pytest.mark.parametrize("bad", [[10, 10, 10, 50], [10, 50, 40, 20], [np.nan, 0, 1, 1], [0, 0, np.inf, 1]])
def test_boxes_without_area_are_refused_by_row(networks, bad):
    with pytest.raises(ValueError, match=r"box 1 is .* x_min < x_max and y_min < y_max are needed"):
        estimator(networks).estimate(toy.draw_frame([]), np.array([box(100, 100), bad]))


def test_a_network_with_a_fixed_batch_is_filled_up_and_cut(networks, tmp_path):
    model = onnx.load(networks / f"{toy.ESTIMATOR}.onnx")
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "fixed.onnx")
    card = (networks / f"{toy.ESTIMATOR}.yaml").read_text().replace(toy.ESTIMATOR, "fixed")
    card = "\n".join(line for line in card.splitlines() if not line.startswith("sha256"))
    (tmp_path / "fixed.yaml").write_text(card)
    fixed = Estimator(EstimatorOptions(model=str(tmp_path / "fixed.yaml")))
    places = [(100.0 + 90 * k, 200.0) for k in range(6)]
    boxes = np.array([box(*p) for p in places])
    frame = toy.draw_frame(places)
    np.testing.assert_allclose(
        fixed.estimate(frame, boxes).keypoints, estimator(networks).estimate(frame, boxes).keypoints, atol=1e-4
    )


def test_joints_that_do_not_fit_the_network_are_refused(networks, tmp_path):
    card = (networks / f"{toy.ESTIMATOR}.yaml").read_text()
    (tmp_path / "coco.yaml").write_text(card.replace("posetrack15", "coco17"))
    wrong = Estimator(EstimatorOptions(model=str(tmp_path / "coco.yaml")), InferenceOptions(models=str(networks)))
    with pytest.raises(ModelError, match=r"output 'heatmaps' has shape \(1, 15, 32, 24\); .* names 17 joints"):
        wrong.estimate(toy.draw_frame([]), np.array([box(100, 100)]))


def test_channels_are_reordered_to_the_fifteen(tmp_path):
    # A network whose 16 MPII channels peak at column = channel index; with padding 1 and a box of the crop's size a
    # heatmap column is 4 image pixels.
    maps = np.zeros((1, 16, 16, 32), np.float32)
    for channel in range(16):
        maps[0, channel, 8, channel] = 0.5 + channel / 100
    nodes = [
        helper.make_node("ReduceMean", ["crops", "axes"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "maps"], ["heatmaps"]),
    ]
    graph = toy.model(
        nodes,
        {"axes": np.array([1, 2, 3]), "zero": np.array(0, np.float32), "maps": maps},
        ("crops", ["n", 3, 64, 128]),
        ("heatmaps", ["n", 16, 16, 32]),
    )
    onnx.save(graph, tmp_path / "mpii.onnx")
    (tmp_path / "mpii.yaml").write_text(
        "name: mpii\ntask: pose\nfile: mpii.onnx\ninput: {name: crops, size: [128, 64]}\noutput: heatmaps\n"
        "joints: mpii16\npadding: 1.0\ndecoder: argmax\n"
    )
    poses = Estimator(EstimatorOptions(model=str(tmp_path / "mpii.yaml"))).estimate(
        np.zeros((64, 128, 3), np.uint8), np.array([[0, 0, 128, 64]])
    )
    for channel, name in ((8, "head_bottom"), (9, "head_top"), (13, "left_shoulder"), (0, "right_ankle")):
        np.testing.assert_allclose(poses.keypoints[0, INDEX[name]], [channel * 4, 32], atol=1e-3)
        np.testing.assert_allclose(poses.scores[0, INDEX[name]], 0.5 + channel / 100, rtol=1e-5)
    assert poses.scores[0, INDEX["nose"]] == 0


def simcc_network(folder: Path, columns: list[int], rows: list[int]) -> Path:
    """A COCO network whose SimCC outputs peak at these columns and rows, where the crop's left half is white.

    Over columns the peaks are 0.9, over rows 0.8. What the mirrored crop shows has all columns at 0.
    """
    x, y = np.zeros((1, 17, 256), np.float32), np.zeros((1, 17, 128), np.float32)
    x[0, range(17), columns], y[0, range(17), rows] = 0.9, 0.8
    nodes = [
        helper.make_node("Slice", ["crops", "begin", "end", "axis"], ["left"]),
        helper.make_node("ReduceMean", ["left", "axes"], ["light"], keepdims=0),
        helper.make_node("Unsqueeze", ["light", "last"], ["each"]),
        helper.make_node("Mul", ["each", "x"], ["simcc_x"]),
        helper.make_node("Mul", ["each", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "y"], ["simcc_y"]),
    ]
    graph = toy.model(
        nodes,
        {
            "begin": np.array([0]),
            "end": np.array([64]),
            "axis": np.array([3]),
            "axes": np.array([1, 2, 3]),
            "last": np.array([1, 2]),
            "zero": np.array(0, np.float32),
            "x": x,
            "y": y,
        },
        ("crops", ["n", 3, 64, 128]),
        ("simcc_x", ["n", 17, 256]),
        ("simcc_y", ["n", 17, 128]),
    )
    onnx.save(graph, folder / "simcc.onnx")
    (folder / "simcc.yaml").write_text(
        "name: simcc\ntask: pose\nfile: simcc.onnx\ninput: {name: crops, size: [128, 64], std: [255, 255, 255]}\n"
        "output: simcc_x\noutput_y: simcc_y\njoints: coco17\npadding: 1.0\ndecoder: simcc\n"
    )
    return folder / "simcc.yaml"


def test_simcc_maxima_become_pixels(tmp_path):
    card = simcc_network(tmp_path, columns=list(range(10, 27)), rows=list(range(100, 117)))
    image = np.full((128, 256, 3), 255, np.uint8)  # the box fills it: two image pixels a crop pixel, one a bin
    poses = Estimator(EstimatorOptions(model=str(card))).estimate(image, np.array([[0, 0, 256, 128]] * 3))
    assert len(poses) == 3
    for channel, name in ((0, "nose"), (5, "left_shoulder"), (16, "right_ankle")):
        np.testing.assert_allclose(poses.keypoints[:, INDEX[name]], [[10 + channel, 100 + channel]] * 3, atol=1e-3)
        np.testing.assert_allclose(poses.scores[:, INDEX[name]], 0.8, rtol=1e-5)  # the smaller maximum


def test_simcc_flip_test_exchanges_sides_and_columns(tmp_path):
    columns = [255 - 10 * k for k in range(17)]
    card = simcc_network(tmp_path, columns, rows=[64] * 17)
    image = np.zeros((128, 256, 3), np.uint8)
    image[:, 128:] = 255  # white on the left in the mirrored crop only
    flipped = Estimator(EstimatorOptions(model=str(card), flip_test=True))
    poses = flipped.estimate(image, np.array([[0, 0, 256, 128]]))
    # what the mirror shows in the channel of the right shoulder (6) is the left one, columns counted from the right
    np.testing.assert_allclose(poses.keypoints[0, INDEX["left_shoulder"]], [60, 64], atol=1e-3)
    np.testing.assert_allclose(poses.scores[0, INDEX["left_shoulder"]], 0.45, rtol=1e-5)


def test_head_points_of_coco_networks():
    keypoints, scores = np.zeros((1, 15, 2), np.float32), np.zeros((1, 15), np.float32)
    for name, place, score in (
        ("nose", (100, 50), 0.9),
        ("left_shoulder", (120, 150), 0.7),
        ("right_shoulder", (80, 150), 0.8),
    ):
        keypoints[0, INDEX[name]], scores[0, INDEX[name]] = place, score
    derive_head_points(keypoints, scores)
    # middle of the shoulders (100, 150), nose 100 px above
    np.testing.assert_allclose(keypoints[0, INDEX["head_bottom"]], [100, 122], rtol=1e-6)
    np.testing.assert_allclose(keypoints[0, INDEX["head_top"]], [100, 3], rtol=1e-5)
    np.testing.assert_allclose(scores[0, [1, 2]], 0.7)


def test_stand_in_reaches_its_authors_figure_on_a_real_clip(shared_data):
    # PCKh@0.5 of the 12 limb joints with true boxes on every fourth frame; its authors' decoding gives about 0.92.
    clip = shared_data / "clips" / "bonn_060470979"
    truth = json.loads((clip / "gt.json").read_text())
    network = Estimator(
        EstimatorOptions(model="efficientpose_ii_lite"), InferenceOptions(models=str(shared_data / "models"))
    )
    slots = [skeleton.POSETRACK17.index(name) for name in skeleton.NAMES]
    hits = total = 0
    for image in truth["images"][::8]:
        people = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        boxes = np.array([a["bbox"] for a in people], float)
        boxes[:, 2:] += boxes[:, :2]
        # these boxes have a margin of 15 % already, so that the crop should not pad again
        centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 / network.card.padding
        poses = network.estimate(
            cv2.imread(str(clip / image["file_name"])), np.concatenate([centre - half, centre + half], 1)
        )
        for row, annotation in enumerate(people):
            known = np.array(annotation["keypoints"], float).reshape(17, 3)[slots]
            head = 0.6 * np.hypot(*annotation["bbox_head"][2:])
            error = np.linalg.norm(poses.keypoints[row] - known[:, :2], axis=1)
            limbs = known[:, 2] > 0
            limbs[:3] = False
            hits += int((error[limbs] <= 0.5 * head).sum())
            total += int(limbs.sum())
    assert hits / total > 0.9
