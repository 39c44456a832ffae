"""Matchers that need no network: overlap of boxes and object keypoint similarity."""

from __future__ import annotations

import numpy as np

from keytrack_ros.matching.matcher import MatchQuery
from keytrack_ros.oks import oks
from keytrack_ros.poses import FloatArray, keypoint_boxes


class IouMatcher:
    """Intersection over union of the two keypoint boxes."""

    def score(self, query: MatchQuery) -> FloatArray:
        a = keypoint_boxes(query.current.keypoints, query.current.scores)[query.pairs[:, 0]]
        b = keypoint_boxes(query.past.keypoints, query.past.scores)[query.pairs[:, 1]]
        return box_iou(a, b)


class OksMatcher:
    """Object keypoint similarity, as HRNet's and Simple Baselines' trackers use without flow."""

    def score(self, query: MatchQuery) -> FloatArray:
        return oks(query.current, query.past)[query.pairs[:, 0], query.pairs[:, 1]]


def box_iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of boxes x_min, y_min, x_max, y_max; 0 for empty boxes.

    Leading axes are broadcast; float32.
    """
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.maximum(size, 0), -1)
    union = np.prod(a[..., 2:] - a[..., :2], -1) + np.prod(b[..., 2:] - b[..., :2], -1) - intersection
    return np.where(union > 0, intersection / np.maximum(union, 1e-9), 0).astype(np.float32)
