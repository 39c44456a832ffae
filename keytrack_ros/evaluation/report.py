"""The report of an evaluation: one HTML page that holds everything in itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import keytrack_ros
from keytrack_ros.evaluation.evaluate import SequenceParts, combined, sweep_totals
from keytrack_ros.evaluation.gallery import Picture
from keytrack_ros.evaluation.protocol import CONFIDENCES
from keytrack_ros.evaluation.report_plots import (
    best_threshold,
    image_element,
    joint_bars,
    switch_lines,
    threshold_curves,
)
from keytrack_ros.evaluation.scores import GROUPS, LABELS, PERSON_COLUMNS, ROWS, Scores
from keytrack_ros.media.files import write_text

_LINES = 60
"""Sequences on the time line: those with most switches."""
_ROWS = 500
"""Switches that are listed."""
_SEQUENCE_COLUMNS = ("MOTA", "AP", "IDF1", "HOTA", "precision", "recall")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p { margin: .3rem 0 .6rem; } .note { color: #5a6675; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #dde2e8; white-space: nowrap; }
th { font-weight: 600; background: #f3f5f8; } th:first-child, td:first-child { text-align: left; }
td.best { font-weight: 700; background: #e6f0fa; } img { max-width: 100%; }
figure { margin: 1rem 0; } figure img { width: 49%; margin-right: .3rem; }
figcaption { color: #5a6675; }
"""


def write_report(
    path: Path, scores: Scores, parts: Sequence[SequenceParts], gallery: Sequence[Picture] | None, title: str
) -> None:
    """Writes the page.

    Args:
        path: the file, replaced if it exists.
        scores: of all sequences together.
        parts: of each sequence, counted with `CONFIDENCES`.
        gallery: pictures of ID switches; None if no images were given.
        title: what was scored, such as the names of both folders.

    Raises OutputError if it cannot be written.
    """
    sections = [
        _section("All sequences", _joint_table(scores) + joint_bars(scores)),
        _section("Whole people", _person_table(scores), "By similarity; a limit of 0.5."),
        _section("Confidence thresholds", *_sweep(scores, parts)),
        _section("ID switches", *_switches(parts)),
        _section("Sequences", _sequence_table(scores, parts), "Lowest MOTA first."),
    ]
    if gallery is not None:
        sections.append(_section("Pictures of ID switches", *_gallery(gallery)))
    counted = "as poseval and PoseTrack21's code count" if scores.protocol.official else "as defined"
    page = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>
<style>{_STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
<p class="note">{len(scores.sequences)} sequences, {scores.frames} frames scored; mode {scores.protocol.mode}:
{counted}. keytrack_ros {keytrack_ros.__version__}</p>
{"".join(sections)}
</body>
</html>
"""
    write_text(path, page)


def _section(heading: str, content: str, note: str = "") -> str:
    return f'<h2>{heading}</h2>\n<p class="note">{note}</p>\n{content}\n'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are HTML; one that begins with "*" is the best of its row."""
    lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    for row in rows:
        cells = (f'<td class="best">{c[1:]}</td>' if c.startswith("*") else f"<td>{c}</td>" for c in row)
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>\n"


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.1f}"


def _joint_table(scores: Scores) -> str:
    rows = ([LABELS.get(name, name), *map(_cell, scores.group(name).values())] for name in ROWS)
    return _table(("%", *GROUPS, "Total"), rows)


def _person_table(scores: Scores) -> str:
    rows = ([name, *(_cell(values[column]) for column in PERSON_COLUMNS)] for name, values in scores.person.items())
    return _table(("whole people by", *PERSON_COLUMNS), rows)


def _sequence_table(scores: Scores, parts: Sequence[SequenceParts]) -> str:
    totals = []
    for part in parts:
        own = combined([part], scores.protocol).totals if part.frames else {}
        totals.append((part, [own.get(name, math.nan) for name in _SEQUENCE_COLUMNS]))
    totals.sort(key=lambda item: (math.isnan(item[1][0]), item[1][0]))
    rows = (
        [escape(part.name), str(part.frames), str(len(part.switches)), *map(_cell, values)] for part, values in totals
    )
    return _table(("sequence", "frames", "ID switches", *_SEQUENCE_COLUMNS), rows)


def _sweep(scores: Scores, parts: Sequence[SequenceParts]) -> tuple[str, str]:
    """AP and MOTA over the confidence threshold (the paper's Table 4)."""
    totals = sweep_totals(parts, scores.protocol)
    rows, named = [], []
    for column, name in enumerate(("AP", "MOTA")):
        values = [pair[column] for pair in totals]
        best = best_threshold(values)
        rows.append([name, *(f"{'*' if k == best else ''}{_cell(value)}" for k, value in enumerate(values))])
        if best is not None:
            named.append(f"{CONFIDENCES[best]:g} for {name} ({values[best]:.1f})")
    note = "Keypoints with a lower confidence are left out; those without a confidence stay."
    if named:
        note += f" Best: {', '.join(named)}."
    table = _table(("least confidence", *(f"{t:g}" for t in CONFIDENCES)), rows)
    return table + threshold_curves(CONFIDENCES, totals), note


def _switches(parts: Sequence[SequenceParts]) -> tuple[str, str]:
    """The time line, and each switch in words."""
    ranked = sorted(parts, key=lambda part: -len(part.switches))
    shown = [part for part in ranked[:_LINES] if part.switches]
    total, concerned = sum(len(part.switches) for part in parts), sum(bool(part.switches) for part in parts)
    note = (
        f"{total} times, in {concerned} of {len(parts)} sequences, an annotated person is found under another id than "
        "before, at one keypoint or more. The taller the mark, the more keypoints."
    )
    if not shown:
        return "", note
    if len(shown) < concerned:
        note += f" Shown are the {_LINES} sequences with the highest counts."
    largest = sorted(((part, switch) for part in parts for switch in part.switches), key=lambda item: -item[1].joints)
    rows = (
        [escape(part.name), str(part.numbers[s.frame]), str(s.person), f"{s.before} → {s.after}", str(s.joints)]
        for part, s in largest[:_ROWS]
    )
    table = _table(("sequence", "frame", "person", "id", "keypoints"), rows)
    return f"{switch_lines(shown)}\n<details><summary>Those of most keypoints</summary>{table}</details>", note


def _gallery(pictures: Sequence[Picture]) -> tuple[str, str]:
    figures = []
    for picture in pictures:
        switch = picture.switch
        images = "".join(image_element(data, "jpeg", f"frame {k}") for k, data in picture.images)
        frames = " and ".join(str(k) for k, _ in picture.images)
        figures.append(
            f"<figure>{images}<figcaption>{escape(picture.sequence)}, frames {frames}: person {switch.person}, "
            f"id {switch.before} → {switch.after}, {switch.joints} keypoints</figcaption></figure>"
        )
    note = "The frame before and the frame of the switch. White: annotated (edged in black: the person who switches). "
    note += "Coloured with id: predicted. Those of most keypoints first."
    return "\n".join(figures), note if pictures else "There is none, or there are no images of them."
