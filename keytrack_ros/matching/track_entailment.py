"""Track entailment as a matcher: expected poses and boxes of tracks, motion of the camera, and a network."""

from __future__ import annotations

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import MatcherCard
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.matching.boxes import exists, known_boxes, overlap
from keytrack_ros.matching.evidence import (
    HOPELESS_LOGIT,
    LARGEST_LOGIT,
    SETTLED_BY_BOXES,
    arrival_logits,
    box_logits,
    combined_logits,
    merged_logits,
)
from keytrack_ros.matching.gating import SETTLED_SCORE, clear_cases, open_cases
from keytrack_ros.matching.histories import (
    SUMMARY_WIDTH,
    TOKEN_WIDTH,
    box_distances,
    collect_histories,
    expected_poses,
    near_pairs,
    pair_features,
    track_distances,
)
from keytrack_ros.matching.marginals import association_probabilities
from keytrack_ros.matching.matcher import TrackQuery, TrackScores
from keytrack_ros.matching.motion import camera_shift, pose_sizes
from keytrack_ros.matching.sessions import open_matcher_session
from keytrack_ros.poses import FloatArray, keypoint_boxes

TRACK_INPUTS = ("tokens", "summary")
OUTPUT = "logits"


class TrackEntailmentMatcher:
    """Scores poses against tracks with a track network.

    Args:
        card: model file of the network, with its `path` set.
        inference: how it runs.

    Raises:
        ModelError: the network cannot be loaded or is another one than its model file says.
    """

    def __init__(self, card: MatcherCard, inference: InferenceOptions | None = None) -> None:
        self.card = card
        rows = dict(zip(TRACK_INPUTS, ((skeleton.COUNT, TOKEN_WIDTH), (SUMMARY_WIDTH,)), strict=True))
        self._session = open_matcher_session(card, inference or InferenceOptions(), rows, OUTPUT)
        widths = {name: shape[-1] for name, shape in self._session.input_shapes.items()}
        if widths != {name: row[-1] for name, row in rows.items()}:
            self.close()
            raise ModelError(
                f"{card.path}: inputs {', '.join(f'{n} of {w}' for n, w in widths.items())}; a track matcher has "
                f"tokens of {TOKEN_WIDTH} and summary of {SUMMARY_WIDTH}; export it with `keytrack train matcher`"
            )

    def close(self) -> None:
        """Frees the network; the matcher is not used afterwards."""
        self._session.close()

    def score_tracks(self, query: TrackQuery) -> TrackScores:
        """Probabilities of the joint assignment, and the camera's shift; with `gating` no network sees the clear cases.

        Poses without keypoints are compared with no track. Boxes without area, and those that are only the extent of
        the keypoints, are no evidence.
        """
        poses, tracks = len(query.current), len(query.track_ids)
        if poses == 0 or tracks == 0:
            return TrackScores.none(poses, tracks)
        past = query.past
        # Past poses are moved to where the camera of the newest remembered frame would have shown them.
        moved = past.with_fields(
            keypoints=past.keypoints + query.camera[:, None],
            boxes=moved_boxes(known_boxes(past), query.camera),
        )
        histories = collect_histories(
            moved, query.gaps, query.seconds, query.track_ids, query.contested, query.overlapped
        )
        velocity = histories.velocities
        expected = expected_poses(histories, velocity)
        current, scores = query.current, query.current.scores
        visible = current.visible
        shift = camera_shift(current.keypoints[None], visible[None], expected[None], histories.visible[None, :, 0])[0]
        keypoints = current.keypoints - shift
        boxes = moved_boxes(known_boxes(current), -shift)
        distance = track_distances(keypoints[None], visible[None], expected, histories)
        distance = np.where(np.isfinite(distance), np.minimum(distance, box_distances(boxes[None], histories)), np.inf)
        box, merged = np.full((poses, tracks), -np.inf, np.float32), np.zeros((poses, tracks), bool)
        if query.expected is not None and exists(boxes).any():
            image = None  # where it is in the coordinates of the expected boxes
            if query.frame_size is not None:
                image = np.concatenate([-shift, query.frame_size - shift]).astype(np.float32)
            single, both = box_logits(boxes, query.expected, image), merged_logits(boxes, query.expected, image)
            box, merged = np.logaddexp(single, both), both > single
            distance = np.where(exists(boxes)[:, None] & (box < HOPELESS_LOGIT), np.inf, distance)
            if image is not None:
                box += arrival_logits(boxes, histories.seconds[:, 0], image)
        clear = np.zeros((poses, tracks), bool)
        if query.gating:
            chance = None
            if query.expected is not None and not exists(boxes).any():
                extents = moved_boxes(keypoint_boxes(current.keypoints, scores), -shift)
                chance = association_probabilities(box_logits(extents, query.expected), query.weak)
            clear = clear_cases(distance[0], histories.frames, chance) | (
                association_probabilities(box, query.weak) >= SETTLED_BY_BOXES
            )
            # Where keypoints and boxes name different pairs, nothing is clear.
            clear &= (clear.sum(0, keepdims=True) == 1) & (clear.sum(1, keepdims=True) == 1)
            distance = np.where(open_cases(clear), distance, np.inf)
        pairs = near_pairs(distance, query.candidates)
        logits = np.full((poses, tracks), -np.inf, np.float32)
        rivals = overlap(keypoints, scores, boxes, pose_sizes(keypoints, visible))
        if len(pairs):
            _, a, b = pairs.T
            tokens, summary = pair_features(keypoints[a], scores[a], boxes[a], rivals[a], histories[b], velocity[b])
            logits[a, b] = self._session.run({"tokens": tokens, "summary": summary})[OUTPUT]
        mixed = combined_logits(np.where(clear, LARGEST_LOGIT, logits), box, rivals, visible)
        found = np.where(clear, SETTLED_SCORE, association_probabilities(mixed, query.weak))
        return TrackScores(found, shift, logits, clear, merged)


def moved_boxes(boxes: FloatArray, offset: FloatArray) -> FloatArray:
    """Boxes [N, 4] moved by `offset` ([2] or [N, 2]) pixels; those without area stay zeros."""
    both = np.concatenate([offset, offset], -1)
    return np.asarray((boxes + both) * exists(boxes)[:, None], np.float32)
