"""Synthetic scenes with known people: bright upright rectangles, and two tiny hand-made networks that find them. The
real pipeline runs on them in milliseconds, with nothing to download.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from keytrack_ros.skeleton import INDEX

FRAME_SIZE = (768, 576)
PERSON_SIZE = (60, 160)  # width and height in image pixels, of frames of FRAME_SIZE
DETECTOR, ESTIMATOR = "toy_detector", "toy_pose"

_INPUT = 416  # side of the detector's input; a 768 px wide frame is scaled by 416 / 768
_CROP = (48, 64)
_HEATMAP = (24, 32)

# Where in the person's box each keypoint lies (0..1). Their extent is 0.8 of the box, so that growing it by α = 1.25
# gives the box back.
_LAYOUT = {
    "head_top": (0.5, 0.1),
    "nose": (0.5, 0.17),
    "head_bottom": (0.5, 0.25),
    "left_shoulder": (0.75, 0.27),
    "right_shoulder": (0.25, 0.27),
    "left_elbow": (0.85, 0.4),
    "right_elbow": (0.15, 0.4),
    "left_wrist": (0.9, 0.5),
    "right_wrist": (0.1, 0.5),
    "left_hip": (0.65, 0.5),
    "right_hip": (0.35, 0.5),
    "left_knee": (0.65, 0.7),
    "right_knee": (0.35, 0.7),
    "left_ankle": (0.65, 0.9),
    "right_ankle": (0.35, 0.9),
}


def write_networks(folder: Path) -> Path:
    """Writes both networks with their model files into `folder` (made if needed) and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(
        folder,
        DETECTOR,
        _detector(),
        f"""task: detection
input: {{name: image, size: [{_INPUT}, {_INPUT}], color: bgr}}
output: rows
decoder: yolox
strides: [8]
person_class: 0
fill: 0
""",
    )
    _write(
        folder,
        ESTIMATOR,
        _estimator(),
        f"""task: pose
input: {{name: crops, size: [{_CROP[0]}, {_CROP[1]}], color: rgb}}
output: heatmaps
joints: posetrack15
padding: 1.25
decoder: quarter
""",
    )
    return folder


def draw_frame(
    people: list[tuple[float, float]],
    size: tuple[int, int] = FRAME_SIZE,
    person_size: tuple[int, int] = PERSON_SIZE,
) -> npt.NDArray[np.uint8]:
    """A BGR frame with a person centred at each (x, y).

    The networks find people whose size is to that of the frame as PERSON_SIZE to FRAME_SIZE.
    """
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y in people:
        left, top = round(x - person_size[0] / 2), round(y - person_size[1] / 2)
        frame[max(top, 0) : max(top + person_size[1], 0), max(left, 0) : max(left + person_size[0], 0)] = 255
    return frame


def walk(frames: int, people: int) -> list[list[tuple[float, float]]]:
    """For each frame the places of `people` (1 … 4), who walk right and back, each at its own height, 3 px a frame.

    Places are (x, y) of the centre in pixels of a frame of FRAME_SIZE.
    """
    places = []
    for frame in range(frames):
        step = abs((frame + 50) % 100 - 50) * 3  # 0 … 150 px and back
        places.append([(100.0 + step + 140 * person, 150.0 + 90 * person) for person in range(people)])
    return places


def keypoints_of(x: float, y: float) -> npt.NDArray[np.float32]:
    """[15, 2] where the estimator puts the keypoints of a person centred at (x, y), to within its heatmap's grid."""
    points = np.zeros((15, 2), np.float32)
    for name, (u, v) in _LAYOUT.items():
        points[INDEX[name]] = x + (u - 0.5) * PERSON_SIZE[0], y + (v - 0.5) * PERSON_SIZE[1]
    return points


def _write(folder: Path, name: str, model: onnx.ModelProto, card: str) -> None:
    content = model.SerializeToString()
    (folder / f"{name}.onnx").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (folder / f"{name}.yaml").write_text(f"name: {name}\nfile: {name}.onnx\nsha256: {digest}\n{card}")


def _detector() -> onnx.ModelProto:
    """Mean brightness in a window of a person's size around each cell of 8 px; a whole person inside gives score 1."""
    scale = _INPUT / FRAME_SIZE[0]
    cells = _INPUT // 8
    window = [88, 32]  # a person in network pixels, to multiples of 8
    pads = [(side - 8) // 2 for side in window]
    box = np.log(np.array(PERSON_SIZE) * scale / 8).astype(np.float32)
    fixed = np.tile(np.array([0.5, 0.5, *box], np.float32), (1, cells * cells, 1))
    nodes = [
        helper.make_node("ReduceMean", ["image", "channel_axis"], ["grey"], keepdims=1),
        helper.make_node(
            "AveragePool", ["grey"], ["mean"], kernel_shape=window, strides=[8, 8], pads=pads * 2, count_include_pad=1
        ),
        helper.make_node("Mul", ["mean", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "zero", "one"], ["clipped"]),
        # only the maximum of a neighbourhood counts; the tilt breaks ties
        helper.make_node("Mul", ["clipped", "tilt"], ["tilted"]),
        helper.make_node("MaxPool", ["tilted"], ["best"], kernel_shape=[9, 5], strides=[1, 1], pads=[4, 2, 4, 2]),
        helper.make_node("GreaterOrEqual", ["tilted", "best"], ["is_best"]),
        helper.make_node("Cast", ["is_best"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["tilted", "mask"], ["objectness"]),
        helper.make_node("Reshape", ["objectness", "column"], ["score"]),
        helper.make_node("Concat", ["fixed", "score", "class"], ["rows"], axis=2),
    ]
    constants = {
        "channel_axis": np.array([1], np.int64),
        # 0 at 70 % of a person, so that cells beside the best one stay below the threshold; 1 at a whole person
        "gain": np.array(1 / (255 * 0.3), np.float32),
        "bias": np.array(-0.7 / 0.3, np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "tilt": (1 - np.arange(cells * cells, dtype=np.float32) * 1e-6).reshape(1, 1, cells, cells),
        "column": np.array([1, cells * cells, 1], np.int64),
        "fixed": fixed,
        "class": np.ones((1, cells * cells, 1), np.float32),
    }
    return model(nodes, constants, ("image", [1, 3, _INPUT, _INPUT]), ("rows", [1, cells * cells, 6]))


def _estimator() -> onnx.ModelProto:
    """Fixed Gaussian heatmaps at the layout's places, times the brightness of the crop's middle."""
    width, height = _HEATMAP
    # The crop is 1.25 times the box padded to the aspect 3 : 4; the person's box covers this part of it.
    box_part = np.array([PERSON_SIZE[0] / (PERSON_SIZE[1] * 0.75), 1.0]) / 1.25
    maps = np.zeros((1, 15, height, width), np.float32)
    rows, columns = np.mgrid[:height, :width]
    for name, (u, v) in _LAYOUT.items():
        x, y = (0.5 + (np.array([u, v]) - 0.5) * box_part) * _HEATMAP
        maps[0, INDEX[name]] = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2)
        maps[0, INDEX[name]] /= maps[0, INDEX[name]].max()
    middle = np.zeros((1, 3, _CROP[1], _CROP[0]), np.float32)
    middle[:, :, 16:48, 18:30] = 1 / (255 * 3 * 32 * 12)
    nodes = [
        helper.make_node("Mul", ["crops", "middle"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axes"], ["brightness"], keepdims=1),
        helper.make_node("Mul", ["maps", "brightness"], ["heatmaps"]),
    ]
    constants = {"middle": middle, "axes": np.array([1, 2, 3], np.int64), "maps": maps}
    return model(
        nodes, constants, ("crops", ["people", 3, _CROP[1], _CROP[0]]), ("heatmaps", ["people", 15, height, width])
    )


def model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, npt.NDArray[np.generic]],
    graph_input: tuple[str, list[int | str]],
    *graph_outputs: tuple[str, list[int | str]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(graph_input[0], TensorProto.FLOAT, graph_input[1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in graph_outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model
