"""Options of the tracker."""

from __future__ import annotations

from dataclasses import dataclass

from keytrack_ros.options import Options, option


@dataclass(frozen=True)
class TrackerOptions(Options):
    """Assignment of identities (paper §3.2 and A.4; numbers that it leaves open are named in docs/decisions.md)."""

    model: str = option(
        "auto",
        "name or model file of the matcher; auto = the first that is found",
        live=False,
    )
    delta: int = option(
        4,
        "δ: a pose is compared with the tracks seen in this many past frames",
        at_least=1,
        at_most=100,
    )
    candidates: int = option(
        5,
        "n: how many nearest tracks, or poses of each past frame, a pose is compared with",
        at_least=1,
        at_most=50,
    )
    gating: bool = option(
        True,
        "settle clear cases (one pose where one track was expected, nobody else around) by geometry, without network",
    )
    use_boxes: bool = option(True, "boxes count as evidence beside keypoints; false = keypoints alone, as in the paper")
    match_threshold: float = option(
        0.1,
        "a pose whose best remaining match score is lower begins a new track",
        at_least=0.0,
        at_most=1.0,
    )
    weak_threshold: float = option(
        0.3,
        "match score that a detection below `birth_score` must reach to continue a track",
        at_least=0.0,
        at_most=1.0,
    )
    keypoint_threshold: float = option(
        0.1,
        "keypoints with a lower score are not used for matching",
        at_least=0.0,
        at_most=1.0,
    )
    birth_score: float = option(
        0.56,
        "box score from which a detection may begin a track; weaker ones only continue one",
        at_least=0.0,
        at_most=1.0,
    )
    birth_pose_score: float = option(
        0.45,
        "mean keypoint score that the poses of a track need on average to be confirmed",
        at_least=0.0,
        at_most=1.0,
    )
    confirm_frames: int = option(
        3,
        "a track is tentative until it has been seen in this many frames",
        at_least=1,
        at_most=100,
    )
    publish_tentative: bool = option(False, "give out tentative tracks too")
    publish_hidden: bool = option(
        True, "give out people whom somebody hides for a moment, where they are expected, with state LOST"
    )
    carry_frames: int = option(
        3,
        "a track that is not detected is carried over by TOKS for at most this many frames",
        at_least=0,
        at_most=1000000,
    )
    lost_s: float = option(
        5.0,
        "a track that is not seen for this many seconds ends; seen again before, the person keeps the id",
        at_least=0.01,
        at_most=3600.0,
    )
    rebirth_threshold: float = option(
        0.35,
        "match score that a pose must reach to continue a track not seen for more than δ frames",
        at_least=0.0,
        at_most=1.0,
    )
