"""`keytrack models list` and `info`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import CARD_TYPES, DetectorCard, ModelCard, PoseCard, file_sha256
from keytrack_ros.inference.cost import network_cost
from keytrack_ros.inference.published import PUBLISHED
from keytrack_ros.inference.published_detectors import DETECTORS, SETS
from keytrack_ros.inference.registry import PACKAGE_MODELS, cache_folder, cards_in, find_model, model_folders
from keytrack_ros.skeleton import JOINT_SETS


def show_models(folders: Sequence[Path]) -> None:
    """Prints every model file that is found, with its network or what is wrong with it, and what can be fetched.

    Raises ModelError if a model file is malformed.
    """
    searched = model_folders(folders)
    console = _console()
    cards = list(cards_in(searched))
    used: set[str] = set()
    for task in CARD_TYPES:
        console.print(f"[bold]{task}[/]")
        for card in (card for card in cards if card.task == task):
            found = _found(card, folders, searched)
            if isinstance(found, str):
                console.print(f"  {card.name}: [red]{escape(found)}[/]")
                continue
            mark = "" if task in used or not card.auto else " [green](used)[/]"
            if card.auto:
                used.add(task)
            console.print(f"  {card.name}{mark}: {escape(str(found.path))}, SHA-256 {found.fingerprint}…")
            console.print(f"    {_origin(found)}; licence: {escape(card.licence or 'not stated')}")
    console.print("[bold]published[/], for `keytrack models fetch NAME`")
    published = {name: network.accuracy for group in (DETECTORS, PUBLISHED) for name, network in group.items()}
    for name, accuracy in published.items():
        here = " [green](here)[/]" if (cache_folder() / f"{name}.yaml").is_file() else ""
        console.print(f"  {name}{here}: {accuracy}")
    for name, members in SETS.items():
        console.print(f"  --set {name}: {' and '.join(members)}")
    console.print("[bold]looked in[/], in this order")
    for folder in dict.fromkeys(searched):
        console.print(f"  {escape(str(folder))}{'' if folder.is_dir() else ' (not there)'}")
    missing = [task for task in CARD_TYPES if task not in used]
    if missing:
        console.print(f"[yellow]No network for {' and '.join(missing)}[/]: name its folder with --models.")


def show_model(name: str, folders: Sequence[Path]) -> None:
    """Prints what is known of one network: from its model file, and counted from its graph.

    Raises ModelError if there is no such network.
    """
    card = _card(name, folders)
    rows = {
        "task": card.task,
        "file": f"{card.path} ({card.path.stat().st_size / 1e6:.1f} MB)",
        "origin": _origin(card),
        "SHA-256": file_sha256(card.path),
        "licence": card.licence or "not stated",
        "source": card.source or "not stated",
    }
    if isinstance(card, PoseCard | DetectorCard):
        width, height = card.input.size
        rows["input"] = f"'{card.input.name}', {width} x {height} (width x height), {card.input.color}"
        if card.input.free_size:
            rows["input"] += "; as wide or high as the camera's images at no more pixels"
    if isinstance(card, PoseCard):
        sets = [name for name, joints in JOINT_SETS.items() if joints == card.joints]
        rows["joints"] = f"{len(card.joints)}: {sets[0] if sets else ', '.join(card.joints)}"
        rows["decoder"] = card.decoder
    rows |= _counted(card)
    rows |= {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in card.figures.items()}
    console = _console()
    console.print(f"[bold]{escape(card.name)}[/]")
    for key, value in rows.items():
        console.print(f"  {escape(key)}: {escape(value)}")


def _counted(card: ModelCard) -> dict[str, str]:
    try:
        cost = network_cost(card.path, card.input.size if isinstance(card, DetectorCard) else (1, 1))
    except ModelError as error:
        return {"multiply-adds": f"not counted: {error}"}
    return {"parameters": f"{cost.parameters:,}", "multiply-adds": f"{cost.multiply_adds / 1e6:,.1f} million"}


def _card(name: str, folders: Sequence[Path]) -> ModelCard:
    """The network of that name, for whatever task; with `path` set and the hash verified."""
    searched = model_folders(folders)
    for card in cards_in(searched):
        if card.name == name:
            return find_model(type(card), name, folders)
    network = PUBLISHED.get(name) or DETECTORS.get(name)
    if network is not None:
        raise ModelError(f"{name} ({network.accuracy}) is not on this machine; `keytrack models fetch {name}` gets it")
    names = sorted({card.name for card in cards_in(searched)})
    raise ModelError(f"there is no network '{name}'; there are {', '.join(names)}")


def _origin(card: ModelCard) -> str:
    places = {PACKAGE_MODELS: "shipped with the package", cache_folder(): "in your cache"}
    return places.get(card.path.parent, "in a folder of yours")


def _found(card: ModelCard, folders: Sequence[Path], searched: Sequence[Path]) -> ModelCard | str:
    try:
        return find_model(type(card), card.name, folders)
    except ModelError:
        there = any((folder / card.file).is_file() for folder in searched)
        return f"{card.file} is damaged, or another network" if there else f"{card.file} is not there"


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
