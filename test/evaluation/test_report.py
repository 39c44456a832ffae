"""Reports: one page that holds everything, and what it says."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from keytrack_ros.annotations.posetrack_writer import write_posetrack18
from keytrack_ros.cli.app import app
from keytrack_ros.evaluation.clear_mot import Switch
from keytrack_ros.evaluation.evaluate import score_sequence, sweep_totals
from keytrack_ros.evaluation.frames import SequencePair
from keytrack_ros.evaluation.protocol import CLEAN, OFFICIAL
from keytrack_ros.media.bag_writer import BagWriter
from keytrack_ros.media.posetrack_writer import PoseTrackWriter
from test.evaluation.toy_sequences import Person, score, sequence

NAME = "000001_mpii_test"
HANDS = ("left_wrist", "right_wrist")


def exchanged() -> SequencePair:
    """Two people over 6 frames whose ids 7 and 8 change places in frame 3; in frame 4 the hands of one are missing."""
    ground_truth = sequence([[Person(1, 100), Person(2, 400)] for _ in range(6)], size=(640, 480))
    ids = [(7, 8) if k < 3 else (8, 7) for k in range(6)]
    found = [
        [Person(a, 102, score=0.9, without=HANDS if k == 4 else ()), Person(b, 402, score=0.4)]
        for k, (a, b) in enumerate(ids)
    ]
    return SequencePair(ground_truth, sequence(found, size=(640, 480)))


def report(pair: SequencePair, folder: Path, *arguments: object) -> tuple[int, str, str]:
    """Exit code, what is printed, and the page."""
    (folder / "gt").mkdir()
    (folder / "pred").mkdir()
    write_posetrack18(pair.ground_truth, folder / "gt" / f"{NAME}.json")
    write_posetrack18(pair.prediction, folder / "pred" / f"{NAME}.json")
    page = folder / "out.html"
    command = ["evaluate", folder / "gt", folder / "pred", "--mode", "clean", "--report", page, *arguments]
    result = CliRunner().invoke(app, list(map(str, command)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output, page.read_text(encoding="utf-8") if page.exists() else ""


def test_switches_name_frame_person_and_ids() -> None:
    pair = exchanged()
    for protocol in (CLEAN, OFFICIAL):
        parts = score_sequence(pair, protocol)
        assert parts.switches == (Switch(3, 1, 7, 8, 15), Switch(3, 2, 8, 7, 15))
        assert sum(s.joints for s in parts.switches) == parts.clear.switches.sum()


def test_sweep_is_the_score_of_what_is_sure_enough() -> None:
    pair = exchanged()
    parts = score_sequence(pair, CLEAN, (0.0, 0.5, 0.95))
    (everyone, confident, nobody) = sweep_totals([parts], CLEAN)
    whole = score(pair.ground_truth, pair.prediction)
    assert everyone == pytest.approx((whole.totals["AP"], whole.totals["MOTA"]))
    # Of 12 people 6 are left, whose id switches once; the hands lack one of 6 more.
    mota = [100 * (1 - (6 + missing + 1) / 12) for missing in (0, 1)]
    assert confident[1] == pytest.approx((13 * mota[0] + 2 * mota[1]) / 15)
    assert nobody == (0, 0)


def test_keypoints_without_confidence_pass_every_threshold() -> None:
    scene = sequence([[Person(1, 100), Person(2, 400, score=0.3)]])
    assert scene.with_min_score(0.5).track_ids.tolist() == [1]


def test_the_page_holds_everything_in_itself(tmp_path: Path) -> None:
    code, output, page = report(exchanged(), tmp_path)
    assert code == 0, output
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "http" not in page
    assert page.count("data:image/svg+xml") == 3
    assert "Pictures of ID switches" not in page
    for words in ("mode clean", "1 sequences, 6 frames", "<td>%IDSW</td>", "<th>Ankl</th>", "7 → 8"):
        assert words in page
    for line in page.splitlines():
        if line.startswith("<tr><td>MOTA</td>") and line.count("<td") == 9:
            shown = float(re.findall(r"<td>([\d.]+)</td></tr>", line)[0])
            assert shown == pytest.approx(
                score(exchanged().ground_truth, exchanged().prediction).totals["MOTA"], abs=0.05
            )
    # Without the unsure person, half is missed: the lowest threshold is best for both.
    assert re.search(r"Best: 0 for AP \([\d.]+\), 0 for MOTA \([\d.]+\)", page)


def test_the_same_scores_give_the_same_page(tmp_path: Path) -> None:
    pages = []
    for name in "ab":
        (tmp_path / name).mkdir()
        pages.append(report(exchanged(), tmp_path / name)[2])
    assert pages[0] == pages[1]


@pytest.mark.parametrize("layout", ["images/val/000001_mpii_test", "000001_mpii_test", "."])
def test_pictures_of_the_frames_around_a_switch(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "images" / layout
    folder.mkdir(parents=True)
    for k in range(6):
        cv2.imwrite(str(folder / f"{k:06d}.jpg"), np.full((480, 640, 3), 90, np.uint8))
    code, output, page = report(exchanged(), tmp_path, "--images", tmp_path / "images")
    assert code == 0, output
    assert page.count("data:image/jpeg") == 4  # two switches, two frames each
    assert f"{NAME}, frames 2 and 3: person 1, id 7 → 8, 15 keypoints" in page


def test_pictures_from_the_bag_of_a_single_sequence(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for k in range(6):
            bag.write_image("/camera", np.full((480, 640, 3), 90, np.uint8), 10**9 + k)
    code, output, page = report(exchanged(), tmp_path, "--images", tmp_path / "bag")
    assert code == 0, output
    assert page.count("data:image/jpeg") == 4


def test_frames_of_a_part_of_a_video_have_its_numbers(tmp_path: Path) -> None:
    # As of `keytrack track --start 20` on a video of which frame 22 cannot be decoded; frame k is grey of 5 k.
    numbers = (20, 21, 23, 24, 25, 26)
    pair = exchanged()
    names = [
        replace(image, file_name=f"walk/{n:06d}.jpg")
        for image, n in zip(pair.ground_truth.images, numbers, strict=True)
    ]
    write_posetrack18(replace(pair.ground_truth, images=tuple(names)), tmp_path / "gt.json")
    with PoseTrackWriter(tmp_path / "tracks.json", "walk") as writer:
        for k, number in enumerate(numbers):
            writer.write(pair.prediction.poses(k), number, (640, 480))
    video = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 480))
    for k in range(30):
        video.write(np.full((480, 640, 3), 5 * k, np.uint8))
    video.release()
    page = tmp_path / "out.html"
    command = ["evaluate", tmp_path / "gt.json", tmp_path / "tracks.json", "--mode", "clean", "--report", page]
    result = CliRunner().invoke(app, [*map(str, command), "--images", str(tmp_path / "walk.avi")])
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert text.count(", frames 23 and 24: person") == 2
    assert text.count("<td>24</td>") == 2  # in the list of switches
    pictures = [base64.b64decode(data) for data in re.findall(r"data:image/jpeg;base64,([^\"]+)", text)]
    greys = [np.median(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)) for data in pictures]
    assert greys == pytest.approx([5 * 23, 5 * 24] * 2, abs=2)


def test_missing_images_are_said(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    code, output, page = report(exchanged(), tmp_path, "--images", tmp_path / "images")
    assert code == 0
    assert "no images for 2 of 2 ID switches" in output
    assert "there are no images of them" in page


def test_no_switch_at_all(tmp_path: Path) -> None:
    ground_truth = exchanged().ground_truth
    code, _, page = report(SequencePair(ground_truth, ground_truth), tmp_path)
    assert code == 0
    assert "0 times, in 0 of 1 sequences" in page


def test_names_are_text_and_not_html(tmp_path: Path) -> None:
    folder = tmp_path / "a<b>&"
    folder.mkdir()
    ground_truth = sequence([[Person(1, 100)], [Person(1, 100)]], name="<script>")
    write_posetrack18(ground_truth, folder / "<i>.json")
    result = CliRunner().invoke(
        app, ["evaluate", *[str(folder / "<i>.json")] * 2, "--report", str(tmp_path / "out.html")]
    )
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out.html").read_text()
    assert "<script>" not in page
    assert "&lt;i&gt;" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", "{folder}/gone"], "gone: there is no such file or folder"),
        (["--report", "{folder}/gone/out.html"], "out.html: cannot be written"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    code, output, _ = report(exchanged(), tmp_path, *(a.format(folder=tmp_path) for a in arguments))
    assert code == 1
    assert words in output


def test_images_without_a_report(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", "a.json", "b.json", "--images", str(tmp_path)])
    assert result.exit_code == 1
    assert "add --report" in result.output


def test_without_matplotlib_it_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keytrack_ros.evaluation.report_plots.find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["evaluate", "gone", "gone", "--report", str(tmp_path / "out.html")])
    assert result.exit_code == 1
    assert "pip install 'matplotlib" in result.output
