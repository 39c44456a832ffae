"""Options that all networks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keytrack_ros.options import Options, option


@dataclass(frozen=True)
class InferenceOptions(Options):
    """Where networks are found and how they run."""

    models: str = option(
        "",
        "folders with networks, separated by ':', searched before $KEYTRACK_MODELS, the user's cache and the package",
        live=False,
    )
    threads: int = option(
        0,
        "cores that one network may use at a time; 0 = all",
        at_least=0,
        at_most=256,
        live=False,
    )

    @property
    def folders(self) -> Sequence[Path]:
        """The folders of `models`."""
        return [Path(folder) for folder in self.models.split(":") if folder]
