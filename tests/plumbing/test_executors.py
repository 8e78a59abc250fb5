"""Runs on any executor: the same results on threads, on local processes and on Dask, and lost ones begun again."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from reference.errors import InputError
from reference.plumbing import executors
from reference.plumbing.executors import Shared, run_all


def double(x, report):
    report(x, "begun")
    return 2 * x


def size(data, i):
    return data.nbytes + i


def dies_once(file):
    """Kills its process the first time."""
    if not Path(file).exists():
        Path(file).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def reports_or_dies_reporting(file, report):
    """Dies the first time, halfway through a message to its parent; or reports a thousand times."""
    if file is not None and not Path(file).exists():
        Path(file).touch()
        os.write(executors._channel.fileno(), b"\0\0\1\0half")
        os.kill(os.getpid(), signal.SIGKILL)
    for i in range(1000):
        report(file, i)
    return "done"


def naps(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.mark.parametrize("place", ["processes", "threads", "local:2"])
def test_the_same_results_and_reports_everywhere(place, threads):
    if place == "local:2":
        pytest.importorskip("distributed")
    cluster, heard, ended = {"processes": None, "threads": threads}.get(place, place), [], []
    tasks = {f"task {i}": (i,) for i in range(3)}
    found = run_all(double, tasks, 2, lambda *end: ended.append(end), lambda *what: heard.append(what), cluster)
    assert list(found.items()) == [("task 0", 0), ("task 1", 2), ("task 2", 4)]
    assert sorted(ended) == sorted(found.items())
    assert sorted(heard) == [(i, "begun") for i in range(3)]
    assert multiprocessing.active_children() == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_worker_killed_while_it_reports_silences_nobody(tmp_path):
    heard, file = [], str(tmp_path / "dead")
    tasks = {"dies": (file,), "reports": (None,)}
    found = run_all(reports_or_dies_reporting, tasks, 2, report=lambda *what: heard.append(what))
    assert found == dict.fromkeys(tasks, "done")
    assert [i for who, i in heard if who == file] == [i for who, i in heard if who is None] == list(range(1000))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_worker_loses_no_run_on_dask(tmp_path):
    pytest.importorskip("distributed")
    data = Shared(np.zeros(1000))
    assert run_all(size, {"a": (data, 0), "b": (data, 1)}, cluster="local:1") == {"a": 8000, "b": 8001}
    assert run_all(dies_once, {"a": (str(tmp_path / "mark"),)}, cluster="local:1") == {"a": "done"}


@pytest.mark.parametrize("address", ["local:0", "local:x", "tcp://127.0.0.1:1", "nonsense://x"])
def test_a_cluster_that_cannot_be_used_is_one_line(address):
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=f"cluster '{address}'"):
        run_all(double, {"a": (1,)}, cluster=address)
