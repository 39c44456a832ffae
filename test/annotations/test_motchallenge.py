"""MOTChallenge text: ground truth folders, results, and what is wrong with some of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from keytrack_ros.annotations.convert import convert_sequences
from keytrack_ros.annotations.files import find_sequences, pair_sequences, read_sequence, sequence_name
from keytrack_ros.errors import InputError

GT = """1,7,10,20,30,40,1,-1,-1,-1
3,7,12,20,30,40,1,-1,-1,-1
1,8,100,20,30,40,0,-1,-1,-1
2,9,50,60,10.5,20,1,-1,-1,-1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ground truth of frames 1 to 4 at 10 frames a second; one of its boxes does not count."""
    (tmp_path / "street/gt").mkdir(parents=True)
    (tmp_path / "street/gt/gt.txt").write_text(GT)
    (tmp_path / "street/seqinfo.ini").write_text(
        "[Sequence]\nname=street\nframeRate=10\nseqLength=4\nimWidth=640\nimHeight=480\n"
    )
    return tmp_path / "street"


def test_ground_truth_in_the_benchmarks_folders(folder: Path) -> None:
    sequence = read_sequence(folder)
    assert (sequence.name, len(sequence)) == ("street", 4)
    assert [image.size for image in sequence.images] == [(640, 480)] * 4
    assert [image.stamp_ns for image in sequence.images] == [0, 10**8, 2 * 10**8, 3 * 10**8]
    assert sequence.frame_numbers == [0, 1, 2, 3]
    assert sequence.track_ids.tolist() == [7, 9, 7]  # 8 has the flag 0
    assert sequence.image_index.tolist() == [0, 1, 2]
    assert sequence.boxes.tolist() == [[10, 20, 40, 60], [50, 60, 60.5, 80], [12, 20, 42, 60]]
    assert not sequence.present.any()


def test_first_and_last_frame_of_seq_json_are_those_that_count(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text(GT)
    (tmp_path / "seq.json").write_text(json.dumps({"fps": 5, "first": 2, "last": 3}))
    sequence = read_sequence(tmp_path)
    assert sequence.frame_numbers == [1, 2]
    assert sequence.track_ids.tolist() == [9, 7]


def test_results_end_with_their_last_box(tmp_path: Path) -> None:
    (tmp_path / "street.txt").write_text("2 5 1 2 3 4 0.9\n1 5 1 2 3 4 0\n")  # a confidence of 0 is no flag
    sequence = read_sequence(tmp_path / "street.txt")
    assert (sequence.name, len(sequence), sequence.track_ids.tolist()) == ("street", 2, [5, 5])


def test_ids_of_any_size_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = f"1,{2**70},1,2,3,4,1\n2,{2**70},1,2,3,4,1\n2,{2**70 + 1},9,2,3,4,1\n"
    (tmp_path / "street.txt").write_text(text, encoding="utf-8-sig")
    assert read_sequence(tmp_path / "street.txt").track_ids.tolist() == [0, 0, 1]


def test_folders_of_ground_truth_are_paired_with_files_of_results(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results/street.txt").write_text(GT)
    assert find_sequences(folder) == [folder]
    benchmark = tmp_path / "benchmark"
    benchmark.mkdir()
    folder.rename(benchmark / "street")
    assert [sequence_name(path) for path in find_sequences(benchmark)] == ["street"]
    assert pair_sequences(benchmark, tmp_path / "results") == [(benchmark / "street", tmp_path / "results/street.txt")]


def test_boxes_with_ids_become_posetrack_files(folder: Path, tmp_path: Path) -> None:
    list(convert_sequences(folder, tmp_path / "street.json", "posetrack18"))
    again = read_sequence(tmp_path / "street.json")
    np.testing.assert_allclose(again.boxes, read_sequence(folder).boxes)
    assert again.track_ids.tolist() == [0, 1, 0]
    assert not again.present.any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,-1,10,20,30,40,0.9\n", "line 1: the box has no id (-1): these are detections, not tracks"),
        ("1,1,10,20,30,40,1\none,1,10,20,30,40,1\n", "line 2: numbers separated by commas are needed"),
        ("1,1,10,20\n", "line 1: frame, id, left, top, width and height are needed"),
        ("1,1,nan,20,30,40,1\n", "line 1: frame, id, left, top, width and height are needed, as finite numbers"),
        ("0,1,10,20,30,40,1\n", "line 1: 0 is no number of a frame; they count from 1"),
        ("1e12,1,10,20,30,40,1\n", "line 1: 1e12 is no number of a frame"),
        ("1,1,10,20,30,40,1\n1,1,10,20,30,40,1\n", "frame 0: track id 1 is given to more than one person"),
        ("", "holds no boxes, and no seqinfo.ini or seq.json says how many frames there are"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "gt.txt").write_text(text)
    with pytest.raises(InputError) as raised:
        read_sequence(tmp_path)
    assert words in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_description_that_is_none_is_named(folder: Path) -> None:
    (folder / "seqinfo.ini").write_text("frameRate=10\n")
    with pytest.raises(InputError, match=r"seqinfo\.ini: no description of a sequence"):
        read_sequence(folder)
