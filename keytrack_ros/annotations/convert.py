"""Conversion between PoseTrack 2018, PoseTrack 2017 and bags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keytrack_ros.annotations.files import RESULT, find_sequences, is_bag, read_sequence, sequence_name
from keytrack_ros.annotations.posetrack_writer import write_posetrack17, write_posetrack18
from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.errors import InputError, OutputError

FORMATS = ("posetrack18", "posetrack17", "bag")


def write_sequence(sequence: LabelledSequence, path: Path, form: str, *, overwrite: bool = False) -> None:
    """Writes a sequence in one of `FORMATS`, with small integers as track ids: from 0, in a bag from 1.

    Raises OutputError if `path` exists or cannot be written.
    """
    if form == "bag":
        from keytrack_ros.annotations.bags import write_bag  # rosbags is slow to import

        write_bag(sequence.renumbered(1), path, overwrite=overwrite)
        return
    writers: dict[str, Callable[..., Any]] = {"posetrack18": write_posetrack18, "posetrack17": write_posetrack17}
    writers[form](sequence.renumbered(), path, overwrite=overwrite)


def convert_sequences(source: Path, target: Path, form: str, *, overwrite: bool = False) -> Iterator[Path]:
    """Converts a sequence to the file (or bag) `target`, or the sequences of a folder into the folder `target`.

    Yields where each sequence was written, as it is done.

    Raises InputError for what cannot be read, OutputError for what cannot be written.
    """
    sequences = find_sequences(source)
    if sequences in ([source], [source / RESULT]):
        places = [target]
    else:
        places = [target / (sequence_name(path) + ("" if form == "bag" else ".json")) for path in sequences]
        if len(set(places)) < len(places):
            raise InputError(f"{source}: two sequences have one name; keep one file or bag of each")
    try:
        (target if places != [target] else target.parent).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: the folder cannot be made: {error.strerror}") from None
    for path, place in zip(sequences, places, strict=True):
        if place.exists() and place.samefile(path):
            raise OutputError(f"{place}: is the input itself; name another place")
        write_sequence(read_sequence(path), place, form, overwrite=overwrite)
        yield place


def default_format(source: Path, target: Path) -> str:
    """PoseTrack 2018 for a target that ends in .json, else a bag; a folder of sequences needs a choice.

    Raises InputError in that last case.
    """
    if source.is_dir() and not is_bag(source):
        raise InputError(f"{source}: a folder; say with --to what its sequences are to become: {', '.join(FORMATS)}")
    return "posetrack18" if target.suffix == ".json" else "bag"
