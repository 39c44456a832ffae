"""Files of sequences: which there are in a folder, which belong together, and what is in them."""

from __future__ import annotations

import glob
from dataclasses import replace
from pathlib import Path

from keytrack_ros.annotations.motchallenge import is_motchallenge, motchallenge_name, read_motchallenge
from keytrack_ros.annotations.posetrack_reader import read_posetrack
from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.errors import EvaluationError, InputError
from keytrack_ros.media.paths import BAG_SUFFIXES

RESULT = "tracks.json"
"""What `keytrack track` calls its tracks; the folder that holds it is named as the user likes."""


def is_bag(path: Path) -> bool:
    """Whether it is a bag: a folder with metadata.yaml, or a file named like one."""
    return (path / "metadata.yaml").is_file() or (path.is_file() and path.suffix in BAG_SUFFIXES)


def read_sequence(path: Path) -> LabelledSequence:
    """The sequence of a PoseTrack file (2018 or 2017 JSON), of a bag, or of MOTChallenge text.

    Raises InputError, naming the file, if it is none of them.
    """
    if is_bag(path):
        from keytrack_ros.annotations.bags import read_bag  # rosbags is slow to import

        return read_bag(path)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if is_motchallenge(path):
        return read_motchallenge(path)
    if path.is_dir():
        raise InputError(
            f"{path}: a folder that is no bag; a PoseTrack JSON file, a bag or MOTChallenge text is needed"
        )
    sequence = read_posetrack(path)
    if path.name != RESULT:
        return sequence
    # `keytrack track` gives an image the number of its frame.
    return replace(sequence, images=tuple(replace(image, place=image.image_id) for image in sequence.images))


def sequence_name(path: Path) -> str:
    """What ground truth and prediction have in common: the name of the file, or of the folder that it stands in."""
    if is_motchallenge(path):
        return motchallenge_name(path)
    return path.parent.name if _is_results(path.parent) and path.name == RESULT else path.stem


def _is_results(folder: Path) -> bool:
    return (folder / RESULT).is_file() and (folder / "summary.json").is_file()


def find_sequences(path: Path, *, directory_order: bool = False) -> list[Path]:
    """The sequences of a folder (JSON files, bags, results of `keytrack track`, MOTChallenge ground truth or results),
    or the one that `path` is itself.

    Sorted by name; with `directory_order`, JSON files come in the order in which the file system lists them, which is
    poseval's.

    Raises InputError if there is none.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_file() or is_bag(path) or is_motchallenge(path):
        return [path]
    if _is_results(path):
        return [path / RESULT]
    results = sorted(folder / RESULT for folder in path.iterdir() if _is_results(folder))
    if results:  # beside them may be the scores of all of them, which are no sequence
        return results
    found = [Path(name) for name in glob.glob(f"{glob.escape(str(path))}/*.json")]  # noqa: PTH207
    found += [entry for entry in path.iterdir() if is_bag(entry)]
    found = found or [entry for entry in path.iterdir() if is_motchallenge(entry)]
    if not found:
        raise InputError(
            f"{path}: the folder holds neither PoseTrack files (*.json) nor bags nor results of `keytrack track` nor "
            "MOTChallenge text"
        )
    return found if directory_order else sorted(found)


def pair_sequences(ground_truth: Path, prediction: Path, *, directory_order: bool = False) -> list[tuple[Path, Path]]:
    """Which prediction belongs to which ground truth: two single sequences to each other, of folders those of one name.

    Raises InputError if there is nothing to read, EvaluationError if a sequence is missing on one side.
    """
    ground_truths = find_sequences(ground_truth, directory_order=directory_order)
    predictions = find_sequences(prediction)
    if ground_truths == [ground_truth] and predictions in ([prediction], [prediction / RESULT]):
        return [(ground_truth, predictions[0])]
    by_name = [{sequence_name(path): path for path in side} for side in (ground_truths, predictions)]
    for side, names, folder in ((ground_truths, by_name[0], ground_truth), (predictions, by_name[1], prediction)):
        if len(names) < len(side):
            raise EvaluationError(f"{folder}: two sequences have one name; keep one file or bag of each")
    for here, there, folder, kind in (
        (by_name[0], by_name[1], prediction, "prediction"),
        (by_name[1], by_name[0], ground_truth, "ground truth"),
    ):
        missing = [name for name in here if name not in there]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise EvaluationError(f"{folder}: there is no {kind} for sequence {', '.join(sorted(missing)[:3])}{more}")
    return [(path, by_name[1][name]) for name, path in by_name[0].items()]
