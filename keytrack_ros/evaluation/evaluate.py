"""Scores sequences: one by one, in parallel processes, and all together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import EvaluationError
from keytrack_ros.evaluation.average_precision import DetectionAccumulator, Detections, average_precision
from keytrack_ros.evaluation.clear_mot import ClearAccumulator, ClearCounts, Switch
from keytrack_ros.evaluation.executors import run_jobs
from keytrack_ros.evaluation.frames import ScoredFrame, SequencePair
from keytrack_ros.evaluation.hota import HotaAccumulator, HotaParts, joint_similarity
from keytrack_ros.evaluation.identity import IdentityAccumulator, IdentityCounts
from keytrack_ros.evaluation.person import SIMILARITIES, PersonAccumulator
from keytrack_ros.evaluation.protocol import CLEAN, Protocol
from keytrack_ros.evaluation.recording import pair_files
from keytrack_ros.evaluation.scores import Scores
from keytrack_ros.evaluation.tracks import TrackParts
from keytrack_ros.poses import BoolArray, FloatArray, IntArray

_JOINTS = skeleton.COUNT


@dataclass(frozen=True)
class SequenceParts:
    """All that a sequence contributes to the scores; `name` is the sequence's, `frames` how many are scored.

    For reports: the `numbers` of all frames, see `SequencePair.frame_numbers`, `switches`, and `sweep`: AP and MOTA at
    each threshold of confidence, if asked for.
    """

    name: str
    frames: int
    detections: Detections
    clear: ClearCounts
    identity: IdentityCounts
    hota: HotaParts
    person: dict[str, TrackParts]
    numbers: tuple[int, ...] = ()
    switches: tuple[Switch, ...] = ()
    sweep: tuple[tuple[Detections, ClearCounts], ...] = ()


def score_sequence(pair: SequencePair, protocol: Protocol = CLEAN, thresholds: Sequence[float] = ()) -> SequenceParts:
    """Counts one sequence; AP and MOTA also with only those keypoints whose confidence reaches each of `thresholds`.

    Raises EvaluationError, naming file, sequence and frame, if an annotated person has no usable head box.
    """
    tracks = pair.track_counts
    frames = list(pair.frames(protocol.frames))
    detections, clear = _count_joints(frames, tracks, protocol)
    identity = IdentityAccumulator(tracks, _JOINTS)
    hota = HotaAccumulator(tracks, _JOINTS, whole_sequence_for_empty_frames=protocol.official)
    people = {name: PersonAccumulator(tracks, name, official=protocol.official) for name in SIMILARITIES}
    for frame in frames:
        identity.update(*_ids(frame), frame.near, *_present(frame))
        for accumulator in people.values():
            accumulator.update(frame)
    # PoseTrack21 has its own choice of frames and keypoints.
    for frame in pair.frames("labelled", positive_only=True) if protocol.official else frames:
        hota.update(*_ids(frame), joint_similarity(frame.distance), *_present(frame))
    sweep = []
    for threshold in thresholds:
        kept = replace(pair, prediction=pair.prediction.with_min_score(threshold))
        counted = _count_joints(list(kept.frames(protocol.frames)), kept.track_counts, protocol)
        sweep.append((counted[0].result(), counted[1].result()))
    return SequenceParts(
        name=pair.ground_truth.name,
        frames=len(frames),
        detections=detections.result(),
        clear=clear.result(),
        identity=identity.result(),
        hota=hota.result(),
        person={name: accumulator.result() for name, accumulator in people.items()},
        numbers=tuple(pair.frame_numbers),
        switches=clear.switches(np.unique(pair.ground_truth.track_ids), np.unique(pair.prediction.track_ids)),
        sweep=tuple(sweep),
    )


def _count_joints(
    frames: Sequence[ScoredFrame], tracks: tuple[int, int], protocol: Protocol
) -> tuple[DetectionAccumulator, ClearAccumulator]:
    """What AP and MOTA count of a sequence."""
    detections = DetectionAccumulator(official=protocol.official)
    clear = ClearAccumulator(tracks, _JOINTS, rule="poseval" if protocol.official else "definition")
    for frame in frames:
        detections.update(frame)
    for frame in frames[:-1] if protocol.drop_last_frame else frames:
        clear.update(frame.index, _ids(frame), _present(frame), frame.distance, frame.near)
    return detections, clear


def _ids(frame: ScoredFrame) -> tuple[IntArray, IntArray]:
    return frame.ground_truth.ids, frame.prediction.ids


def _present(frame: ScoredFrame) -> tuple[BoolArray, BoolArray]:
    return frame.ground_truth.present, frame.prediction.present


def sweep_totals(parts: Sequence[SequenceParts], protocol: Protocol) -> list[tuple[float, float]]:
    """AP and MOTA over all keypoints at each threshold that the sequences were counted with."""
    totals = []
    for at_threshold in zip(*(part.sweep for part in parts), strict=True):
        detections = Detections.concatenate([d for d, _ in at_threshold])
        clear: ClearCounts = reduce(add, (c for _, c in at_threshold))
        ap, _, _ = average_precision(detections, official=protocol.official)
        totals.append((_mean(ap), _mean(clear.mota)))
    return totals


def combined(parts: Sequence[SequenceParts], protocol: Protocol = CLEAN) -> Scores:
    """The scores of all sequences together; in `official` mode their order decides between equal confidences.

    Raises EvaluationError if no frame of any sequence is scored.
    """
    if not sum(part.frames for part in parts):
        raise EvaluationError("no frame of the ground truth has annotated people, so there is nothing to score")
    clear: ClearCounts = reduce(add, (part.clear for part in parts))
    identity: IdentityCounts = reduce(add, (part.identity for part in parts))
    annotated: BoolArray = np.any([part.detections.annotated > 0 for part in parts], axis=0)
    hota: HotaParts = reduce(add, (part.hota.with_total(None if protocol.official else annotated) for part in parts))
    ap, precision, recall = average_precision(
        Detections.concatenate([part.detections for part in parts]), official=protocol.official
    )
    joints: dict[str, FloatArray] = {
        "AP": ap,
        "AP_precision": precision,
        "AP_recall": recall,
        "MOTA": clear.mota,
        "MOTP": clear.motp_poseval if protocol.official else clear.motp,
        "MOTP_events": clear.motp_events,
        "precision": clear.precision,
        "recall": clear.recall,
        "IDSW": clear.switch_rate,
        "IDF1": identity.idf1,
    }
    totals = {name: _mean(values) for name, values in joints.items()}
    for name, values in hota.scores().items():
        percent = 100 * values.mean(0)
        joints[name] = np.where(annotated | protocol.official, percent[:_JOINTS], np.nan)
        totals[name] = float(percent[_JOINTS])
    return Scores(
        protocol=protocol,
        sequences=tuple(part.name for part in parts),
        frames=sum(part.frames for part in parts),
        joints=joints,
        totals=totals,
        counts={
            "misses": clear.misses,
            "switches": clear.switches,
            "false_positives": clear.false_positives,
            "objects": clear.objects,
            "detections": clear.detections,
        },
        person={name: _summed([part.person[name] for part in parts]).scores() for name in SIMILARITIES},
    )


def _summed(parts: Sequence[TrackParts]) -> TrackParts:
    return reduce(add, parts)


def _mean(values: FloatArray) -> float:
    """Mean over keypoints that have a value."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def score_files(
    pairs: Sequence[tuple[Path, Path]],
    protocol: Protocol = CLEAN,
    *,
    workers: int = 1,
    scheduler: str = "",
    thresholds: Sequence[float] = (),
) -> Iterator[tuple[int, SequenceParts]]:
    """Reads and counts sequences, given as files of ground truth and prediction, in parallel (see `run_jobs`).

    Yields (place in `pairs`, parts) as they are done, in any order. With more than one worker, a script that calls this
    needs the usual `if __name__ == "__main__":`.

    Raises InputError and EvaluationError as reading and `score_sequence` do.
    """
    yield from run_jobs(_score_files, [(*pair, protocol, tuple(thresholds)) for pair in pairs], workers, scheduler)


def _score_files(
    ground_truth: Path, prediction: Path, protocol: Protocol, thresholds: Sequence[float]
) -> SequenceParts:
    return score_sequence(pair_files(ground_truth, prediction), protocol, thresholds)


def evaluate(pairs: Sequence[tuple[Path, Path]], protocol: Protocol = CLEAN, *, workers: int = 1) -> Scores:
    """The scores of sequences, given as files of ground truth and prediction; see `score_files` and `combined`."""
    done = dict(score_files(pairs, protocol, workers=workers))
    return combined([done[place] for place in range(len(pairs))], protocol)
