"""`keytrack models …`: the commands and their options."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keytrack_ros.inference.cards import DetectorCard, PoseCard

models_app = typer.Typer(help="The networks: list, fetch, import, export, quantize.", no_args_is_help=True)

ModelFolders = Annotated[
    list[Path] | None,
    typer.Option("--models", metavar="DIR", help="Folder with networks, searched first; may be given several times."),
]
_Half = Annotated[bool, typer.Option("--half", help="Store the weights as FP16: half the size, same arithmetic.")]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a network that is already there.")]
_Image = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Image on whose crops the network is compared with torch, too.")
]
_Size = Annotated[str | None, typer.Option(metavar="WxH", help="Width x height of the crop, such as 192x256.")]


class Decoder(str, Enum):
    """How heatmaps become keypoints."""

    quarter = "quarter"
    dark = "dark"
    argmax = "argmax"


@models_app.command("list")
def list_models(models: ModelFolders = None) -> None:
    """Show the networks that were found, which of them are used, where was looked, and what can be fetched."""
    from keytrack_ros.cli.models import show_models

    show_models(models or [])


@models_app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a network.")], models: ModelFolders = None
) -> None:
    """Show what is known of a network: input, joints, size, cost, licence, accuracy."""
    from keytrack_ros.cli.models import show_model

    show_model(name, models or [])


@models_app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="One of those that `keytrack models list` names.")] = "",
    half: _Half = False,
    set_name: Annotated[
        str, typer.Option("--set", metavar="SET", help="A set of networks in place of one: accurate.")
    ] = "",
) -> None:
    """Fetch a published detector or HRNet from its publisher (an HRNet needs torch and onnx to be made a network).

    `--set accurate` fetches the networks of config/accurate.yaml. A broken-off transfer continues where it stopped when
    the command is run again; without internet, the command tells which file to put where.
    """
    from keytrack_ros.cli.models_fetch import fetch_networks

    for card in fetch_networks(name, set_name, half):
        _say_use(card)


@models_app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="HRNet checkpoint (.pth, .pt) or any pose .onnx.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="By which options will name it.")],
    joints: Annotated[
        str,
        typer.Option(help="What the outputs show: coco17, posetrack17, posetrack15, mpii16, or joints with commas."),
    ] = "",
    size: _Size = None,
    decoder: Annotated[Decoder | None, typer.Option(help="By default that of the publisher, or quarter.")] = None,
    licence: Annotated[str, typer.Option(help="Terms of the weights, for people.")] = "",
    half: _Half = False,
    image: _Image = None,
    overwrite: _Overwrite = False,
) -> None:
    """Keep a checkpoint of HRNet's authors or mmpose, or an ONNX file, as a network with a name.

    Joints and size are seen from the file and its name where these tell.
    """
    from keytrack_ros.cli.models_import import ImportRequest, import_network, parse_size

    request = ImportRequest(
        file=file,
        name=name,
        joints=joints,
        size=parse_size(size) if size else None,
        decoder=decoder.value if decoder else "",
        licence=licence,
        half=half,
        image=image,
        overwrite=overwrite,
    )
    _say_use(import_network(request))


@models_app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A pose network that was fetched or imported.")],
    onnx: Annotated[Path, typer.Option("--onnx", metavar="OUT", help="ONNX file; OUT.yaml is written beside it.")],
    size: _Size = None,
    half: _Half = False,
    image: _Image = None,
    models: ModelFolders = None,
    overwrite: _Overwrite = False,
) -> None:
    """Export a pose network from its torch weights as ONNX: any number of people, crops of a fixed size."""
    from keytrack_ros.cli.models_import import export_network, parse_size

    card = export_network(name, onnx, parse_size(size) if size else None, half, image, models or [], overwrite)
    typer.echo(f"{card.path} and {card.path.with_suffix('.yaml').name}; its results were compared with torch's")


@models_app.command()
def quantize(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A detector or pose network.")],
    images: Annotated[
        str, typer.Option(metavar="INPUT", help="Folder of images, video or bag like those of the camera (300 frames).")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="By default beside the network; for shipped networks your cache."),
    ] = None,
    all_layers: Annotated[
        bool, typer.Option("--all-layers", help="The output layers in INT8, too, which costs accuracy.")
    ] = False,
    detector: Annotated[
        str, typer.Option(metavar="NAME", help="Detector that finds the people for a pose network.")
    ] = "auto",
    models: ModelFolders = None,
    overwrite: _Overwrite = False,
) -> None:
    """Make the INT8 network that CPUs with VNNI or AMX run in place of NAME (needs onnx).

    Calibrated on the images: every tenth is kept to compare the outputs with FP32. Takes about a minute.
    """
    from keytrack_ros.cli.models_quantize import QuantizeRequest, quantize_network

    done = quantize_network(QuantizeRequest(name, images, models or [], out, all_layers, detector, overwrite))
    typer.echo(
        f"{done.card.name}: {done.card.path}, calibrated on {done.samples} inputs; differs from FP32 by "
        f"{done.difference:.1%} of the outputs' norm; precision auto uses it where the CPU has VNNI or AMX"
    )


def _say_use(card: DetectorCard | PoseCard) -> None:
    width, height = card.input.size
    stage, what = ("detector", "images") if card.task == "detection" else ("estimator", "crops")
    typer.echo(f"{card.name}: {card.path}, {what} of {width} x {height}; use it with --set {stage}.model={card.name}")
