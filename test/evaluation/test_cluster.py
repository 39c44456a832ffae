"""The same jobs on a Dask cluster: a real scheduler and two workers on the loopback interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rosbags.rosbag2 import StoragePlugin

from keytrack_ros.annotations.posetrack_writer import write_posetrack18
from keytrack_ros.errors import InputError, KeytrackError, OptionError
from keytrack_ros.evaluation.executors import run_jobs
from test.cli.test_evaluate import run
from test.cli.test_replay import ground_truth_of_walk, write_walk
from test.conftest import REPOSITORY
from test.evaluation.test_executors import doubled
from test.evaluation.toy_sequences import random_ground_truth, random_prediction
from test.toy import write_networks

pytest.importorskip("distributed", reason="Dask is not installed; requirements/dev.txt has it")


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a scheduler with two workers of one thread each; they run elsewhere than the tests."""
    folder = tmp_path_factory.mktemp("cluster")
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",  # a job that ends its worker is not tried again
    }
    quiet = ("--no-dashboard",)

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (folder / f"{name}.txt").open("wb") as log:
            command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *arguments]
            if name != "scheduler":
                command[2] = "distributed.cli.dask_worker"
            return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)

    file = folder / "scheduler.json"
    processes = [start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file), *quiet)]
    try:
        end = time.monotonic() + 90
        while not file.exists() or not file.read_text().strip():
            assert processes[0].poll() is None, (folder / "scheduler.txt").read_text()
            assert time.monotonic() < end, (folder / "scheduler.txt").read_text()
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for k in range(2):
            local = ("--host", "127.0.0.1", "--local-directory", str(folder))
            processes.append(start(f"worker{k}", address, "--nthreads", "1", "--no-nanny", *local, *quiet))
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=90)
        yield address
    finally:
        for process in reversed(processes):  # a worker says goodbye to its scheduler, and waits where that is gone
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def test_jobs_are_done_by_the_workers(scheduler: str) -> None:
    done = dict(run_jobs(doubled, [(k,) for k in range(6)], 1, scheduler))
    assert [done[k][0] for k in range(6)] == [0, 2, 4, 6, 8, 10]
    assert os.getpid() not in {process for _, process in done.values()}


def test_errors_arrive_as_they_are(scheduler: str) -> None:
    with pytest.raises(InputError, match="minus one: no"):
        dict(run_jobs(doubled, [(1,), (-1,)], 1, scheduler))


def test_evaluate_and_compare_equal_those_of_processes_byte_for_byte(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("000001_mpii_test", "000002_mpii_test")):
        ground_truth = random_ground_truth(seed)
        for side, data in (("gt", ground_truth), ("pred", random_prediction(seed, ground_truth))):
            (tmp_path / side).mkdir(exist_ok=True)
            write_posetrack18(data, tmp_path / side / f"{name}.json")
    monkeypatch.chdir(tmp_path)  # the workers' folder is another one
    for out, where in (("a", ("--workers", 2)), ("b", ("--scheduler", scheduler))):
        code, output = run("evaluate", "gt", "pred", "--json", f"{out}.json", *where)
        assert code == 0, output
        options = ("--method", "oks", "--method", "iou", "--keypoints", "perturbed", "--json", f"{out}_compared.json")
        code, output = run("compare", "gt", *options, *where)
        assert code == 0, output
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()
    compared = [json.loads(Path(f"{out}_compared.json").read_text()) for out in "ab"]
    for figures in compared:
        for by_method in figures.values():
            for figure in by_method.values():
                assert figure.pop("ms_per_frame") > 0  # times differ
    assert compared[0] == compared[1]


def test_replayed_tracks_equal_those_of_processes_byte_for_byte(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_networks(tmp_path / "networks")
    (tmp_path / "gt").mkdir()
    for name in ("left", "right"):
        write_walk(tmp_path / name, "jpeg", StoragePlugin.MCAP)
        write_posetrack18(ground_truth_of_walk(name), tmp_path / "gt" / f"{name}.json")
    monkeypatch.chdir(tmp_path)
    for out, where in (("a", ("--workers", 2)), ("b", ("--scheduler", scheduler))):
        code, output = run("replay", "left", "right", "-o", out, "--gt", "gt", "--models", "networks", *where)
        assert code == 0, output
    assert Path("a/scores.json").read_bytes() == Path("b/scores.json").read_bytes()
    for name in ("left", "right"):
        for file in ("tracks.json", "tracks/tracks.mcap", "tracks/metadata.yaml"):
            assert Path("a", name, file).read_bytes() == Path("b", name, file).read_bytes(), file


def test_where_no_scheduler_is_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keytrack_ros.evaluation.executors._CONNECT_S", 1)
    with pytest.raises(OptionError, match=r"--scheduler tcp://127\.0\.0\.1:9: no Dask scheduler answers there"):
        dict(run_jobs(doubled, [(1,)], 1, "tcp://127.0.0.1:9"))
    with pytest.raises(OptionError, match="--scheduler nonsense://: no Dask scheduler answers there"):
        dict(run_jobs(doubled, [(1,)], 1, "nonsense://"))


def test_killed_workers_are_said(scheduler: str) -> None:  # last: it ends a worker
    with pytest.raises(KeytrackError, match="workers were killed"):
        dict(run_jobs(doubled, [(-2,)], 1, scheduler))
