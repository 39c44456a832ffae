"""Where networks are found: named folders first, then the user's cache, then the package itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import ModelCard, load_card

PACKAGE_MODELS = Path(__file__).parent.parent / "models"
"""Model files and networks that ship with the package."""

FOLDERS_VARIABLE = "KEYTRACK_MODELS"
"""Environment variable with further folders, separated by ':'."""

AUTO = "auto"
"""As a model's name: the first network for the task that is found and does not want to be named (`auto: false`)."""


def model_folders(folders: Sequence[Path | str] = ()) -> list[Path]:
    """Folders that are searched, in order: `folders`, $KEYTRACK_MODELS, the user's cache, the package."""
    named = [*folders, *filter(None, os.environ.get(FOLDERS_VARIABLE, "").split(":"))]
    return [Path(f).expanduser() for f in named] + [cache_folder(), PACKAGE_MODELS]


def cache_folder() -> Path:
    """Where networks of the user are kept: `~/.cache/keytrack_ros/models` (XDG_CACHE_HOME may move it).

    In the folder for temporary files where the user has no home, as in a container with a number for a user.
    """
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    fallback = Path(home, ".cache") if home != "~" else Path(tempfile.gettempdir(), f"cache_{os.getuid()}")
    return Path(os.environ.get("XDG_CACHE_HOME") or fallback) / "keytrack_ros/models"


CardT = TypeVar("CardT", bound=ModelCard)


def find_model(kind: type[CardT], name: str = AUTO, folders: Sequence[Path | str] = ()) -> CardT:
    """The model file of a network whose ONNX file is there too, with `path` set and the hash verified.

    Args:
        kind: DetectorCard, PoseCard or MatcherCard.
        name: the network's name, the path of a model file (.yaml), or `auto`.
        folders: searched before all others, see `model_folders`.

    Raises:
        ModelError: nothing fits, one of `folders` does not exist, the model file is malformed, or the ONNX file is not
            the one it names.
    """
    for folder in folders:
        if not Path(folder).expanduser().is_dir():
            raise ModelError(f"{folder}: there is no such folder of networks")
    if name.endswith((".yaml", ".yml")):
        file = Path(name).expanduser()
        card = load_card(file)
        if not isinstance(card, kind):
            raise ModelError(f"{file}: describes a network for {card.task}, not {kind.task}")
        searched = [file.parent, *model_folders(folders)]
        found = _with_network(card, searched)
        if found is None:
            raise ModelError(f"{file}: {card.file} is in none of {_listed(searched)}")
        return found
    searched = model_folders(folders)
    named = [card for card in cards_in(searched) if isinstance(card, kind)]
    named = [card for card in named if card.name == name or (name == AUTO and card.auto)]
    for card in named:
        found = _with_network(card, searched)
        if found is not None:
            return found
    what = f"network for {kind.task}" if name == AUTO else f"{kind.task} network '{name}'"
    files = ", ".join(card.file for card in named)
    raise ModelError(
        f"no {what} was found{f' ({files})' if files else ''}; looked in {_listed(searched)}; "
        f"name the folder that holds it with --models, the parameter 'inference.models' or {FOLDERS_VARIABLE}"
    )


def cards_in(folders: Sequence[Path]) -> Iterator[ModelCard]:
    """The model files of the folders, in order; each name once."""
    seen = set()
    for folder in folders:
        for file in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
            card = load_card(file)
            if card.name not in seen:
                seen.add(card.name)
                yield card


def _with_network(card: CardT, folders: Sequence[Path]) -> CardT | None:
    for folder in folders:
        if (folder / card.file).is_file():
            found = replace(card, path=folder / card.file)
            found.verify()
            return found
    return None


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in dict.fromkeys(folders))
