"""`keytrack models fetch`: a published checkpoint by its name, from its publisher to a network that can be used."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from keytrack_ros.cli.console import console
from keytrack_ros.cli.models_import import ImportRequest, import_network, require_torch
from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import PoseCard
from keytrack_ros.inference.download import check_sha256, download
from keytrack_ros.inference.published import PUBLISHED, PublishedNetwork
from keytrack_ros.inference.registry import cache_folder, find_model


def fetch_network(name: str, half: bool) -> PoseCard:
    """Fetches the checkpoint unless it is in the cache, and imports it; returns its model file.

    Raises ModelError if the name is not known, the file cannot be fetched, is not the one that was published, or cannot
    be made a network.
    """
    if name not in PUBLISHED:
        raise ModelError(
            f"'{name}' is not known; known are {', '.join(PUBLISHED)}; other files: keytrack models import"
        )
    network, folder = PUBLISHED[name], cache_folder()
    if (folder / f"{name}.yaml").is_file():
        return _present(folder / f"{name}.yaml")
    checkpoint = folder / network.file
    if checkpoint.exists():
        check_sha256(checkpoint, network.sha256, name)
    else:
        _download(network, checkpoint)
    require_torch(f"{checkpoint} is here; to make a network of it")
    console.print(f"making a network of {escape(str(checkpoint))} and comparing it with torch; this can take a minute")
    return import_network(ImportRequest(checkpoint, name, half=half))


def _present(file: Path) -> PoseCard:
    """The network that was fetched before. Raises ModelError if it is damaged."""
    try:
        return find_model(PoseCard, str(file))
    except ModelError as error:
        raise ModelError(f"{error}; to fetch it anew, delete {file}") from None


def _download(network: PublishedNetwork, file: Path) -> None:
    if not network.url:
        raise ModelError(
            f"{network.name}: no program can fetch it; get {network.file} in a browser from {network.page}, "
            f"put it into {file.parent}, and run the command again"
        )
    console.print(f"{escape(network.url)} → {escape(str(file))}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(network.name, total=None)
        download(network.url, file, network.sha256, lambda done, total: bar.update(task, completed=done, total=total))
