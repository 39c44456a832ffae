"""The record of a run: CSV, curves, sheets of samples."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from keytrack_ros.training.common.log import Panel, draw_curves, sheet, write_log


@dataclass(frozen=True)
class Entry:
    step: int
    size: int
    loss: float
    recall: float


LOG = [Entry(100, 32, 1.23456789, 0.25), Entry(200, 64, 0.5, 0.5)]
PANELS = (Panel("loss", {"loss": "training"}), Panel("held back", {"recall": "recall"}, percent=True))


def test_the_log_has_a_line_for_each_entry_with_six_digits(tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv", LOG)
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0] == {"step": "100", "size": "32", "loss": "1.23457", "recall": "0.25"}
    assert len(rows) == 2


def test_a_panel_tells_its_values() -> None:
    assert [panel.text(LOG[0]) for panel in PANELS] == ["loss: training 1.2346", "held back: recall 25.0%"]


def test_curves_have_a_panel_for_each_and_a_mark_where_the_stage_changes(tmp_path: Path) -> None:
    def drawn(log: list[Entry], stage: str) -> np.ndarray:
        draw_curves(tmp_path / "curves.png", log, PANELS, stage)
        return cv2.imread(str(tmp_path / "curves.png"))

    plain = drawn(LOG, "")
    assert plain.shape == (288, 720, 3)
    assert (drawn(LOG, "size") != plain).any()
    same_size = [replace(entry, size=32) for entry in LOG]
    assert (drawn(same_size, "size") == plain).all()


def test_a_sheet_fills_its_last_row_with_black() -> None:
    tiles = [np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3)]
    result = sheet(tiles, columns=2)
    assert result.shape == (4, 6, 3)
    assert result[::2, ::3, 0].tolist() == [[1, 2], [3, 0]]
