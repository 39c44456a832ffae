"""Annotations of a recording beside predictions that do not have all of its frames."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from keytrack_ros.annotations.files import read_sequence
from keytrack_ros.annotations.sequence import LabelledSequence
from keytrack_ros.errors import EvaluationError
from keytrack_ros.evaluation.frames import SequencePair

logger = logging.getLogger(__name__)


def places_by_stamp(prediction: LabelledSequence, stamps_ns: Sequence[int], recording: str) -> list[int]:
    """The place of each predicted frame among the images of its recording, whose stamps are given in order.

    Raises EvaluationError, naming the frame, if the recording has no image with that stamp.
    """
    places: list[int] = []
    for k, image in enumerate(prediction.images):
        place = places[-1] + 1 if places else 0
        while place < len(stamps_ns) and image.stamp_ns is not None and stamps_ns[place] < image.stamp_ns:
            place += 1
        if place == len(stamps_ns) or stamps_ns[place] != image.stamp_ns:
            raise EvaluationError(
                f"{prediction.where(k)}: {recording} has no image with the stamp {image.stamp_ns} ns, or not in this "
                "order; predictions recorded from it are needed"
            )
        places.append(place)
    return places


def pair_files(ground_truth: Path, prediction: Path) -> SequencePair:
    """The sequences of two files. Predictions that name images by number alone, and only those with people (COCO
    keypoint results), find their frames by these numbers.

    Raises InputError and EvaluationError as reading and `SequencePair` do.
    """
    annotated, predicted = read_sequence(ground_truth), read_sequence(prediction)
    numbers = [image.image_id for image in predicted.images]
    by_number = not any(image.file_name or image.stamp_ns is not None for image in predicted.images)
    places = {image.image_id: k for k, image in enumerate(annotated.images)}
    if not by_number or None in numbers or numbers == list(places) or None in places:
        return SequencePair(annotated, predicted)
    for k, number in enumerate(numbers):
        if number not in places:
            raise EvaluationError(
                f"{predicted.where(k)}: the ground truth {annotated.source} has no image with the id {number}"
            )
    at = [places[number] for number in numbers]
    order = np.argsort(np.asarray(at)[predicted.image_index], kind="stable")
    spread_out = spread(predicted, at, annotated, len(annotated))
    return SequencePair(annotated, spread_out.taken(order))


def pair_on_bag(ground_truth: Path, prediction: Path, bag: Path, topic: str | None = None) -> SequencePair:
    """Annotations of a bag's images, in the order of their stamps, and the poses recorded from them.

    Args:
        ground_truth: file of annotations.
        prediction: bag with tracked poses, which have the stamps of the images.
        bag: bag with the images, on `topic` if it has several topics of them.

    Raises InputError, EvaluationError as reading, `places_by_stamp` and `on_recording` do.
    """
    from keytrack_ros.media.bag_source import image_stamps  # rosbags is slow to import

    stamps_ns, predicted = image_stamps(bag, topic), read_sequence(prediction)
    places = places_by_stamp(predicted, stamps_ns, str(bag))
    return on_recording(read_sequence(ground_truth), predicted, places, len(stamps_ns))


def on_recording(
    ground_truth: LabelledSequence, prediction: LabelledSequence, places: Sequence[int], count: int
) -> SequencePair:
    """Both with the frames that the annotations and the recording have.

    A frame of the recording without a prediction counts as one in which nobody was found. Annotated frames after the
    end of a recording that was cut off are left out. A warning is logged in both cases.

    Args:
        places: the place in the recording of each predicted frame, growing.
        count: how many frames the recording has.

    Raises EvaluationError if the recording has more frames than are annotated.
    """
    if count > len(ground_truth):
        raise EvaluationError(
            f"{prediction.source}: the recording has {count} frames, but {len(ground_truth)} are in the ground truth "
            f"{ground_truth.source}"
        )
    if count < len(ground_truth):
        logger.warning(
            "%s: the recording ends after frame %d of %d; the rest is not scored",
            prediction.source,
            count,
            len(ground_truth),
        )
    if len(places) < count:
        logger.warning(
            "%s: there are no poses for %d of %d frames; they count as frames in which nobody was found",
            prediction.source,
            count - len(places),
            count,
        )
    return SequencePair(first_frames(ground_truth, count), spread(prediction, places, ground_truth, count))


def first_frames(sequence: LabelledSequence, count: int) -> LabelledSequence:
    """The first `count` frames of a sequence."""
    if count == len(sequence):
        return sequence
    return replace(sequence.taken(np.arange(sequence.rows(count - 1).stop)), images=sequence.images[:count])


def spread(
    prediction: LabelledSequence, places: Sequence[int], ground_truth: LabelledSequence, count: int
) -> LabelledSequence:
    """The prediction on the first `count` frames of `ground_truth`, at these places; other frames are empty."""
    index = np.asarray(places, np.int64)[prediction.image_index]
    return replace(prediction, image_index=index, images=ground_truth.images[:count])
