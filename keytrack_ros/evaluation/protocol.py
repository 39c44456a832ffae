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

CONFIDENCES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.57, 0.65, 0.7, 0.8, 0.9)
"""Thresholds that a report tries; the paper's (Table 4) are among them: 0.05 for AP, 0.57 for MOTA."""
