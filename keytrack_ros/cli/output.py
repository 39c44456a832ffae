"""Files that commands write beside their main result, and the options that name them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from errno import ENOENT
from os import strerror
from pathlib import Path
from typing import Annotated, Any

import typer

from keytrack_ros.errors import OptionError
from keytrack_ros.media.files import output_error, write_text
from keytrack_ros.media.paths import shown

JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that are already there.")]


def refuse_inputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path]) -> None:
    """Raises OptionError if a file to be written, named by its option, is one of the inputs."""
    present = {option: path for option, path in outputs.items() if path is not None and path.exists()}
    for source in inputs if present else ():
        for option, path in present.items():
            if source.exists() and path.samefile(source):
                raise OptionError(f"{option} {shown(path)}: would overwrite an input; name another file")


def require_folder(output: Path) -> None:
    """Raises OutputError if the file's folder does not exist: before the work, not after it."""
    if not output.parent.is_dir():
        raise output_error(output, FileNotFoundError(ENOENT, strerror(ENOENT)))


def write_json(path: Path, data: Any) -> None:
    """Raises OutputError if the file cannot be written."""
    write_text(path, json.dumps(data, indent=1))
