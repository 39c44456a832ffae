"""How the two modes of scoring differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Frames = Literal["with_people", "labelled", "all"]


@dataclass(frozen=True)
class Protocol:
    """What is scored, and how.

    Attributes:
        mode: `official` counts as PoseTrack's poseval does, and HOTA as PoseTrack21's code, peculiarities included;
            `clean` follows the published definitions (both are laid out in docs/evaluation.md).
        frames: which frames are scored: those where the ground truth has people (poseval's choice), those that are
            labelled, or all.
        drop_last_frame: leave the last scored frame of each sequence out of MOTA, as poseval does.
    """

    mode: Literal["official", "clean"]
    frames: Frames
    drop_last_frame: bool

    @property
    def official(self) -> bool:
        return self.mode == "official"

    def with_frames(self, frames: Frames) -> Protocol:
        """The same with another choice of frames."""
        return replace(self, frames=frames)


OFFICIAL = Protocol("official", frames="with_people", drop_last_frame=True)
CLEAN = Protocol("clean", frames="labelled", drop_last_frame=False)
PROTOCOLS = {protocol.mode: protocol for protocol in (OFFICIAL, CLEAN)}

PCKH_THRESHOLD = 0.5
"""A joint is found if it is at most this far from the annotation, in head sizes (PCKh, Andriluka et al., CVPR 2014)."""
