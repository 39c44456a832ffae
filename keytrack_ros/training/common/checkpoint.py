"""Checkpoints of training runs: written atomically, and refused by a run with other data or options."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from keytrack_ros.errors import DataError

_FORMAT = 1


def save_checkpoint(file: Path, configuration: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Writes `state` with the configuration of its run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    torch.save({"format": _FORMAT, "configuration": dict(configuration), **state}, part)
    part.replace(file)


def load_checkpoint(
    file: Path, configuration: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The state in `file`.

    Args:
        file: the checkpoint.
        configuration: of the run that is to be resumed.
        defaults: values of options that the checkpoint may be too old to name.

    Raises DataError if the file is missing or damaged, or if it belongs to a run with another configuration; the
    differences are named.
    """
    content = read_checkpoint(file)
    differences = differing({**(defaults or {}), **content["configuration"]}, configuration)
    if differences:
        raise DataError(f"{file}: belongs to another run: {'; '.join(differences)}; use another run folder")
    return content


def differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """In what two configurations differ, as text: `key is 1 there and 2 here`."""
    return [
        f"{key} is {there.get(key)!r} there and {here.get(key)!r} here"
        for key in {**there, **here}
        if there.get(key) != here.get(key)
    ]


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The state in `file`, of any run. Raises DataError if the file is missing or damaged."""
    content = read_tensors(file)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise DataError(f"{file}: not a checkpoint of this program's training")
    return content


def read_tensors(file: Path) -> Any:
    """What torch stored in `file`: tensors and plain values. Raises DataError if the file is missing or damaged."""
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(
            f"{file}: {error.strerror}; there is no run to resume or to start from; start it without --resume"
        ) from None
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"{file}: not a checkpoint: {reason}") from None
    return content
