"""`keytrack convert`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from keytrack_ros.cli.output import Overwrite


class Format(str, Enum):
    """What `keytrack convert` writes."""

    posetrack18 = "posetrack18"
    posetrack17 = "posetrack17"
    bag = "bag"


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="PoseTrack or COCO keypoint JSON file, bag, MOTChallenge text, or a folder of them."
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="OUTPUT", help="File or bag; for a folder of sequences, a folder.")],
    to: Annotated[
        Format | None,
        typer.Option(help="By default posetrack18 for an OUTPUT that ends in .json, else bag.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert tracked poses to PoseTrack 2018 JSON, PoseTrack 2017 JSON or bags.

    Track ids become small integers in order of appearance, as the official tools need them.
    """
    from keytrack_ros.annotations.convert import convert_sequences, default_format
    from keytrack_ros.cli.console import shown_warnings
    from keytrack_ros.media.paths import shown

    with shown_warnings():
        form = to.value if to is not None else default_format(source, target)
        for place in convert_sequences(source, target, form, overwrite=overwrite):
            typer.echo(shown(place))
