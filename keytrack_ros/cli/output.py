"""Files that commands write beside their main result, and the options that name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from keytrack_ros.errors import OutputError

JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that are already there.")]


def write_json(path: Path, data: Any) -> None:
    """Raises OutputError if the file cannot be written."""
    try:
        path.write_text(json.dumps(data, indent=1), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
