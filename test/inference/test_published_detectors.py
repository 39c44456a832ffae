import re

import yaml

from keytrack_ros.cli.settings import pipeline_options
from keytrack_ros.inference.cards import load_card, write_card
from keytrack_ros.inference.published import PUBLISHED
from keytrack_ros.inference.published_detectors import DETECTORS, SETS
from test.conftest import REPOSITORY


def test_every_detector_has_an_address_a_whole_hash_and_a_model_file(tmp_path):
    for name, detector in DETECTORS.items():
        assert detector.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", detector.card.sha256)
        assert not detector.card.auto
        write_card(detector.card, tmp_path / f"{name}.yaml")
        assert load_card(tmp_path / f"{name}.yaml") == detector.card


def test_the_stand_in_of_the_tests_is_the_authors_nano():
    shipped = yaml.safe_load((REPOSITORY / "keytrack_ros/models/yolox_nano_person.yaml").read_text())
    assert DETECTORS["yolox_nano"].card.sha256 == shipped["sha256"]


def test_rtmdet_is_read_from_the_archive_as_mmpose_normalises():
    detector = DETECTORS["rtmdet_m_person"]
    assert detector.file == "rtmdet_m_8xb32-100e_coco-obj365-person-235e8209.zip"
    assert (detector.member, detector.card.decoder, detector.card.labels) == ("end2end.onnx", "end2end", "labels")
    assert detector.card.input.mean == (103.53, 116.28, 123.675)


def test_the_accurate_set_is_what_its_parameter_file_uses():
    options = pipeline_options(REPOSITORY / "config/accurate.yaml")
    assert (options.detector.model, options.estimator.model) == SETS["accurate"]
    assert {*SETS["accurate"]} <= {*DETECTORS, *PUBLISHED}
