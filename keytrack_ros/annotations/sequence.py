"""`LabelledSequence`: the people of one recording, annotated or predicted. All formats are read to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import InputError
from keytrack_ros.poses import BoolArray, FloatArray, IntArray, Poses

_PEOPLE = (
    "image_index",
    "track_ids",
    "keypoints",
    "present",
    "visibility",
    "scores",
    "boxes",
    "head_boxes",
    "listed",
)
"""Fields of `LabelledSequence` that have one row a person."""


@dataclass(frozen=True)
class Image:
    """One image of a sequence.

    Attributes:
        file_name: as the file gives it; "" in a bag.
        image_id: PoseTrack's number of the image, where there is one.
        labelled: whether all its people are annotated; an image without people may be labelled, too.
        ignore_regions: polygons, each [n, 2] float64 pixels; what lies strictly inside one is not scored.
        size: width and height in pixels, where known.
        stamp_ns: nanoseconds, in a bag.
        place: of the frame in the recording that was tracked, from 0, where the file says it.
    """

    file_name: str = ""
    image_id: int | None = None
    labelled: bool = True
    ignore_regions: tuple[FloatArray, ...] = ()
    size: tuple[int, int] | None = None
    stamp_ns: int | None = None
    place: int | None = None


@dataclass(frozen=True)
class LabelledSequence:
    """N people in T images, as flat arrays sorted by image; within an image in the order of the file.

    Attributes:
        name: of the sequence; ground truth and prediction of one sequence have the same.
        source: file or bag that it comes from, for messages.
        images: T images in order of time.
        image_index: [N] int64, into `images`, never decreasing.
        track_ids: [N] int64, names of identities.
        keypoints: [N, 15, 2] float64 pixels; (0, 0) where absent.
        present: [N, 15] bool: the keypoint is annotated, or predicted.
        visibility: [N, 15] int64, the format's own flag; of no influence on any score.
        scores: [N, 15] float64 confidences; NaN where none is given.
        boxes: [N, 4] float64 x_min, y_min, x_max, y_max of the person; NaN where unknown.
        head_boxes: [N, 4] float64, the same of the head.
        listed: [N] bool: the file has a list of keypoints for the person, be it empty. PoseTrack 2017 has people of
            whom it knows the head box only.
        video: name of the video in the file, where it has one.
    """

    name: str
    source: str
    images: tuple[Image, ...]
    image_index: IntArray
    track_ids: IntArray
    keypoints: FloatArray
    present: BoolArray
    visibility: IntArray
    scores: FloatArray
    boxes: FloatArray
    head_boxes: FloatArray
    listed: BoolArray
    video: str = ""
    _starts: IntArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        starts = np.searchsorted(self.image_index, np.arange(len(self.images) + 1))
        object.__setattr__(self, "_starts", starts)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    @property
    def people(self) -> int:
        """The number of people, in all images together."""
        return len(self.track_ids)

    def rows(self, image: int) -> slice:
        """Where the people of an image are in the arrays."""
        return slice(int(self._starts[image]), int(self._starts[image + 1]))

    @property
    def places_known(self) -> bool:
        """Whether all images say their place in the recording."""
        return all(image.place is not None for image in self.images)

    @property
    def frame_numbers(self) -> list[int]:
        """By which number each image is asked for and shown: its place in the recording that was tracked.

        Where that is not known, it is the image's place in the sequence, from 0.
        """
        places = [image.place for image in self.images if image.place is not None]
        return places if self.places_known else list(range(len(self)))

    def where(self, image: int) -> str:
        """Names an image in messages: file, sequence and frame."""
        name = self.images[image].file_name
        number = self.frame_numbers[image]
        return f"{self.source}: sequence '{self.name}', frame {number}{f' ({name})' if name else ''}"

    def checked(self) -> LabelledSequence:
        """Itself.

        Raises InputError, naming file, sequence and frame, if a coordinate or score is not finite or if two people of
        an image have one id.
        """
        placed = np.isfinite(self.keypoints).all(-1)
        wrong: dict[str, BoolArray] = {
            "coordinates": np.logical_and(self.present, ~placed),
            "scores": np.isinf(self.scores),
        }
        for what, bad in wrong.items():
            if bad.any():
                row, joint = np.argwhere(bad)[0]
                raise InputError(
                    f"{self.where(int(self.image_index[row]))}: {what} of track {self.track_ids[row]}, "
                    f"{skeleton.NAMES[joint]}, are not finite"
                )
        for image in range(len(self)):
            ids = np.sort(self.track_ids[self.rows(image)])
            repeated = ids[1:][ids[1:] == ids[:-1]]
            if len(repeated):
                raise InputError(f"{self.where(image)}: track id {repeated[0]} is given to more than one person")
        return self

    def taken(self, rows: IntArray | BoolArray) -> LabelledSequence:
        """The same images with some of the people only, by row; rows must stay sorted by image."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _PEOPLE})

    def with_min_score(self, threshold: float) -> LabelledSequence:
        """Without the keypoints whose confidence is lower, and without people who then have none.

        Keypoints without a confidence stay.
        """
        present: BoolArray = np.logical_and(self.present, ~(self.scores < threshold))
        left: BoolArray = np.logical_or(present.any(1), ~self.present.any(1))
        return replace(self, present=present).taken(left)

    def renumbered(self, first: int = 0) -> LabelledSequence:
        """The same with the small integers `first`, `first` + 1, … as track ids, in order of appearance."""
        _, seen, inverse = np.unique(self.track_ids, return_index=True, return_inverse=True)
        ranks = np.empty(len(seen), np.int64)
        ranks[np.argsort(seen)] = np.arange(len(seen))
        return replace(self, track_ids=ranks[inverse] + first)

    def poses(self, image: int) -> Poses:
        """The people of an image for the tracker and its messages (float32).

        A keypoint without a confidence gets 1; a present keypoint keeps a confidence above 0, which means "missing"
        there.
        """
        rows = self.rows(image)
        scores = np.where(np.isnan(self.scores[rows]), 1.0, np.clip(self.scores[rows], 1e-6, 1.0))
        boxes = self.boxes[rows]
        known = np.isfinite(boxes).all(-1, keepdims=True)
        poses = Poses(self.keypoints[rows], np.where(self.present[rows], scores, 0.0), track_ids=self.track_ids[rows])
        return poses.with_fields(boxes=np.where(known, boxes, poses.boxes))


def from_poses(name: str, source: str, images: tuple[Image, ...], poses: list[Poses]) -> LabelledSequence:
    """A sequence from the people of each image; keypoints with score 0 are absent."""
    everyone = Poses.concatenate(poses)
    count = len(everyone)
    return LabelledSequence(
        name=name,
        source=source,
        images=images,
        image_index=np.repeat(np.arange(len(poses)), [len(p) for p in poses]),
        track_ids=everyone.track_ids,
        keypoints=np.where(everyone.visible[..., None], everyone.keypoints, 0).astype(np.float64),
        present=everyone.visible,
        visibility=everyone.visible.astype(np.int64),
        scores=np.where(everyone.visible, everyone.scores, np.nan).astype(np.float64),
        boxes=everyone.boxes.astype(np.float64),
        head_boxes=np.full((count, 4), np.nan),
        listed=np.ones(count, np.bool_),
    )


def from_boxes(
    name: str, source: str, images: tuple[Image, ...], image_index: IntArray, ids: Sequence[int], boxes: FloatArray
) -> LabelledSequence:
    """A sequence of people of whom only the boxes [N, 4] are known, sorted by image; ids may be of any size."""
    count = len(ids)
    return LabelledSequence(
        name=name,
        source=source,
        images=images,
        image_index=image_index,
        track_ids=fitting_ids(ids),
        keypoints=np.zeros((count, skeleton.COUNT, 2)),
        present=np.zeros((count, skeleton.COUNT), np.bool_),
        visibility=np.zeros((count, skeleton.COUNT), np.int64),
        scores=np.full((count, skeleton.COUNT), np.nan),
        boxes=boxes,
        head_boxes=np.full((count, 4), np.nan),
        listed=np.ones(count, np.bool_),
    )


def fitting_ids(ids: Sequence[int]) -> IntArray:
    """[N] int64 ids: as given where they fit, else small integers in order of appearance (hashes, UUIDs)."""
    limit = np.iinfo(np.int64)
    if all(limit.min <= i <= limit.max for i in ids):
        return np.array(ids, np.int64).reshape(-1)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(i, len(numbers)) for i in ids], np.int64)
