"""`keytrack models list`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import CARD_TYPES, ModelCard
from keytrack_ros.inference.registry import cards_in, find_model, model_folders


def show_models(folders: Sequence[Path]) -> None:
    """Prints every model file that is found, with its network or what is wrong with it.

    Raises ModelError if a model file is malformed.
    """
    searched = model_folders(folders)
    console = Console(highlight=False, soft_wrap=True)
    cards = list(cards_in(searched))
    used: set[str] = set()
    for task in CARD_TYPES:
        console.print(f"[bold]{task}[/]")
        for card in (card for card in cards if card.task == task):
            found = _found(card, folders, searched)
            if isinstance(found, str):
                console.print(f"  {card.name}: [red]{escape(found)}[/]")
                continue
            mark = "" if task in used else " [green](used)[/]"
            used.add(task)
            console.print(f"  {card.name}{mark}: {escape(str(found.path))}, SHA-256 {found.fingerprint}…")
            console.print(f"    licence: {escape(card.licence or 'not stated')}")
    console.print("[bold]looked in[/], in this order")
    for folder in dict.fromkeys(searched):
        console.print(f"  {escape(str(folder))}{'' if folder.is_dir() else ' (not there)'}")
    missing = [task for task in CARD_TYPES if task not in used]
    if missing:
        console.print(f"[yellow]No network for {' and '.join(missing)}[/]: name its folder with --models.")


def _found(card: ModelCard, folders: Sequence[Path], searched: Sequence[Path]) -> ModelCard | str:
    try:
        return find_model(type(card), card.name, folders)
    except ModelError:
        there = any((folder / card.file).is_file() for folder in searched)
        return f"{card.file} is damaged, or another network" if there else f"{card.file} is not there"
