"""Files that commands write beside their main result, and the options that name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from keytrack_ros.media.files import write_text

JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that are already there.")]


def write_json(path: Path, data: Any) -> None:
    """Raises OutputError if the file cannot be written."""
    write_text(path, json.dumps(data, indent=1))
