"""`keytrack models fetch` of detectors and of sets: from a server, from an archive, by hand."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keytrack_ros.cli.app import app
from keytrack_ros.detection import Detector, DetectorOptions
from keytrack_ros.inference.cards import DetectorCard, ImageInput
from keytrack_ros.inference.published_detectors import DETECTORS, SETS, PublishedDetector
from test import toy
from test.file_server import FileServer, serving


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder for networks, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KEYTRACK_MODELS", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "keytrack_ros" / "models"


def keytrack(*arguments: str) -> tuple[int, str]:
    """Exit code and all that was printed, in one line."""
    result = CliRunner().invoke(app, ["models", *arguments], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def detectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, FileServer]]:
    """Servers of `plain`, an ONNX file, and `zipped`, an archive that holds it; both are the set `toys`."""
    content = (toy.write_networks(tmp_path / "toys") / f"{toy.DETECTOR}.onnx").read_bytes()
    archive = tmp_path / "sdk.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("20230101/rtm/end2end.onnx", content)
        file.writestr("20230101/rtm/detail.json", "{}")
    with serving(FileServer(content)) as plain, serving(FileServer(archive.read_bytes())) as zipped:
        for name, url, member in (
            ("plain", f"{plain.address}/plain.onnx", ""),
            ("zipped", f"{zipped.address}/sdk.zip", "end2end.onnx"),
        ):
            card = DetectorCard(
                name=name,
                file=f"{name}.onnx",
                sha256=hashlib.sha256(content).hexdigest(),
                auto=False,
                input=ImageInput("image", (416, 416), "bgr"),
                output="rows",
                strides=(8,),
                fill=0,
            )
            monkeypatch.setitem(DETECTORS, name, PublishedDetector(url, member, "AP 1.0", card))
        monkeypatch.setitem(SETS, "toys", ("plain", "zipped"))
        yield {"plain": plain, "zipped": zipped}


def test_a_set_of_detectors_is_fetched_and_used(cache: Path, detectors: dict[str, FileServer]) -> None:
    code, said = keytrack("fetch", "--set", "toys")
    assert code == 0, said
    for name in ("plain", "zipped"):
        assert f"images of 416 x 416; use it with --set detector.model={name}" in said
        found = Detector(DetectorOptions(model=name)).detect(toy.draw_frame([(100.0, 150.0), (400.0, 300.0)]))
        assert len(found[0]) == 2
    assert sorted(file.name for file in cache.iterdir()) == ["plain.onnx", "plain.yaml", "zipped.onnx", "zipped.yaml"]
    assert keytrack("fetch", "zipped")[0] == 0
    assert len(detectors["zipped"].ranges) == 1  # it was there


def test_without_internet_a_set_lists_all_files_to_bring_by_hand(
    cache: Path, detectors: dict[str, FileServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, server in detectors.items():
        detector = DETECTORS[name]
        away = detector.url.replace(server.address, "http://127.0.0.1:9")  # nobody listens there
        monkeypatch.setitem(DETECTORS, name, replace(detector, url=away))
    code, said = keytrack("fetch", "--set", "toys")
    assert code == 1
    assert "2 of 2 networks are missing." in said
    for name, file in (("plain", "plain.onnx"), ("zipped", "sdk.zip")):
        assert f"{name}: http://127.0.0.1:9/{file}: " in said
        assert f"bring the file by hand as {cache / file} and run the command again" in said
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "plain.onnx").write_bytes(detectors["plain"].content)
    (cache / "sdk.zip").write_bytes(detectors["zipped"].content)
    assert keytrack("fetch", "--set", "toys")[0] == 0


def test_an_archive_with_another_network_is_refused(
    cache: Path, detectors: dict[str, FileServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = replace(DETECTORS["zipped"].card, sha256="0" * 64)
    monkeypatch.setitem(DETECTORS, "zipped", replace(DETECTORS["zipped"], card=card))
    code, said = keytrack("fetch", "zipped")
    assert code == 1
    assert (
        f"damaged or not zipped (sdk.zip): SHA-256 is {hashlib.sha256(detectors['plain'].content).hexdigest()}" in said
    )
    assert not (cache / "zipped.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name one network, or a set with --set (accurate)"),
        (("yolox_s", "--set", "accurate"), "name one network, or a set with --set (accurate)"),
        (("--set", "quick"), "--set quick: there is no such set; known are accurate"),
    ],
)
def test_a_fetch_of_nothing_or_of_two_things_is_refused(arguments: tuple[str, ...], message: str) -> None:
    code, said = keytrack("fetch", *arguments)
    assert code == 1
    assert message in said
