"""A rival that needs the frames: past poses carried along by optical flow, then compared by OKS.

As in "Simple Baselines for Human Pose Estimation and Tracking" (Xiao, Wu, Wei, ECCV 2018, §3.3, flow-based pose
similarity): flow moves the poses of earlier frames to the current one, over several frames step by step.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from keytrack_ros.geometry import oks
from keytrack_ros.matching.matcher import Matcher, MatchQuery
from keytrack_ros.poses import FloatArray, ImageArray, Poses


@runtime_checkable
class FrameMatcher(Matcher, Protocol):
    """A matcher that looks at the frames, too. It serves one sequence."""

    def observe(self, image_bgr: ImageArray) -> None:
        """The next frame, [H, W, 3] uint8; to be called for every frame, before its poses are scored."""
        ...


class FlowMatcher:
    """OKS of current poses with past ones that dense inverse search flow (Kroeger et al., ECCV 2016) has moved.

    Args:
        memory_frames: how many frames back poses can be carried.
    """

    def __init__(self, memory_frames: int = 4) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._before: ImageArray | None = None
        # Newest first; the flow of index k leads from t − k − 1 to t − k. None between frames of different sizes.
        self._flows: deque[FloatArray | None] = deque(maxlen=memory_frames)

    def observe(self, image_bgr: ImageArray) -> None:
        grey = np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), np.uint8)
        if self._before is not None:
            same = self._before.shape == grey.shape
            room = np.zeros((*grey.shape, 2), np.float32)
            self._flows.appendleft(np.asarray(self._flow.calc(self._before, grey, room)) if same else None)
        self._before = grey

    def score(self, query: MatchQuery) -> FloatArray:
        return oks(query.current, self._moved(query))[query.pairs[:, 0], query.pairs[:, 1]]

    def _moved(self, query: MatchQuery) -> Poses:
        """The past poses, each carried over the frames since then."""
        points = query.past.keypoints.copy()
        for step in range(len(self._flows) - 1, -1, -1):
            rows, flow = query.gaps > step, self._flows[step]
            if rows.any() and flow is not None:
                points[rows] += sampled(flow, points[rows])
        return Poses(points, query.past.scores)


def sampled(flow: FloatArray, points: FloatArray) -> FloatArray:
    """The flow [H, W, 2] at points [..., 2] in pixels, bilinear; outside of the frame that of its border."""
    flat = points.reshape(-1, 1, 2).astype(np.float32)
    x, y = np.ascontiguousarray(flat[..., 0]), np.ascontiguousarray(flat[..., 1])
    found = cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32).reshape(points.shape)
