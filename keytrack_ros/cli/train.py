"""`keytrack train …`: one command for each network, with progress, Ctrl-C, `--config` and `--resume`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
import yaml
from rich.markup import escape

from keytrack_ros.cli.console import console
from keytrack_ros.cli.training_progress import require_packages, run_to_the_end
from keytrack_ros.errors import OptionError
from keytrack_ros.options import Options, Value
from keytrack_ros.training.detector.options import DetectorTrainOptions
from keytrack_ros.training.matcher.options import RECIPES, TrainOptions
from keytrack_ros.training.pose.options import PoseTrainOptions

if TYPE_CHECKING:
    from keytrack_ros.training.common.run import Progress, TrainingRun

train_app = typer.Typer(no_args_is_help=True, help="Train networks.")


@dataclass(frozen=True)
class Network:
    """A network that can be trained.

    Attributes:
        options: of its training.
        training: class of its training, as module:name; imported when the command runs, since it needs torch.
        data: what the folder of --data holds.
        example: what a batch is made of, in the plural.
        help: of the command.
        recipes: option values by name, for an option `recipe`.
    """

    options: type[Options]
    training: str
    data: str
    example: str
    help: str
    recipes: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


_IMAGES = "folder with images and annotations in COCO, PoseTrack 2018 or MOTChallenge form, see docs/training.md"
_RUN_FOLDER = (
    "The run folder gets checkpoint.pt, log.csv, curves.png and, of image networks, samples.png (training images to "
    "look at); at the end {files}, which a tracker uses when the folder is named by --models. Ctrl-C stops after the "
    "current step; --resume continues from there. --config names a YAML file with option values, such as those of "
    "config/training; options that are named on the command line win."
)

NETWORKS = {
    "matcher": Network(
        TrainOptions,
        "keytrack_ros.training.matcher.training:MatcherTraining",
        "folder with pose tracks, .npz files: see docs/training.md",
        "examples",
        "Train the matcher on pose tracks.\n\nRecipes: `default` (the track network that ships), `pairs` (Pose "
        "Entailment in the same time), `paper` (Pose Entailment as written in the paper, A.4). Options that are named "
        "win over the recipe's.\n\n" + _RUN_FOLDER.format(files="pose_entailment.pt, .onnx and .yaml"),
        RECIPES,
    ),
    "detector": Network(
        DetectorTrainOptions,
        "keytrack_ros.training.detector.training:DetectorTraining",
        _IMAGES,
        "images",
        "Train the person detector on images with boxes.\n\n"
        + _RUN_FOLDER.format(files="person_detector.onnx and .yaml"),
    ),
    "pose": Network(
        PoseTrainOptions,
        "keytrack_ros.training.pose.training:PoseTraining",
        _IMAGES,
        "people",
        "Train HRNet on images of people with keypoints.\n\n"
        + _RUN_FOLDER.format(files="hrnet_w16.onnx, .pt and .yaml (or w24, w32, w48)"),
    ),
}


@train_app.callback()
def train() -> None:
    """Train networks on a CPU or GPU; every run can be stopped and resumed."""


def run_training(network: Network, data: Path, out: Path, resume: bool, options: Options) -> None:
    """Trains a network in the folder `out`, from the beginning or from its checkpoint, and exports it.

    A run that is stopped exports the network of that step.

    Raises KeytrackError for anything wrong with data, folder or options; typer.Exit when interrupted.
    """
    require_packages()
    module, _, name = network.training.partition(":")
    training: TrainingRun[Any] = getattr(import_module(module), name).open(data, out, options, resume)
    console.print(escape(training.data_summary))
    out.mkdir(parents=True, exist_ok=True)
    samples = training.sample_sheet()
    if samples is not None:
        import cv2  # not for `keytrack --help`

        cv2.imwrite(str(out / "samples.png"), samples)

    def text(progress: Progress) -> str:
        means = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in progress.means.items())
        rate = f"{progress.examples_per_second:.0f} {network.example}/s"
        return f"epoch {progress.epoch}  {means}  {training.headline}  {rate}"

    try:
        run_to_the_end(training, training.steps, text, training.draw_curves, training.steps_per_epoch)
    except typer.Exit:
        console.print(f"the network so far: {', '.join(escape(str(file)) for file in training.export())}")
        raise
    training.draw_curves()
    files = training.export()
    for panel in training.panels:
        console.print(panel.text(training.log[-1]))
    console.print(f"written: {', '.join(escape(str(file)) for file in files)}")


def option_values(network: Network, values: Mapping[str, Value], named: set[str], config: Path | None) -> Options:
    """The options of a run: those named on the command line, then the config file's, then the recipe's.

    Args:
        network: what is trained.
        values: of all options, from the command line or its defaults.
        named: options that stand on the command line.
        config: YAML file with option values, or None.

    Raises OptionError if the file cannot be read or has an unknown option, or a value is of a wrong type or range.
    """
    read = read_config(config, {item.name for item in fields(network.options)}) if config else {}
    chosen = {name: value for name, value in values.items() if name in named}
    recipe = {**values, **read, **chosen}.get("recipe")
    return network.options(**{**values, **network.recipes.get(str(recipe), {}), **read, **chosen})


def read_config(file: Path, known: set[str]) -> dict[str, Value]:
    """Option values of a YAML file. Raises OptionError if it cannot be read or has a key that is not in `known`."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise OptionError(f"{file}: a mapping of option names to values is needed")
    unknown = [str(key) for key in content if key not in known]
    if unknown:
        raise OptionError(f"{file}: there is no option '{unknown[0]}'; known are {', '.join(sorted(known))}")
    return content


def _command(network: Network) -> Any:
    """A function with a command-line option for every option of a training."""

    def command(
        context: typer.Context, data: Path, out: Path, config: Path | None, resume: bool, **values: Any
    ) -> None:
        sources = {name: context.get_parameter_source(name) for name in values}
        named = {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}
        run_training(network, data, out, resume, option_values(network, values, named, config))

    hints = get_type_hints(network.options)
    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        _parameter("data", Path, ..., network.data),
        _parameter("out", Path, ..., "run folder"),
        _parameter("config", Path | None, None, "YAML file with option values"),
        _parameter("resume", bool, False, "continue the run in that folder"),
    ]
    for item in fields(network.options):
        about = item.metadata
        choices = f" ({', '.join(about['choices'])})" if about["choices"] else ""
        parameters.append(_parameter(item.name, hints[item.name], item.default, about["description"] + choices))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _parameter(name: str, kind: Any, default: Any, text: str) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    if default is True:
        flag += flag.replace("--", "/--no-", 1)
    annotation = Annotated[kind, typer.Option(flag, help=text)]
    missing = inspect.Parameter.empty if default is ... else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=missing, annotation=annotation)


for _name, _network in NETWORKS.items():
    train_app.command(_name, help=_network.help)(_command(_network))
