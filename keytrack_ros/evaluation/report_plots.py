"""The report's figures, drawn by Matplotlib, each as text that an HTML page can hold in itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from keytrack_ros import skeleton
from keytrack_ros.errors import OutputError
from keytrack_ros.evaluation.evaluate import SequenceParts
from keytrack_ros.evaluation.scores import GROUPS, Scores

_BLUE, _ORANGE, _GREY = "#1f5f99", "#d1731f", "#c9ced6"
_ORDER = [joint for joints in GROUPS.values() for joint in joints]


def joint_bars(scores: Scores) -> str:
    """MOTA and AP of each keypoint, side by side."""
    figure, axes = _figure(3.2)
    place = np.arange(len(_ORDER))
    rows = [skeleton.INDEX[joint] for joint in _ORDER]
    for measure, shift, color in (("MOTA", -0.2, _BLUE), ("AP", 0.2, _ORANGE)):
        axes.bar(place + shift, np.nan_to_num(scores.joints[measure][rows]), 0.4, label=measure, color=color)
    axes.set_xticks(place, [joint.replace("_", " ") for joint in _ORDER], rotation=40, ha="right")
    axes.set(ylabel="%", xlim=(-0.7, len(_ORDER) - 0.3))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return _svg(figure, "MOTA and AP of each keypoint")


def threshold_curves(thresholds: Sequence[float], totals: Sequence[tuple[float, float]]) -> str:
    """AP and MOTA over the confidence that a keypoint must reach; the best of each is marked."""
    figure, axes = _figure(3.0)
    for column, name, color in ((1, "MOTA", _BLUE), (0, "AP", _ORANGE)):
        values = np.array(totals)[:, column]
        axes.plot(thresholds, values, marker=".", color=color, label=name)
        best = best_threshold(values)
        if best is not None:
            axes.plot(thresholds[best], values[best], marker="o", markersize=9, fillstyle="none", color=color)
    # A MOTA far below 0 would press the rest of the curves flat.
    axes.set(xlabel="least confidence of a keypoint", ylabel="%", ylim=(max(-20, axes.get_ylim()[0]), None))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return _svg(figure, "AP and MOTA over the confidence threshold")


def best_threshold(values: Any) -> int | None:
    """Where the largest value is; the first of equals; None if there is none."""
    known = np.asarray(values, np.float64)
    return int(np.nanargmax(known)) if np.isfinite(known).any() else None


def switch_lines(parts: Sequence[SequenceParts]) -> str:
    """One line a sequence over its frames, with a mark at each ID switch, the taller the more keypoints switch."""
    figure, axes = _figure(0.9 + 0.24 * len(parts))
    for row, part in enumerate(reversed(parts)):
        axes.hlines(row, part.numbers[0], max(part.numbers[-1], part.numbers[0] + 1), color=_GREY, linewidth=3)
        tallest: dict[int, int] = {}
        for switch in part.switches:
            number = part.numbers[switch.frame]
            tallest[number] = max(switch.joints, tallest.get(number, 0))
        height = 0.12 + 0.3 * np.array(list(tallest.values())) / skeleton.COUNT
        axes.vlines(list(tallest), row - height, row + height, color=_BLUE, linewidth=1.5)
    axes.set_yticks(range(len(parts)), [part.name for part in reversed(parts)], fontsize=8)
    axes.set(xlabel="frame", ylim=(-0.7, len(parts) - 0.3))
    axes.grid(axis="y", visible=False)
    return _svg(figure, "ID switches over time")


def require_matplotlib() -> None:
    """To be called before the work whose result a report is to show. Raises OutputError if Matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise OutputError(
            "--report: Matplotlib, which draws the figures, is not installed: pip install 'matplotlib>=3.8'"
        )


def _figure(height: float) -> tuple[Any, Any]:
    """A figure 9 inches wide and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Any, title: str) -> str:
    """An <img> that holds the figure; text stays text, so that it is small. The same figure gives the same bytes."""
    from matplotlib import rc_context

    stream = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return image_element(stream.getvalue(), "svg+xml", title)


def image_element(data: bytes, kind: str, title: str) -> str:
    """An <img> whose source is the data itself; `title` must need no escaping."""
    return f'<img alt="{title}" src="data:image/{kind};base64,{base64.b64encode(data).decode("ascii")}">'
