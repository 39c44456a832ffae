"""The paper's experiments with Pose Entailment on pose tracks: each is one command that prints one table.

    python -m bench.paper table3      --data FOLDER --out RUNS    embeddings left out, relative position
    python -m bench.paper figure7     --data FOLDER --out RUNS    layers, width, heads, grid
    python -m bench.paper past-frames --data FOLDER --out RUNS    how many past frames are searched (§5.1)
    python -m bench.paper assignment  --data FOLDER               greedy or Hungarian (§5.1)
    python -m bench.paper accuracy    --data FOLDER               of the shipped network

All networks of a run folder are trained alike: the same pairs in the same order, the same number of steps. That of the
paper (position, type and segment; 4 layers, H = 128, 4 heads, 24 × 18) is common to table3 and figure7 if they have one
run folder. They are measured on videos that no training sees:

nearest: right answers, per cent, on annotated pairs 1 … δ frames apart, half of them one person, the others the
nearest other person of the past frame. near: the others are any of the five nearest, those that a tracker asks about.
%IDSW, IDF1: of the tracker (greedy, δ = 4, threshold 0.5) on annotated keypoints, as in `bench/identity.py`.

RUNS keeps every network and its figures. A second call goes on where the first was stopped, and does not repeat what
is there; other options are refused. The table is also written to RUNS/table3.csv and so on.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import special, stats

from bench.identity import FPS, SETTINGS, Score, sequences
from keytrack_ros.cli.training_progress import run_to_the_end
from keytrack_ros.errors import DataError, KeytrackError, OptionError
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.registry import find_model
from keytrack_ros.matching.entailment import EntailmentMatcher
from keytrack_ros.matching.matcher import MatchQuery
from keytrack_ros.matching.network import EntailmentNetwork
from keytrack_ros.options import Value
from keytrack_ros.poses import FloatArray, IntArray, Poses
from keytrack_ros.research.association import ASSIGNMENTS, Associator
from keytrack_ros.tracker.tracker import TrackerOptions, candidate_pairs
from keytrack_ros.training.common.checkpoint import differing
from keytrack_ros.training.common.setup import training_device
from keytrack_ros.training.common.shares import parsed_shares
from keytrack_ros.training.matcher.export import export_matcher
from keytrack_ros.training.matcher.options import CHANGEABLE, RECIPES, TrainOptions
from keytrack_ros.training.matcher.pairs import PairSampler
from keytrack_ros.training.matcher.tasks import PairTask, pair_sampler
from keytrack_ros.training.matcher.tracks import Tracks, held_back_videos, load_tracks, training_videos
from keytrack_ros.training.matcher.training import MatcherTraining

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)

Changes = Mapping[str, Value]
"""Options of `TrainOptions` in which a variant differs from the paper's network."""

TABLE_3: dict[str, Changes] = {
    "as in the paper": {},
    "without position": {"embeddings": "type,segment"},
    "without type": {"embeddings": "position,segment"},
    "without segment": {"embeddings": "position,type"},
    "relative position in place of position": {"embeddings": "type,segment,relative"},
    "relative position besides": {"embeddings": "position,type,segment,relative"},
}

FIGURE_7: dict[str, Changes] = {
    "as in the paper": {},
    "2 layers": {"layers": 2},
    "6 layers": {"layers": 6},
    "H = 64": {"width": 64, "intermediate": 64},
    "H = 256": {"width": 256, "intermediate": 256},
    "2 heads": {"heads": 2},
    "8 heads": {"heads": 8},
    "12 × 9": {"columns": 12, "rows": 9},
    "48 × 36": {"columns": 48, "rows": 36},
    "96 × 72": {"columns": 96, "rows": 72},
}

VARIANTS = {"table3": TABLE_3, "figure7": FIGURE_7}

MEMORIES = (1, 2, 3, 4, 6, 8)
"""Past frames that the tracker searches, with one network that knows gaps up to the largest of them."""

NEAR = 5

SHARES = "bonn=0.3,somof=0.4"
"""How often pairs begin in Multi-Person PoseTrack and SoMoF, see docs/models/pose_entailment_paper.md."""

_PAIRS_SEED = 93

Figures = dict[str, float]
Data = Annotated[Path, typer.Option(help="folder with pose tracks, .npz files")]
Out = Annotated[Path, typer.Option(help="run folder")]
Steps = Annotated[int, typer.Option(help="training steps of each network")]
Batch = Annotated[int, typer.Option(help="pairs in a step")]
Rate = Annotated[float, typer.Option(help="highest learning rate")]
Pairs = Annotated[int, typer.Option(help="pairs that accuracy is measured on")]
Settings = Annotated[str, typer.Option(help=f"settings of bench/identity.py to track in: {', '.join(SETTINGS)}")]
Precision = Annotated[str, typer.Option(help="float32 or bfloat16, which is faster where the processor knows it")]
Threads = Annotated[int, typer.Option(help="cores; 0 = all")]


class Experiment:
    """What all variants of an experiment have in common: data, budget, measures.

    Args:
        data: folder with the track files.
        out: run folder.
        budget: options of the training that are alike for all.
        settings: names of `SETTINGS`, comma-separated.
        pairs: how many pairs accuracy is measured on.

    Raises:
        OptionError: a value is out of range.
        DataError: the tracks cannot be read.
    """

    def __init__(self, data: Path, out: Path, budget: Changes, settings: str, pairs: int = 2) -> None:
        self.settings = [name.strip() for name in settings.split(",")]
        unknown = [name for name in self.settings if name not in SETTINGS]
        if unknown:
            raise OptionError(f"settings: '{unknown[0]}' is none of {', '.join(SETTINGS)}")
        if pairs < 2:
            raise OptionError(f"pairs: {pairs} is less than 2")
        self.out, self.budget, self.pairs = out, budget, pairs
        tracks = load_tracks(data)
        self.known, self.held_back = tracks.select(training_videos(tracks)), tracks.select(held_back_videos(tracks))

    def options(self, changes: Changes) -> TrainOptions:
        """The `pairs` recipe on the paper's kind of pairs, with the budget and the changes of a variant."""
        paper: Changes = {
            "recipe": "pairs",
            "largest_stride": 1,
            "augmentation": "views",
            "epochs": 1,
            "shares": SHARES,
        }
        return TrainOptions(**{**RECIPES["pairs"], **paper, **self.budget, **changes})  # type: ignore[arg-type]

    def figures(self, name: str, changes: Changes) -> Figures:
        """Accuracies and the tracker's scores of a variant, which is trained first if it is not there yet."""
        folder = self.out / slug(name)
        options = asdict(self.options(changes))
        asked = {key: value for key, value in options.items() if key not in CHANGEABLE or key == "prior"}
        asked |= {"settings": self.settings, "pairs": self.pairs}
        asked["data"] = f"{self.known.fingerprint} {self.held_back.fingerprint}"
        return kept(folder / "figures.json", asked, lambda: self._measured(name, changes))

    def matcher(self, name: str, changes: Changes) -> EntailmentMatcher:
        """The variant as a tracker uses it, trained first if it is not there yet."""
        folder, options = self.out / slug(name), self.options(changes)
        card = folder / "pose_entailment_paper.yaml"
        if not card.exists():
            export_matcher(self._trained(name, changes), folder, options.prior, "pose_entailment_paper")
        return EntailmentMatcher(find_model(MatcherCard, str(card)), InferenceOptions(threads=options.threads))

    def _measured(self, name: str, changes: Changes) -> Figures:
        matcher, options = self.matcher(name, changes), self.options(changes)
        network = self._trained(name, changes).eval()
        task = PairTask(self.known, self.held_back, options, training_device(options.device))
        sampler = pair_sampler(self.held_back, options)
        figures = {"parameters": float(sum(p.numel() for p in network.parameters()))}
        for title, among in (("nearest", 1), ("near", NEAR)):
            batch = sampler.nearest_batch(self.pairs, np.random.default_rng(_PAIRS_SEED), among)
            figures[title] = 100 * task.score(network, batch)[1]
        return figures | self.tracked(matcher, options.memory_frames)

    def _trained(self, name: str, changes: Changes) -> EntailmentNetwork:
        folder, options = self.out / slug(name), self.options(changes)
        resume = (folder / "checkpoint.pt").exists()
        training = MatcherTraining(self.known, self.held_back, folder, options, resume)
        if not training.finished:
            run_to_the_end(
                training,
                options.steps,
                lambda progress: (
                    f"{name}  loss {progress.means['loss']:.3f}  {progress.examples_per_second:.0f} pairs/s"
                ),
            )
        assert isinstance(training.network, EntailmentNetwork)
        return training.network

    def tracked(self, matcher: EntailmentMatcher, memory: int, assignment: str = "greedy") -> Figures:
        """The scores of a tracker with this matcher, in all settings."""
        figures: Figures = {}
        for setting in self.settings:
            stride, perturbed = SETTINGS[setting]
            score = Score()
            for video, (width, height) in enumerate(self.held_back.sizes.astype(int).tolist()):
                for steps in sequences(self.held_back, video, stride, perturbed):
                    tracker = Associator(matcher, memory, assignment)
                    score.add(steps, [tracker.update(step.poses, (width, height), step.stamp) for step in steps])
            figures[f"%IDSW, stride {setting}"] = score.percent_switched
            figures[f"IDF1, stride {setting}"] = score.idf1
        return figures


def kept(file: Path, asked: Mapping[str, object], measure: Callable[[], Figures]) -> Figures:
    """The figures in `file`, or else those that `measure` finds, which are written there.

    Raises DataError if the file was written for something else than `asked`, or is not such a file.
    """
    if not file.exists():
        figures = measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(file.name + ".part")
        part.write_text(json.dumps({"asked": asked, "figures": figures}, indent=1), encoding="utf-8")
        part.replace(file)
        return figures
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        before, figures = dict(content["asked"]), {str(k): float(v) for k, v in content["figures"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not the figures of an experiment ({error}); remove it") from None
    differences = differing(before, asked)
    if differences:
        raise DataError(f"{file}: belongs to another run: {'; '.join(differences)}; use another run folder")
    return figures


def slug(name: str) -> str:
    """A variant's name as a folder's."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("×", "x")).strip("_")


def markdown(results: Mapping[str, Figures]) -> str:
    """One line for each variant."""
    titles = list(next(iter(results.values())))
    lines = [f"| variant | {' | '.join(titles)} |", "|---|" + "---:|" * len(titles)]
    for name, figures in results.items():
        lines.append(f"| {name} | {' | '.join(_text(title, figures[title]) for title in titles)} |")
    return "\n".join(lines)


def _text(title: str, value: float) -> str:
    digits = 0 if title in ("parameters", "pairs") else 2 if title.startswith("%") else 1
    return f"{value:,.{digits}f}"


def report(results: Mapping[str, Figures], file: Path | None = None) -> None:
    """Prints the table; writes it as CSV, too."""
    typer.echo(markdown(results))
    if file is None:
        return
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["variant", *next(iter(results.values()))])
        writer.writerows([name, *(f"{value:.6g}" for value in figures.values())] for name, figures in results.items())


@contextmanager
def errors_shown() -> Iterator[None]:
    """Foreseeable errors end in one line and exit code 1."""
    try:
        yield
    except KeytrackError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _budget(steps: int, batch: int, rate: float, precision: str, threads: int) -> Changes:
    return {
        "steps_per_epoch": steps,
        "batch_size": batch,
        "learning_rate": rate,
        "precision": precision,
        "threads": threads,
        "validation_pairs": 512,
    }


@app.command(
    "table3",
    help="Each embedding left out, and relative position in place of position or besides (the paper's Table 3).",
)
@app.command(
    "figure7",
    help="Number of layers, width, heads, and resolution of the position tokens (the paper's Figure 7).",
)
def variants(
    context: typer.Context,
    data: Data,
    out: Out,
    steps: Steps = 400,
    batch: Batch = 256,
    rate: Rate = 1e-3,
    pairs: Pairs = 4096,
    settings: Settings = "1,4",
    precision: Precision = "float32",
    threads: Threads = 0,
) -> None:
    """Trains and measures one variant after another; what is known is shown after each."""
    name = str(context.info_name)
    with errors_shown():
        experiment = Experiment(data, out, _budget(steps, batch, rate, precision, threads), settings, pairs)
        results = {}
        for variant, changes in VARIANTS[name].items():
            results[variant] = experiment.figures(variant, changes)
            report({variant: results[variant]})
        report(results, out / f"{name}.csv")


@app.command("past-frames")
def past_frames(
    data: Data,
    out: Out,
    model: Annotated[str, typer.Option(help="matcher of pairs to use: name or model file; empty = train one")] = "",
    steps: Steps = 400,
    batch: Batch = 256,
    rate: Rate = 1e-3,
    settings: Settings = "1,4,1 perturbed,4 perturbed",
    precision: Precision = "float32",
    threads: Threads = 0,
) -> None:
    """How many past frames the tracker searches, with one network that is trained for the most (§5.1).

    With --model the network is not trained, and the table ends with the gap that it knows.
    """
    with errors_shown():
        budget = _budget(steps, batch, rate, precision, threads)
        experiment = Experiment(data, out, budget, settings)
        if model:
            matcher = EntailmentMatcher(find_model(MatcherCard, model), InferenceOptions(threads=threads))
        else:
            matcher = experiment.matcher("past frames", {"memory_frames": max(MEMORIES)})
        memories = [m for m in MEMORIES if m <= matcher.card.memory_frames]
        out.mkdir(parents=True, exist_ok=True)
        report({f"δ = {m}": experiment.tracked(matcher, m) for m in memories}, out / "past_frames.csv")


@app.command()
def assignment(
    data: Data,
    model: Annotated[str, typer.Option(help="matcher of pairs: name or model file")] = "pose_entailment_paper",
    settings: Settings = "1,4,1 perturbed,4 perturbed",
    threads: Threads = 0,
) -> None:
    """Greedy against Hungarian assignment with the same network (§5.1)."""
    with errors_shown():
        matcher = EntailmentMatcher(find_model(MatcherCard, model), InferenceOptions(threads=threads))
        experiment = Experiment(data, Path(), {}, settings)
        memory = matcher.card.memory_frames
        report({name: experiment.tracked(matcher, memory, name) for name in ASSIGNMENTS})


@app.command()
def accuracy(
    data: Data,
    model: Annotated[str, typer.Option(help="matcher of pairs: name or model file")] = "pose_entailment_paper",
    prior: Annotated[float, typer.Option(help="that it was exported with; it is undone first")] = 0.97,
    pairs: Pairs = 8192,
    threads: Threads = 0,
) -> None:
    """Match accuracy, area under the ROC curve, and how far the match probability is off (calibration error)."""
    with errors_shown():
        matcher = EntailmentMatcher(find_model(MatcherCard, model), InferenceOptions(threads=threads))
        held_back = Experiment(data, Path(), {}, "1", pairs).held_back
        card, results, shares = matcher.card, {}, parsed_shares(SHARES)
        for name, among in (("nearest", 1), ("near", NEAR)):
            sampler = PairSampler(held_back, card.memory_frames, card.segments, card.grid, 1, shares=shares)
            batch = sampler.nearest_batch(pairs, np.random.default_rng(_PAIRS_SEED), among)
            results[name] = judged(balanced(matcher.probabilities(batch.tokens), prior), batch.labels)
        answers, ground_truth = asked(held_back, matcher)
        results["asked by the tracker"] = judged(balanced(answers, prior), ground_truth)
        report(results)


def balanced(probabilities: FloatArray, prior: float) -> FloatArray:
    """Moved from `prior` back to one half."""
    odds = special.logit(probabilities.astype(np.float64)) - special.logit(prior)
    return np.asarray(special.expit(odds))


def asked(tracks: Tracks, matcher: EntailmentMatcher) -> tuple[FloatArray, IntArray]:
    """What a tracker asks with annotated keypoints: probabilities and ground truth of all its candidate pairs."""
    answers, ground_truth = [], []
    for video, (width, height) in enumerate(tracks.sizes.astype(int).tolist()):
        for steps in sequences(tracks, video, 1, "annotated"):
            for now, step in enumerate(steps):
                before = steps[max(now - matcher.card.memory_frames, 0) : now][::-1]
                past = Poses.concatenate([other.poses for other in before])
                gaps = np.repeat(np.arange(1, len(before) + 1), [len(other.poses) for other in before])
                rows = candidate_pairs(step.poses, past, gaps, TrackerOptions().candidates)
                if len(rows):
                    query = MatchQuery(step.poses, past, gaps, (gaps / FPS).astype(np.float32), rows, (width, height))
                    answers.append(matcher.score(query))
                    owner = np.concatenate([other.owner for other in before])
                    ground_truth.append(step.owner[rows[:, 0]] == owner[rows[:, 1]])
    return np.concatenate(answers), np.concatenate(ground_truth).astype(np.int64)


def judged(probabilities: FloatArray, labels: IntArray) -> Figures:
    """Per cent: right answers at 0.5, area under the ROC curve, and the expected calibration error of ten bins."""
    right = (probabilities > 0.5) == (labels == 1)
    positive = labels == 1
    above = stats.mannwhitneyu(probabilities[positive], probabilities[~positive]).statistic
    bins = np.minimum((10 * probabilities).astype(int), 9)
    gaps = [abs((probabilities[bins == b] - labels[bins == b]).sum()) for b in range(10)]
    return {
        "pairs": float(len(labels)),
        "one person": 100 * float(positive.mean()),
        "right": 100 * float(right.mean()),
        "area under ROC": 100 * float(above) / (positive.sum() * (~positive).sum()),
        "calibration error": 100 * float(np.sum(gaps)) / len(labels),
    }


if __name__ == "__main__":
    app()
