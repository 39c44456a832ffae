"""`keytrack models fetch`: published networks by name, or a named set of them, from their publishers to the cache."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from keytrack_ros.cli.console import console
from keytrack_ros.cli.models_import import ImportRequest, import_network, require_torch
from keytrack_ros.errors import ModelError, OptionError
from keytrack_ros.inference.cards import DetectorCard, PoseCard, write_card
from keytrack_ros.inference.download import check_sha256, download
from keytrack_ros.inference.published import PUBLISHED
from keytrack_ros.inference.published_detectors import DETECTORS, SETS, PublishedDetector
from keytrack_ros.inference.registry import cache_folder, find_model

CardT = TypeVar("CardT", DetectorCard, PoseCard)


def fetch_networks(name: str, set_name: str, half: bool) -> list[DetectorCard | PoseCard]:
    """Fetches one network, or all of a set; returns their model files.

    Args:
        name: of a published network, or "".
        set_name: one of `SETS`, or "".
        half: whether the weights of pose networks are stored as FP16.

    Raises:
        OptionError: neither a name nor a set was given, or both, or the set is not known.
        ModelError: a name is not known, or a network cannot be fetched; of a set all such networks are named, each
            with the way to bring its file by hand.
    """
    if bool(name) == bool(set_name):
        raise OptionError(f"name one network, or a set with --set ({', '.join(SETS)})")
    if name:
        return [fetch_network(name, half)]
    if set_name not in SETS:
        raise OptionError(f"--set {set_name}: there is no such set; known are {', '.join(SETS)}")
    cards: list[DetectorCard | PoseCard] = []
    missing: list[str] = []
    for member in SETS[set_name]:
        try:
            cards.append(fetch_network(member, half))
        except ModelError as error:  # noqa: PERF203, all that are missing are named
            missing.append(f"{member}: {error}")
    if missing:
        raise ModelError(f"{len(missing)} of {len(SETS[set_name])} networks are missing.\n" + "\n".join(missing))
    return cards


def fetch_network(name: str, half: bool = False) -> DetectorCard | PoseCard:
    """Fetches a network unless it is in the cache; returns its model file.

    Raises ModelError if the name is not known, the file cannot be fetched, is not the one that was published, or cannot
    be made a network.
    """
    if name in DETECTORS:
        return _detector(DETECTORS[name])
    if name not in PUBLISHED:
        known = ", ".join((*PUBLISHED, *DETECTORS))
        raise ModelError(f"'{name}' is not known; known are {known}; other files: keytrack models import")
    network, folder = PUBLISHED[name], cache_folder()
    if (folder / f"{name}.yaml").is_file():
        return _present(PoseCard, folder / f"{name}.yaml")
    checkpoint = folder / network.file
    if checkpoint.exists():
        check_sha256(checkpoint, network.sha256, name)
    elif not network.url:
        raise ModelError(
            f"{network.name}: no program can fetch it; get {network.file} in a browser from {network.page}, "
            f"put it into {folder}, and run the command again"
        )
    else:
        _download(name, network.url, checkpoint, network.sha256)
    require_torch(f"{checkpoint} is here; to make a network of it")
    console.print(f"making a network of {escape(str(checkpoint))} and comparing it with torch; this can take a minute")
    return import_network(ImportRequest(checkpoint, name, half=half))


def _detector(detector: PublishedDetector) -> DetectorCard:
    folder, card = cache_folder(), detector.card
    card_file, file = folder / f"{card.name}.yaml", folder / card.file
    if card_file.is_file():
        return _present(DetectorCard, card_file)
    if file.exists():
        check_sha256(file, card.sha256, card.name)
    elif not detector.member:
        _download(card.name, detector.url, file, card.sha256)
    else:
        archive = folder / detector.file
        if not archive.exists():
            _download(card.name, detector.url, archive, "")
        _extract(archive, detector, file)
        archive.unlink()
    write_card(card, card_file)
    return replace(card, path=file)


def _extract(archive: Path, detector: PublishedDetector, file: Path) -> None:
    """Writes the ONNX file of an archive, once its hash is verified."""
    part = file.with_name(file.name + ".part")
    try:
        with zipfile.ZipFile(archive) as content:
            names = [name for name in content.namelist() if name.rpartition("/")[2] == detector.member]
            if len(names) != 1:
                raise ModelError(f"{archive}: has {len(names)} files named {detector.member}; one is needed")
            part.write_bytes(content.read(names[0]))
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelError(
            f"{archive}: not a readable zip archive ({error}); delete it and run the command again"
        ) from None
    try:
        check_sha256(part, detector.card.sha256, f"{detector.name} ({archive.name})")
    except ModelError:
        part.unlink()
        raise
    part.replace(file)


def _present(kind: type[CardT], file: Path) -> CardT:
    """The network that was fetched before. Raises ModelError if it is damaged."""
    try:
        return find_model(kind, str(file))
    except ModelError as error:
        raise ModelError(f"{error}; to fetch it again, delete {file}") from None


def _download(name: str, url: str, file: Path, sha256: str) -> None:
    console.print(f"{escape(url)} → {escape(str(file))}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=None)
        download(url, file, sha256, lambda done, total: bar.update(task, completed=done, total=total))
