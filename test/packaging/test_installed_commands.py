"""`keytrack` and the nodes as they are installed, each in a process of its own.

Commands with several workers matter most here: a worker process imports the executable again, which calls of the
functions from within a test never show.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rosbags.rosbag2 import StoragePlugin

from keytrack_ros.annotations.posetrack_writer import write_posetrack18
from test.cli.test_replay import FRAMES, ground_truth_of_walk, write_walk
from test.evaluation.toy_sequences import random_ground_truth, random_prediction
from test.nodes.graph import Graph, Process
from test.toy import DETECTOR

SEQUENCES = ("000001_mpii_test", "000002_mpii_test")


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two bags of the same three walkers."""
    folder = tmp_path_factory.mktemp("bags")
    return [write_walk(folder / name, "jpeg", StoragePlugin.MCAP) for name in ("left", "right")]


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of two sequences, ground truth and predictions."""
    folder = tmp_path_factory.mktemp("annotated")
    for side in ("gt", "pred"):
        (folder / side).mkdir()
    for seed, name in enumerate(SEQUENCES):
        ground_truth = random_ground_truth(seed)
        write_posetrack18(ground_truth, folder / "gt" / f"{name}.json")
        write_posetrack18(random_prediction(seed, ground_truth), folder / "pred" / f"{name}.json")
    return folder / "gt", folder / "pred"


def keytrack(installed: Path, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs the installed command from the root folder, where the source tree is not on the path."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "KEYTRACK_MODELS")}
    command = [str(installed / "keytrack"), *map(str, arguments)]
    done = subprocess.run(
        command, cwd="/", env=environment | {"COLUMNS": "200"}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_damaged_network_is_one_line_and_nothing_on_stdout(
    installed: Path, toy_models: Path, bags: list[Path], tmp_path: Path
) -> None:
    # After an error whose text is not UTF-8, ONNX Runtime tries the CPU a second time, and prints that.
    models = Path(shutil.copytree(toy_models, tmp_path / "models"))
    network, card = models / f"{DETECTOR}.onnx", models / f"{DETECTOR}.yaml"
    network.write_bytes(network.read_bytes().replace(b"AveragePool", b"Average\xffool"))
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    card.write_text(re.sub(r"sha256: \w+", f"sha256: {digest}", card.read_text()))
    done = keytrack(installed, "track", bags[0], "-o", tmp_path / "out", "--models", models, code=1)
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {network}: not a network that ONNX Runtime can load: ")
    assert done.stderr.count("\n") == 1


def test_track_writes_its_results(installed: Path, toy_models: Path, bags: list[Path], tmp_path: Path) -> None:
    keytrack(installed, "track", bags[0], "-o", tmp_path / "out", "--models", toy_models)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["frames"], summary["poses"], summary["tracks"]) == (FRAMES, 3 * FRAMES, 3)
    assert (tmp_path / "out/tracks.mp4").is_file()


def test_evaluate_scores_two_sequences_in_two_processes(
    installed: Path, annotated: tuple[Path, Path], tmp_path: Path
) -> None:
    for workers in (1, 2):
        keytrack(installed, "evaluate", *annotated, "--workers", workers, "--json", tmp_path / f"{workers}.json")
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    assert sorted(json.loads((tmp_path / "2.json").read_text())["sequences"]) == list(SEQUENCES)


def test_replay_tracks_two_bags_in_two_processes(
    installed: Path, toy_models: Path, bags: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "gt").mkdir()
    for bag in bags:
        write_posetrack18(ground_truth_of_walk(bag.stem), tmp_path / "gt" / f"{bag.stem}.json")
    out = tmp_path / "out"
    keytrack(installed, "replay", *bags, "-o", out, "--gt", tmp_path / "gt", "--models", toy_models, "--workers", 2)
    assert json.loads((out / "scores.json").read_text())["groups"]["MOTA"]["Total"] == pytest.approx(100)
    for name in ("left", "right"):
        assert json.loads((out / name / "summary.json").read_text())["frames"] == FRAMES


def test_compare_runs_two_sequences_in_two_processes(
    installed: Path, annotated: tuple[Path, Path], tmp_path: Path
) -> None:
    arguments = ("--method", "oks", "--keypoints", "true", "--workers", 2, "--json", tmp_path / "figures.json")
    done = keytrack(installed, "compare", annotated[0], *arguments)
    assert "2 sequences, 12 frames" in done.stdout
    assert json.loads((tmp_path / "figures.json").read_text())["true"]


@pytest.mark.parametrize("network", ["matcher", "detector", "pose"])
def test_train_shows_its_options(installed: Path, network: str) -> None:
    assert "--data" in keytrack(installed, "train", network, "--help").stdout


def test_wrong_usage_and_bad_input_have_exit_codes(installed: Path, tmp_path: Path) -> None:
    assert "No such command" in keytrack(installed, "trak", code=2).stderr
    gone = keytrack(installed, "track", "/gone.mp4", "-o", tmp_path / "out", code=1)
    assert "error: /gone.mp4" in gone.stderr
    assert gone.stderr.count("\n") == 1


class TestNodes:
    """Each installed node in a ROS graph of its own."""

    @pytest.fixture
    def graph(self, tmp_path: Path) -> Iterator[Graph]:
        graph = Graph(tmp_path)
        yield graph
        graph.close()

    @pytest.mark.parametrize(
        ("executable", "name", "parameters"),
        [
            ("tracker_node", "tracker", {}),
            ("cameras_node", "cameras", {"cameras": "[left, right]"}),
            ("video_node", "video", {"source": "{bag}", "loop": "true"}),
            ("recorder_node", "recorder", {"output": "{folder}/recorded"}),
            ("follow_person_node", "follow_person", {}),
            ("count_crossings_node", "count_crossings", {}),
        ],
    )
    def test_starts_and_ends_in_order_on_sigint(
        self,
        installed: Path,
        toy_models: Path,
        bags: list[Path],
        graph: Graph,
        tmp_path: Path,
        executable: str,
        name: str,
        parameters: dict[str, str],
    ) -> None:
        command = [str(installed.parent / "lib/keytrack_ros" / executable), "--ros-args"]
        for key, value in parameters.items():
            command += ["-p", f"{key}:={value.format(bag=bags[0], folder=tmp_path)}"]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
            "KEYTRACK_MODELS": str(toy_models),
            "ROS_DOMAIN_ID": str(graph.node.context.get_domain_id()),
            "ROS_LOG_DIR": str(tmp_path / "log"),
        }
        process = Process(command, environment, tmp_path / "node.txt")
        try:
            graph.spin_until(lambda: name in graph.node.get_node_names() or process.exit_code is not None)
            assert process.exit_code is None, process.log
            assert process.end(signal.SIGINT) == 0, process.log
            assert "Traceback" not in process.log
        finally:
            process.kill()
