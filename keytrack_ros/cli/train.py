"""`keytrack train …`: training from the command line, with progress, Ctrl-C and `--resume`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from keytrack_ros.errors import KeytrackError
from keytrack_ros.options import Options
from keytrack_ros.training.common.progress import console
from keytrack_ros.training.detector.options import DetectorTrainOptions
from keytrack_ros.training.matcher.options import RECIPES, TrainOptions
from keytrack_ros.training.pose.options import PoseTrainOptions

train_app = typer.Typer(no_args_is_help=True, help="Train networks.")


@train_app.callback()
def train() -> None:
    """Train networks on a CPU or GPU; every run can be stopped and resumed."""


def _matcher(context: typer.Context, data: Path, out: Path, resume: bool = False, **values: Any) -> None:
    """Train the matcher on pose tracks.

    Recipes: `default` (the track network that ships), `pairs` (Pose Entailment in the same time), `paper` (Pose
    Entailment as written in the paper, A.4). Options that are named win over the recipe's.

    The run folder gets checkpoint.pt, log.csv, loss.png, and at the end pose_entailment.pt, .onnx and .yaml, which a
    tracker uses when the folder is named by --models. Ctrl-C stops after the running step; --resume goes on from there.
    """
    from keytrack_ros.cli.train_matcher import train_matcher

    with _errors_shown():
        train_matcher(data, out, resume, TrainOptions(**_with_recipe(context, values)))


def _with_recipe(context: typer.Context, values: dict[str, Any]) -> dict[str, Any]:
    """Options that were not named take the recipe's values."""
    recipe = RECIPES.get(values["recipe"], {})
    sources = {name: context.get_parameter_source(name) for name in recipe}
    unnamed = [name for name, source in sources.items() if source is not None and source.name == "DEFAULT"]
    return {**values, **{name: recipe[name] for name in unnamed}}


@contextmanager
def _errors_shown() -> Iterator[None]:
    """Foreseeable errors end in one line and exit code 1."""
    try:
        yield
    except KeytrackError as error:
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _with_options(function: Any, options_class: type[Options], data: str) -> Any:
    """`function` with a command-line option for every field of `options_class` in place of its `**values`.

    `data` says what the folder named by --data holds. Lines of a paragraph of the help are joined, to be broken as wide
    as the terminal is.
    """
    paragraphs = inspect.cleandoc(function.__doc__).split("\n\n")
    function.__doc__ = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)
    hints = get_type_hints(options_class)
    parameters = [
        _parameter("data", Path, ..., data),
        _parameter("out", Path, ..., "run folder"),
        _parameter("resume", bool, False, "continue the run in that folder"),
    ]
    for item in fields(options_class):
        about = item.metadata
        choices = f" ({', '.join(about['choices'])})" if about["choices"] else ""
        parameters.append(_parameter(item.name, hints[item.name], item.default, about["description"] + choices))
    if "context" in inspect.signature(function).parameters:
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.insert(0, inspect.Parameter("context", keyword, annotation=typer.Context))
    function.__signature__ = inspect.Signature(parameters)
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    return function


def _parameter(name: str, kind: Any, default: Any, text: str) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    if default is True:
        flag += flag.replace("--", "/--no-", 1)
    annotation = Annotated[kind, typer.Option(flag, help=text)]
    missing = inspect.Parameter.empty if default is ... else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=missing, annotation=annotation)


train_app.command("matcher")(
    _with_options(_matcher, TrainOptions, "folder with bonn_train.npz, somof_valid.npz and penn_action.npz")
)


def _detector(data: Path, out: Path, resume: bool = False, **values: Any) -> None:
    """Train the person detector on images with boxes in COCO form.

    The run folder gets samples.png (training images to look at), checkpoint.pt, log.csv, curves.png, and at the end
    person_detector.onnx and .yaml, which a tracker uses when the folder is named by --models. Ctrl-C stops after the
    running step; --resume goes on from there.
    """
    from keytrack_ros.cli.train_detector import train_detector

    with _errors_shown():
        train_detector(data, out, resume, DetectorTrainOptions(**values))


train_app.command("detector")(
    _with_options(_detector, DetectorTrainOptions, "folder with images/ and annotations/NAME_train.json, NAME_val.json")
)


def _pose(data: Path, out: Path, resume: bool = False, **values: Any) -> None:
    """Train HRNet on people: labels where there are, two teachers' agreement where there are none.

    The run folder gets samples.png (augmented people to look at), checkpoint.pt, log.csv, curves.png, and at the end
    hrnet_w16.onnx and .yaml (or w32, w48), which a tracker uses when the folder is named by --models. Ctrl-C stops
    after the running step; --resume goes on from there.
    """
    from keytrack_ros.cli.train_pose import train_pose

    with _errors_shown():
        train_pose(data, out, resume, PoseTrainOptions(**values))


train_app.command("pose")(_with_options(_pose, PoseTrainOptions, "folder with images and pseudo (teachers' labels)"))


if __name__ == "__main__":
    train_app()
