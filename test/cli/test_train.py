import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keytrack_ros.cli.app import app
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.registry import find_model
from keytrack_ros.training.matcher.options import RECIPES, TrainOptions
from test.training.matcher.toy_tracks import write_tracks

pytest.importorskip("torch", reason="torch is not installed; make dev installs it")

REPOSITORY = Path(__file__).parents[2]
TINY = ["--steps-per-epoch", "3", "--batch-size", "4", "--validation-scenes", "8", "--validation-pairs", "32"]
TINY += ["--threads", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_tracks(tmp_path_factory.mktemp("tracks"))


@pytest.mark.parametrize(
    ("recipe", "name", "kind"),
    [("default", "pose_entailment", "tracks"), ("paper", "pose_entailment_paper", "pairs")],
)
def test_a_run_leaves_log_picture_checkpoint_and_a_network(data, tmp_path, recipe, name, kind):
    result = CliRunner().invoke(
        app,
        ["train", "matcher", "--data", str(data), "--out", str(tmp_path), "--recipe", recipe, *TINY, "--epochs", "2"],
    )
    assert result.exit_code == 0, result.output
    names = {file.name for file in tmp_path.iterdir()}
    weights = {f"{name}.pt", f"{name}.onnx", f"{name}.yaml"}
    assert names == {"checkpoint.pt", "log.csv", "curves.png"} | weights
    card = find_model(MatcherCard, name, [tmp_path])
    assert (card.path, card.input) == (tmp_path / f"{name}.onnx", kind)
    assert "cross-entropy: training (augmented)" in " ".join(result.output.split())


def test_options_that_are_named_win_over_the_recipes(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("keytrack_ros.cli.train.run_training", lambda *a: seen.append(a[-1]))
    arguments = ["matcher", "--data", str(data), "--out", str(tmp_path)]
    for more in (["--recipe", "paper"], ["--recipe", "paper", "--epochs", "9"], []):
        assert CliRunner().invoke(app, ["train", *arguments, *more]).exit_code == 0
    paper, mixed, default = seen
    assert (paper.input, paper.epochs, paper.batch_size, paper.learning_rate) == ("pairs", 25, 32, 1e-4)
    assert (paper.warm_up, paper.dropout, paper.gradient_limit) == (0.01, 0.1, 0)
    assert mixed == replace(paper, epochs=9)
    assert default == TrainOptions()


def test_a_config_file_wins_over_the_recipe_and_the_command_line_over_both(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("keytrack_ros.cli.train.run_training", lambda *a: seen.append(a[-1]))
    config = tmp_path / "mine.yaml"
    config.write_text("recipe: paper\nepochs: 3\nlearning_rate: 0.002\n")
    arguments = ["train", "matcher", "--data", str(data), "--out", str(tmp_path), "--config", str(config)]
    result = CliRunner().invoke(app, [*arguments, "--epochs", "7"])
    assert result.exit_code == 0, result.output
    assert seen == [TrainOptions(**{**RECIPES["paper"], "recipe": "paper", "epochs": 7, "learning_rate": 0.002})]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3\n", "mine.yaml: there is no option 'epoch'; known are"),
        ("- 3\n", "mine.yaml: a mapping of option names to values is needed"),
        ("{", "mine.yaml: not YAML"),
    ],
)
def test_a_wrong_config_file_is_named(data, tmp_path, text, message):
    config = tmp_path / "mine.yaml"
    config.write_text(text)
    arguments = ["train", "matcher", "--data", str(data), "--out", str(tmp_path / "run"), "--config", str(config)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(data, tmp_path):
    # A real process and a real signal; the first checkpoint on disk shows that training has begun.
    run = "import sys; from keytrack_ros.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", run, "train", "matcher", "--data", str(data)]
    command += ["--out", str(tmp_path), *TINY]
    process = subprocess.Popen([*command, "--epochs", "10000"], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    try:
        while not (tmp_path / "log.csv").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=280)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "resume with the same command and --resume" in " ".join(errors.split())
    assert (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--epochs", "0"], "epochs: 0 lies outside 1..10000"),
        (["--segments", "two"], "segments: 'two' is none of distinct, paper"),
        (["--resume"], "there is no run to resume"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_1(data, tmp_path, arguments, text):
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["train", "matcher", "--data", str(data), "--out", str(out), *TINY, *arguments])
    assert result.exit_code == 1
    assert text in " ".join(result.output.split())
    assert not out.exists()


def test_missing_data_is_named(tmp_path):
    result = CliRunner().invoke(app, ["train", "matcher", "--data", str(tmp_path), "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert "there is no .npz file with pose tracks" in " ".join(result.output.split())
    assert "Traceback" not in result.output
