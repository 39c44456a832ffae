"""`keytrack evaluate` and `keytrack convert` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from keytrack_ros.annotations.posetrack_writer import write_posetrack18
from keytrack_ros.cli.app import app
from keytrack_ros.evaluation.protocol import CLEAN
from keytrack_ros.evaluation.scores import GROUPS
from keytrack_ros.media.bag_writer import BagWriter
from test.evaluation.toy_sequences import random_ground_truth, random_prediction, score


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two sequences, annotated and predicted."""
    for seed, name in enumerate(("000001_mpii_test", "000002_mpii_test")):
        ground_truth = random_ground_truth(seed)
        for side, data in (("gt", ground_truth), ("pred", random_prediction(seed, ground_truth))):
            (tmp_path / side).mkdir(exist_ok=True)
            write_posetrack18(data, tmp_path / side / f"{name}.json")
    return tmp_path / "gt", tmp_path / "pred"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_table_and_json(folders: tuple[Path, Path], tmp_path: Path):
    code, output = run("evaluate", *folders, "--mode", "clean", "--json", tmp_path / "scores.json", "--workers", 1)
    assert code == 0
    assert "mode clean" in output
    assert "2 sequences" in output
    for column in (*GROUPS, "Total"):
        assert column in output
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["mode"] == "clean"
    assert list(scores["groups"]["MOTA"]) == [*GROUPS, "Total"]
    assert f"{scores['groups']['MOTA']['Total']:.1f}" in output


def test_processes_give_the_same_numbers(folders: tuple[Path, Path], tmp_path: Path):
    for workers in (1, 2):
        assert run("evaluate", *folders, "--json", tmp_path / f"{workers}.json", "--workers", workers)[0] == 0
    assert (tmp_path / "1.json").read_text() == (tmp_path / "2.json").read_text()
    assert json.loads((tmp_path / "1.json").read_text())["mode"] == "official"


def test_single_files(folders: tuple[Path, Path], tmp_path: Path):
    gt, pred = (folder / "000001_mpii_test.json" for folder in folders)
    assert run("evaluate", gt, pred, "--mode", "clean", "--json", tmp_path / "a.json")[0] == 0
    ground_truth = random_ground_truth(0)
    expected = score(ground_truth, random_prediction(0, ground_truth), CLEAN)
    assert json.loads((tmp_path / "a.json").read_text())["joints"]["MOTA"]["total"] == pytest.approx(
        expected.totals["MOTA"]
    )


def test_recorded_poses_find_their_frames_by_the_stamps_of_the_bag(folders: tuple[Path, Path], tmp_path: Path):
    ground_truth = random_ground_truth(0)
    stamps = [10**9 + 40_000_000 * k for k in range(len(ground_truth))]
    with BagWriter(tmp_path / "images") as bag:
        for stamp in reversed(stamps):
            bag.write_image("/camera", np.zeros((4, 4, 3), np.uint8), stamp)
    kept = [0, 1, 3]
    with BagWriter(tmp_path / "tracks") as bag:
        for k in kept:
            bag.write_poses(ground_truth.poses(k), stamps[k], (640, 480))
    gt = folders[0] / "000001_mpii_test.json"
    arguments = ("evaluate", gt, tmp_path / "tracks", "--mode", "clean", "--json", tmp_path / "scores.json")
    code, output = run(*arguments, "--recording", tmp_path / "images")
    assert code == 0, output
    assert f"no poses for {len(ground_truth) - 3} of {len(ground_truth)} frames" in output
    recall = json.loads((tmp_path / "scores.json").read_text())["joints"]["recall"]["nose"]
    rows = np.concatenate([np.arange(*ground_truth.rows(k).indices(ground_truth.people)) for k in kept])
    assert recall == pytest.approx(100 * ground_truth.present[rows, 0].sum() / ground_truth.present[:, 0].sum())
    assert run(*arguments)[0] == 1  # without the bag, frames are missing


def test_folders_with_the_results_of_track_are_sequences(folders: tuple[Path, Path], tmp_path: Path):
    results = tmp_path / "replay"
    for file in folders[1].iterdir():
        (results / file.stem).mkdir(parents=True)
        (results / file.stem / "tracks.json").write_bytes(file.read_bytes())
        (results / file.stem / "summary.json").write_text("{}")
    (results / "scores.json").write_text("{}")
    for name, prediction in (("a", folders[1]), ("b", results)):
        assert run("evaluate", folders[0], prediction, "--json", tmp_path / name, "--workers", 1)[0] == 0
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    one = "000002_mpii_test"
    assert run("evaluate", folders[0] / f"{one}.json", results / one)[0] == 0
    assert run("convert", results, tmp_path / "all", "--to", "posetrack17")[0] == 0
    assert sorted(file.stem for file in (tmp_path / "all").iterdir()) == ["000001_mpii_test", one]
    assert run("convert", results / one, tmp_path / "one.json", "--to", "posetrack18")[0] == 0
    assert (tmp_path / "one.json").is_file()


def test_undefined_values_are_null_in_json(folders: tuple[Path, Path], tmp_path: Path):
    file = folders[0] / "000001_mpii_test.json"
    data = json.loads(file.read_text())
    for person in data["annotations"]:
        person["keypoints"][:3] = [0, 0, 0]
    file.write_text(json.dumps(data))
    assert run("evaluate", file, folders[1] / file.name, "--mode", "clean", "--json", tmp_path / "a.json")[0] == 0
    text = (tmp_path / "a.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["joints"]["MOTA"]["nose"] is None


def test_unlabelled_frames_can_only_be_scored_in_clean_mode(folders: tuple[Path, Path]):
    code, output = run("evaluate", *folders, "--all-frames")
    assert code == 1
    assert "--mode clean" in output
    assert run("evaluate", *folders, "--all-frames", "--mode", "clean", "--workers", 1)[0] == 0


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_an_input_is_never_overwritten(folders: tuple[Path, Path], option: str):
    ground_truth, prediction = folders
    file = sorted(ground_truth.iterdir())[0]
    content = file.read_bytes()
    for given in ((ground_truth, prediction), (file, prediction / file.name)):
        code, text = run("evaluate", *given, option, file)
        assert code == 1
        assert f"{option} {file}: would overwrite an input; name another file" in text
    assert file.read_bytes() == content


def test_missing_prediction_is_one_line(folders: tuple[Path, Path]):
    (folders[1] / "000002_mpii_test.json").unlink()
    code, output = run("evaluate", *folders)
    assert code == 1
    assert "there is no prediction for sequence 000002_mpii_test" in output


def test_convert_guesses_the_format(folders: tuple[Path, Path], tmp_path: Path):
    file = folders[1] / "000001_mpii_test.json"
    assert run("convert", file, tmp_path / "bag")[0] == 0
    assert (tmp_path / "bag/metadata.yaml").is_file()
    assert run("convert", tmp_path / "bag", tmp_path / "again.json")[0] == 0
    assert "images" in json.loads((tmp_path / "again.json").read_text())
    assert run("convert", file, tmp_path / "old.json", "--to", "posetrack17")[0] == 0
    assert "annolist" in json.loads((tmp_path / "old.json").read_text())
    code, output = run("convert", folders[1], tmp_path / "all")
    assert code == 1
    assert "--to" in output
