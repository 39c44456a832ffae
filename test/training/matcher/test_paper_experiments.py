"""The experiments of bench/paper.py on toy tracks, end to end."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="torch is not installed; make dev installs it")

from bench import paper
from keytrack_ros.errors import DataError
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.registry import find_model
from test.training.matcher.toy_tracks import write_tracks

BUDGET = ["--steps", "2", "--batch", "16", "--pairs", "64", "--settings", "4", "--threads", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_tracks(tmp_path_factory.mktemp("tracks"), frames=8)


@pytest.fixture
def few(monkeypatch) -> dict[str, dict]:
    """A table of two variants of a small network."""
    small = {"layers": 1, "width": 16, "heads": 2, "intermediate": 16}
    variants = {"all": small, "48 × 36, relative": {**small, "columns": 48, "rows": 36, "embeddings": "type,relative"}}
    monkeypatch.setitem(paper.VARIANTS, "table3", variants)
    return variants


def run(*arguments: object):
    return CliRunner().invoke(paper.app, [str(a) for a in arguments])


def test_an_experiment_trains_measures_and_tabulates_each_variant_once(data, tmp_path, few, monkeypatch):
    command = ["table3", "--data", data, "--out", tmp_path, *BUDGET]
    first = run(*command)
    assert first.exit_code == 0, first.output
    with (tmp_path / "table3.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["variant"] for row in rows] == list(few)
    assert list(rows[0])[1:] == ["parameters", "nearest", "near", "%IDSW, stride 4", "IDF1, stride 4"]
    sizes = [float(row["parameters"]) for row in rows]
    assert sizes[1] - sizes[0] == 16 * (48 * 36 - 24 * 18 - 5)
    for row in rows:
        assert 30 < float(row["nearest"]) <= 100
        assert 0 <= float(row["%IDSW, stride 4"]) <= 100 >= float(row["IDF1, stride 4"]) > 0
    card = find_model(MatcherCard, str(tmp_path / "48_x_36_relative" / "pose_entailment_paper.yaml"))
    assert card.grid == (48, 36)

    # Nothing is trained or measured a second time.
    monkeypatch.setattr(paper.Experiment, "_measured", lambda *_: pytest.fail("measured again"))
    second = run(*command)
    assert second.exit_code == 0
    assert second.stdout.splitlines()[-4:] == first.stdout.splitlines()[-4:]


@pytest.mark.usefixtures("few")
def test_a_stopped_experiment_goes_on_where_it_was(data, tmp_path, monkeypatch):
    command = ["table3", "--data", data, "--out", tmp_path, *BUDGET]
    tracked = paper.Experiment.tracked
    monkeypatch.setattr(paper.Experiment, "tracked", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(*command).exit_code != 0
    checkpoint = tmp_path / "all" / "checkpoint.pt"
    before = checkpoint.stat().st_mtime_ns
    monkeypatch.setattr(paper.Experiment, "tracked", tracked)
    assert run(*command).exit_code == 0
    assert checkpoint.stat().st_mtime_ns == before  # trained once
    assert json.loads((tmp_path / "all" / "figures.json").read_text())["figures"]["nearest"] > 0


def test_figures_of_another_budget_are_refused_with_the_differences_named(data, tmp_path, few):
    few.pop("48 × 36, relative")
    assert run("table3", "--data", data, "--out", tmp_path, *BUDGET).exit_code == 0
    other = run("table3", "--data", data, "--out", tmp_path, *BUDGET, "--rate", "0.5")
    assert other.exit_code == 1
    assert "learning_rate is 0.001 there and 0.5 here; use another run folder" in other.output


def test_past_frames_and_assignments_have_a_line_each(data, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "MEMORIES", (1, 2))
    frames = run("past-frames", "--data", data, "--out", tmp_path, "--steps", 1, "--batch", 8, "--settings", "4")
    assert [line.split("|")[1].strip() for line in frames.stdout.splitlines()[2:]] == ["δ = 1", "δ = 2"]
    known = run(
        "past-frames", "--data", data, "--out", tmp_path / "b", "--model", "pose_entailment_paper", "--settings", 4
    )
    assert [line.split("|")[1].strip() for line in known.stdout.splitlines()[2:]] == ["δ = 1", "δ = 2"]
    found = run("assignment", "--data", data, "--settings", "4", "--threads", 1)
    assert [line.split("|")[1].strip() for line in found.stdout.splitlines()[2:]] == ["greedy", "hungarian"]
    assert "100.0" in found.stdout  # toy people stay far apart


def test_accuracy_is_that_of_three_kinds_of_pairs(data):
    found = run("accuracy", "--data", data, "--pairs", 64, "--threads", 1)
    assert found.exit_code == 0, found.output
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["nearest", "near", "asked by the tracker"]
    assert [row[1:3] for row in rows[:2]] == [["64", "50.0"]] * 2
    assert all(float(row[3]) > 90 and float(row[4]) > 99 for row in rows)  # toy people stay far apart


def test_a_judgement_by_hand():
    found = paper.judged(np.array([0.95, 0.85, 0.15, 0.65]), np.array([1, 1, 0, 0]))
    assert found["right"] == 75
    assert found["area under ROC"] == 100
    assert found["calibration error"] == pytest.approx(100 * (0.05 + 0.15 + 0.15 + 0.65) / 4)
    np.testing.assert_allclose(paper.balanced(np.array([0.9, 0.5]), 0.9), [0.5, 0.1])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--settings", "3"], "settings: '3' is none of 1, 2, 4, 8"),
        (["--pairs", "1"], "pairs: 1 is less than 2"),
        (["--steps", "0"], "steps_per_epoch: 0 lies outside"),
        (["--precision", "int8"], "precision: 'int8' is none of float32, bfloat16"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_1(data, tmp_path, arguments, text):
    result = run("table3", "--data", data, "--out", tmp_path / "run", *BUDGET, *arguments)
    assert result.exit_code == 1
    assert text in result.output
    assert not (tmp_path / "run").exists()


def test_missing_data_is_named(tmp_path):
    result = run("figure7", "--data", tmp_path, "--out", tmp_path / "run", *BUDGET)
    assert result.exit_code == 1
    assert "there is no .npz file with pose tracks" in result.output


def test_a_damaged_file_of_figures_is_named(tmp_path):
    (tmp_path / "figures.json").write_text("[1]")
    with pytest.raises(DataError, match=r"figures.json: not the figures of an experiment"):
        paper.kept(tmp_path / "figures.json", {}, dict)


def test_every_variant_changes_what_its_name_says():
    usual = {"embeddings": "position,type,segment", "layers": 4, "width": 128, "heads": 4, "columns": 24, "rows": 18}
    assert paper.FIGURE_7["96 × 72"] == {"columns": 96, "rows": 72}
    assert paper.FIGURE_7["H = 64"] == {"width": 64, "intermediate": 64}
    for variants in (paper.TABLE_3, paper.FIGURE_7):
        changes = list(variants.values())
        assert changes[0] == {}
        assert all(change and all(usual.get(k) != v for k, v in change.items()) for change in changes[1:])
        assert len({json.dumps(change, sort_keys=True) for change in changes}) == len(changes)
