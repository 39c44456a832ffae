"""Matchers that need no network: overlap of boxes and object keypoint similarity."""

from __future__ import annotations

from keytrack_ros.geometry import box_iou, oks
from keytrack_ros.matching.matcher import MatchQuery
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
