"""The commands and their options."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

import keytrack_ros
from keytrack_ros.cli.attention import attention
from keytrack_ros.cli.compare import compare
from keytrack_ros.cli.convert import convert
from keytrack_ros.cli.errors import CommandGroup
from keytrack_ros.cli.evaluate import Mode, evaluate  # light: they import what they need when they run
from keytrack_ros.cli.models_commands import ModelFolders, models_app
from keytrack_ros.cli.output import Overwrite
from keytrack_ros.cli.parallel import Scheduler, Workers
from keytrack_ros.cli.train import train_app  # without torch, which its commands import when they run
from keytrack_ros.errors import OptionError

app = typer.Typer(
    cls=CommandGroup,
    help="Online multi-person pose tracking: 15 keypoints and a persistent track id for every person (KeyTrack).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train")
app.command()(evaluate)
app.command()(compare)
app.command()(attention)
app.command()(convert)

ParameterFile = Annotated[
    Path | None, typer.Option(metavar="YAML", help="Options as a ROS parameter file, such as config/tracker.yaml.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One option by its dotted name, such as toks.dilation=1.3."),
]
FlipTest = Annotated[bool, typer.Option("--flip-test", help="Average with mirrored crops: better, slower.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"keytrack_ros {keytrack_ros.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def track(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="Video, folder of images, bag, webcam number, or address (rtsp://…, http://…)."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the results; made if needed.")],
    every: Annotated[int, typer.Option(min=1, help="Take every N-th frame of the input.")] = 1,
    start: Annotated[int, typer.Option(min=0, help="First frame of the input, counted from 0.")] = 0,
    frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    topic: Annotated[str | None, typer.Option(help="Image topic of a bag that has several.")] = None,
    fps: Annotated[float | None, typer.Option(min=0.001, help="Frame rate of an image folder (25) or video.")] = None,
    bits: Annotated[
        int, typer.Option(min=0, max=16, help="Bits that 16-bit images use (8 to 16); 0 = found from the images.")
    ] = 0,
    models: ModelFolders = None,
    params: ParameterFile = None,
    settings: Settings = None,
    flip_test: FlipTest = False,
    video: Annotated[bool, typer.Option("--video/--no-video", help="Write the annotated video.")] = True,
    explain: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write why every pose got its id there.")
    ] = None,
    explain_frame: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Draw the reasons of frame N of the input to FILE.png.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Track the people of a video, image folder or bag, without a ROS graph.

    Writes tracks.json (PoseTrack 2018), tracks/ (MCAP bag with TrackedPoseArray), tracks.mp4 and summary.json.
    """
    from keytrack_ros.cli.explain import ExplainRequest
    from keytrack_ros.cli.settings import pipeline_options, with_shortcuts
    from keytrack_ros.cli.track import TrackRequest, run_track

    if explain is None and explain_frame is not None:
        raise OptionError("--explain-frame: names a frame of what --explain writes; add --explain FILE.json")
    request = TrackRequest(
        source=source,
        out=out,
        options=pipeline_options(params, with_shortcuts(settings, models, flip_test)),
        start=start,
        every=every,
        frames=frames,
        topic=topic,
        fps=fps,
        bits=bits,
        video=video,
        overwrite=overwrite,
        explain=None if explain is None else ExplainRequest(explain, explain_frame),
    )
    raise typer.Exit(run_track(request))


@app.command()
def replay(
    sources: Annotated[
        list[str], typer.Argument(metavar="BAG...", help="Bags (folder, .mcap, .db3), also videos or image folders.")
    ],
    ground_truth: Annotated[
        Path | None,
        typer.Option("--gt", metavar="GT", help="Annotations (PoseTrack JSON); of several bags a folder, same names."),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the results; of several bags one in it each.")
    ] = Path("replay"),
    mode: Annotated[
        Mode, typer.Option(help="official: as poseval and PoseTrack21's code count; clean: as the definitions say.")
    ] = Mode.official,
    report: Annotated[
        Path | None, typer.Option(metavar="HTML", help="Write a page with tables, plots and pictures there.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Image topic of bags that have several.")] = None,
    models: ModelFolders = None,
    params: ParameterFile = None,
    settings: Settings = None,
    flip_test: FlipTest = False,
    workers: Workers = None,
    scheduler: Scheduler = "",
    video: Annotated[bool, typer.Option("--video/--no-video", help="Write annotated videos.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Replay bags through the tracker: every image in the order of the stamps, as fast as the machine goes.

    Two replays give the same tracks, byte for byte. With --gt the tracks are scored. Results as of `track`.
    """
    from keytrack_ros.cli.replay import ReplayRequest, run_replay
    from keytrack_ros.cli.settings import pipeline_options, with_shortcuts
    from keytrack_ros.evaluation.protocol import PROTOCOLS

    request = ReplayRequest(
        sources=tuple(sources),
        out=out,
        options=pipeline_options(params, with_shortcuts(settings, models, flip_test)),
        ground_truth=ground_truth,
        protocol=PROTOCOLS[mode.value],
        report=report,
        topic=topic,
        workers=workers,
        scheduler=scheduler,
        video=video,
        overwrite=overwrite,
    )
    raise typer.Exit(run_replay(request))


class Precision(str, Enum):
    """Of TensorRT engines."""

    fp16 = "fp16"
    fp32 = "fp32"
    int8 = "int8"


@app.command("build-engines")
def build_engines(
    precision: Annotated[
        Precision | None, typer.Option(help="By default that of the parameters, which is fp16 unless set.")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(metavar="INPUT", help="For int8: folder of images, video or bag to calibrate on (100 frames)."),
    ] = None,
    for_: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="SM,…",
            help="Compute capabilities of other machines' GPUs, such as sm_86,sm_89; builds engines of TensorRT for "
            "RTX, without a GPU.",
        ),
    ] = "",
    models: ModelFolders = None,
    params: ParameterFile = None,
    settings: Settings = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show keys, files and profiles.")] = False,
    force: Annotated[bool, typer.Option("--force", "--again", help="Build even if there is an engine.")] = False,
) -> None:
    """Build the TensorRT engines of the networks that a tracker with these parameters uses. Takes minutes.

    Engines are valid for this GPU and this version of TensorRT; they are stored in ~/.cache/keytrack_ros/engines.
    """
    from keytrack_ros.cli.engines import EnginesRequest, run_build_engines
    from keytrack_ros.cli.settings import pipeline_options, with_shortcuts
    from keytrack_ros.inference.tensorrt.library import parse_capabilities

    chosen = with_shortcuts(settings, models, False)
    if precision is not None:
        chosen.append(f"inference.precision={precision.value}")
    options = pipeline_options(params, chosen)
    capabilities = parse_capabilities(for_) if for_ else ()
    raise typer.Exit(run_build_engines(EnginesRequest(options, images, capabilities, dry_run, force)))
