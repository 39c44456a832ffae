"""Real transfers from a server on this machine."""

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from keytrack_ros.errors import ModelError, OutputError
from keytrack_ros.inference.download import download
from test.file_server import FileServer, serving

SIZE = 700_000


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(FileServer(np.random.default_rng(0).bytes(SIZE))) as running:
        yield running


class Reports:
    """What a progress bar would be told."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int | None]] = []

    def __call__(self, done: int, total: int | None) -> None:
        self.seen.append((done, total))


def fetch(server: FileServer, file: Path, sha256: str | None = None, path: str = "/net.pth") -> Reports:
    reports = Reports()
    download(server.address + path, file, server.sha256[:8] if sha256 is None else sha256, reports)
    return reports


def test_a_file_arrives_whole_in_a_new_folder(tmp_path: Path, server: FileServer) -> None:
    file = tmp_path / "cache" / "net.pth"
    reports = fetch(server, file)
    assert file.read_bytes() == server.content
    assert [path.name for path in file.parent.iterdir()] == ["net.pth"]
    assert reports.seen[0] == (0, SIZE)
    assert reports.seen[-1] == (SIZE, SIZE)
    assert server.ranges == [None]


def test_a_transfer_that_broke_off_goes_on_where_it_stopped(tmp_path: Path, server: FileServer) -> None:
    file, server.breaks_after = tmp_path / "net.pth", 300_000
    with pytest.raises(ModelError, match=r"/net\.pth: broke off after 300000 of 700000 bytes; run the command again"):
        fetch(server, file)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth.part"]
    server.breaks_after = None
    reports = fetch(server, file)
    assert server.ranges == [None, "bytes=300000-"]
    assert reports.seen[0] == (300_000, SIZE)
    assert file.read_bytes() == server.content


def test_a_server_that_cannot_resume_sends_all_again(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "net.pth.part").write_bytes(server.content[:1000])
    server.resumes = False
    reports = fetch(server, tmp_path / "net.pth")
    assert reports.seen[0] == (0, SIZE)
    assert (tmp_path / "net.pth").read_bytes() == server.content


def test_a_server_that_does_not_tell_the_length(tmp_path: Path, server: FileServer) -> None:
    server.says_length = False
    assert fetch(server, tmp_path / "net.pth").seen[-1] == (SIZE, None)
    assert (tmp_path / "net.pth").read_bytes() == server.content
    server.breaks_after = 5000  # cannot be told from the end; the hash can
    with pytest.raises(ModelError, match=r"damaged or not other\.pth"):
        fetch(server, tmp_path / "other.pth")


def test_all_bytes_were_there_already(tmp_path: Path, server: FileServer) -> None:
    # as after a crash between the last byte and the renaming
    (tmp_path / "net.pth.part").write_bytes(server.content)
    fetch(server, tmp_path / "net.pth")
    assert (tmp_path / "net.pth").read_bytes() == server.content


def test_another_file_than_expected_is_deleted_and_both_hashes_named(tmp_path: Path, server: FileServer) -> None:
    with pytest.raises(
        ModelError, match=rf"damaged or not net\.pth: SHA-256 is {server.sha256}, expected 0123abcd…; get it again"
    ):
        fetch(server, tmp_path / "net.pth", sha256="0123abcd")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_beginning_is_not_kept(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "net.pth.part").write_bytes(bytes(1000))
    with pytest.raises(ModelError, match=r"damaged or not net\.pth"):
        fetch(server, tmp_path / "net.pth")
    fetch(server, tmp_path / "net.pth")  # from the beginning
    assert (tmp_path / "net.pth").read_bytes() == server.content


def test_a_missing_file_says_what_to_do_by_hand(tmp_path: Path, server: FileServer) -> None:
    with pytest.raises(ModelError, match=r"/missing: 404 Not Found; .* bring the file by hand as .*net\.pth and run"):
        fetch(server, tmp_path / "net.pth", path="/missing")
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]  # free, and nobody accepts there
        with pytest.raises(ModelError, match=r"/net\.pth: Connection refused; .* bring the file by hand as"):
            download(f"http://127.0.0.1:{port}/net.pth", tmp_path / "net.pth", "00", Reports())


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/net.pth"
        with pytest.raises(ModelError, match="timed out"):
            download(url, tmp_path / "net.pth", "00", Reports(), timeout_s=0.2)


def test_no_half_file_stays_when_the_disk_is_full(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "net.pth.part").symlink_to("/dev/full")  # every write to it finds no space left
    with pytest.raises(OutputError, match=r"net\.pth: no room for it on the disk; what had arrived was deleted"):
        fetch(server, tmp_path / "net.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match=r"cache/net\.pth: (File exists|Not a directory)"):
        fetch(server, tmp_path / "cache" / "net.pth")
