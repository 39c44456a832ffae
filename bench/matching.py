"""How long it takes to say who is who: the paper's network of pairs as it stands, as it runs here, and the default.

    python bench/matching.py [--people 20] [--threads 1]

Every matcher tracks the same crowd, frame by frame in turns, so that what else the machine does meets all alike. Times
are those of the whole tracking step (candidates, tokens, network, assignment), wall and CPU. The crowd has keypoints
alone but in the last row, where it has a detector's boxes too, as in the pipeline. "Plain" graphs compute
every layer for all 30 tokens of a pair. Needs torch, to export them.
"""

from __future__ import annotations

import io
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime as ort
import torch
import typer
from rich.console import Console
from rich.table import Table

from keytrack_ros import skeleton
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import PACKAGE_MODELS, find_model
from keytrack_ros.inference.session import OnnxSession
from keytrack_ros.matching.entailment import INPUTS, OUTPUT, EntailmentMatcher
from keytrack_ros.matching.network import MASKED, EntailmentNetwork
from keytrack_ros.matching.open_matcher import open_matcher
from keytrack_ros.matching.sessions import example_inputs
from keytrack_ros.matching.weights import load_weights
from keytrack_ros.poses import Poses
from keytrack_ros.tracker import PoseTracker, TrackerOptions

SIZE = (1280, 720)
FPS = 25.0
PAPER = TrackerOptions(model="pose_entailment_paper", delta=4, match_threshold=0.5, gating=False)


class PlainNetwork(EntailmentNetwork):
    """Computes the last layer for all tokens, though only token 0 is read."""

    def forward(self, positions, types, segments, mask):  # type: ignore[no-untyped-def]
        bias = torch.where(mask, 0.0, MASKED)[:, None, None, :]
        tokens = self.embedding(positions, types, segments, None)
        for layer in self.layers:
            tokens = layer(tokens, tokens, bias)
        return self.classifier(torch.tanh(self.pooler(tokens[:, 0])))


class AsItComes(OnnxSession):
    """ONNX Runtime with whatever optimisations it chooses."""

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__(path, threads)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def plain_matcher(card: MatcherCard, threads: int) -> EntailmentMatcher:
    """The plain graph on such a session."""
    matcher = EntailmentMatcher(card, InferenceOptions(device="cpu", threads=threads))
    matcher._session = AsItComes(card.path, threads)
    return matcher


def plain_card(card: MatcherCard, folder: Path) -> MatcherCard:
    """Writes the plain graph of the network into `folder`."""
    network = load_weights(card.path.parent / card.weights)
    network.__class__ = PlainNetwork
    inputs = example_inputs(card, 2)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, which is old and said to be so
        torch.onnx.export(
            network,
            tuple(torch.from_numpy(inputs[name]) for name in INPUTS),
            stream,  # type: ignore[arg-type]
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={name: {0: "pairs"} for name in (*INPUTS, OUTPUT)},
            opset_version=17,
            dynamo=False,
        )
    (folder / "plain.onnx").write_bytes(stream.getvalue())
    return replace(card, path=folder / "plain.onnx", sha256="", weights="")


def largest_difference(card: MatcherCard, plain: MatcherCard) -> float:
    """Of a logit, on 512 random pairs."""
    inputs = {name: array for name, array in example_inputs(card, 512).items() if name in INPUTS}
    ours, theirs = (OnnxSession(each.path, threads=1).run(inputs)[OUTPUT] for each in (card, plain))
    return float(np.abs(ours - theirs).max())


def crowd(people: int, frames: int) -> list[Poses]:
    """People who walk about; a tenth of their keypoints is missing."""
    rng = np.random.default_rng(0)
    places = rng.uniform(0.1, 0.9, (people, 1, 2)) * SIZE
    shapes, speeds = rng.normal(0, 40, (people, skeleton.COUNT, 2)), rng.normal(0, 60, (people, 1, 2))
    return [
        Poses(
            places + shapes + rng.normal(0, 2, shapes.shape) + speeds * frame / FPS,
            (rng.random((people, skeleton.COUNT)) < 0.9).astype(np.float32),
        )
        for frame in range(frames)
    ]


def with_boxes(poses: Poses, rng: np.random.Generator) -> Poses:
    """The same people, detected: boxes a twentieth larger than the keypoints, with jitter."""
    low, high = poses.boxes[:, :2], poses.boxes[:, 2:]
    margin = 0.05 * (high - low)
    boxes = np.concatenate([low - margin, high + margin], 1) + rng.normal(0, 4, (len(poses), 4))
    return poses.with_fields(boxes=boxes, box_scores=np.full(len(poses), 0.8))


def main(
    people: int = 20,
    frames: int = 60,
    threads: Annotated[int, typer.Option(help="cores that the networks may use")] = 1,
) -> None:
    """Times the tracking step with each matcher, in turns."""
    torch.set_num_threads(1)
    inference = InferenceOptions(device="cpu", threads=threads)
    card = find_model(MatcherCard, PAPER.model, [PACKAGE_MODELS])
    with tempfile.TemporaryDirectory() as folder:
        plain = plain_card(card, Path(folder))
        difference = largest_difference(card, plain)
        trackers = {
            "pairs, plain graph": PoseTracker(PAPER, plain_matcher(plain, threads)),
            "pairs, plain graph, our session": PoseTracker(PAPER, EntailmentMatcher(plain, inference)),
            "pairs (config/paper.yaml)": PoseTracker(PAPER, open_matcher(PAPER.model, inference)),
            "pairs, with gating": PoseTracker(replace(PAPER, gating=True), open_matcher(PAPER.model, inference)),
            "tracks, without gating": PoseTracker(TrackerOptions(gating=False), open_matcher(inference=inference)),
            "tracks (default)": PoseTracker(TrackerOptions(), open_matcher(inference=inference)),
            "tracks (default), with boxes": PoseTracker(TrackerOptions(), open_matcher(inference=inference)),
        }
    rng = np.random.default_rng(1)
    wall: dict[str, list[float]] = {name: [] for name in trackers}
    cpu: dict[str, list[float]] = {name: [] for name in trackers}
    for number, poses in enumerate(crowd(people, frames)):
        detected = with_boxes(poses, rng)
        for name, tracker in trackers.items():
            seen = detected if name.endswith("with boxes") else poses
            began, spent = time.perf_counter(), time.process_time()
            tracker.update(seen, SIZE, number / FPS)
            if number >= TrackerOptions().delta:  # from then on every memory is full
                wall[name].append(1e3 * (time.perf_counter() - began))
                cpu[name].append(1e3 * (time.process_time() - spent))
    table = Table("matcher", "wall ms, median", "p95", "CPU ms, median", "plain / this, wall", "CPU")
    slowest = next(iter(trackers))
    for name in trackers:
        table.add_row(
            name,
            *(f"{value:.1f}" for value in (np.median(wall[name]), np.percentile(wall[name], 95), np.median(cpu[name]))),
            *(f"{np.median(times[slowest]) / np.median(times[name]):.2f}" for times in (wall, cpu)),
        )
    console = Console(width=120)
    console.print(f"{people} people, {threads} thread{'s' * (threads > 1)}, {frames} frames")
    console.print(table)
    console.print(f"pairs against the plain graph: logits differ by at most {difference:.1e}")


if __name__ == "__main__":
    typer.run(main)
