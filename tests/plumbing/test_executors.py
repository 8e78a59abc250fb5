"""Runs on any executor: the same results on threads, on local processes and on Dask, and lost ones begun again."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from reference.errors import InputError
from reference.plumbing import clusters, executors, places
from reference.plumbing.executors import Shared, run_all

ROOT = Path(__file__).parents[2]


def double(x, report):
    report(x, "begun")
    return 2 * x


def weigh(data, i, file=None):
    """The number of bytes, plus i; kills its process if the file is not there yet."""
    if file is not None and not Path(file).exists():
        Path(file).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return data.values.nbytes + i


def kills(file):
    with open(file, "a") as ended:
        ended.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def reports_or_dies_reporting(file, report):
    """Dies the first time, halfway through a message to its parent; or reports a thousand times."""
    if file is not None and not Path(file).exists():
        Path(file).touch()
        os.write(places._writer.fileno(), b"\0\0\1\0half")
        os.kill(os.getpid(), signal.SIGKILL)
    for i in range(1000):
        report(file, i)
    return "done"


def goes_on(report):
    while True:
        report(os.getpid())
        time.sleep(0.02)


def alone(running):
    """Whether nobody else runs in this process meanwhile."""
    running.append(1)
    time.sleep(0.05)
    found = len(running)
    running.pop()
    return found == 1


def masked():
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


class Particular(Exception):
    """Can be pickled, and not unpickled: its arguments are not its message."""

    def __init__(self, where, what):
        super().__init__(f"{what} at {where}")


def fails(particularly):
    raise Particular(3, "nonsense") if particularly else KeyError("x")


class Lost:
    """A result whose worker dies when it is first sent."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        if not Path(self.file).exists():
            Path(self.file).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return str, ("found",)


def lost_on_its_way(_, file):
    return Lost(file)


class Heavy:
    """Counts how often it is packed in this process."""

    packed = 0

    def __init__(self, n):
        self.values = np.zeros(n, np.uint8)

    def __getstate__(self):
        Heavy.packed += 1
        return self.__dict__


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster of two processes that somebody else has started."""
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    patient = {"distributed.deploy.lost-worker-timeout": "1 hour"}  # or one that is down 15 s after it died is given up
    with (
        dask.config.set(patient),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0") as found,
    ):
        yield found


@pytest.fixture
def place(request):
    """What `run_all` takes for `cluster`, by a word."""
    if request.param == "dask":
        yield request.getfixturevalue("cluster").scheduler_address
    elif request.param == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    else:
        yield None


@pytest.mark.parametrize("place", ["processes", "threads", "dask"], indirect=True)
def test_the_same_results_and_reports_everywhere(place):
    heard, ended, before = [], [], multiprocessing.active_children()
    tasks = {f"task {i}": (i,) for i in range(3)}
    found = run_all(double, tasks, 2, lambda *end: ended.append(end), lambda *what: heard.append(what), place)
    assert list(found.items()) == [("task 0", 0), ("task 1", 2), ("task 2", 4)]
    assert sorted(ended) == sorted(found.items())
    assert sorted(heard) == [(i, "begun") for i in range(3)]
    assert multiprocessing.active_children() == before


@pytest.mark.parametrize("place", ["processes", "threads", "dask"], indirect=True)
def test_what_a_run_raises_is_raised_here(place):
    with pytest.raises(KeyError, match="x"):
        run_all(fails, {"a": (False,)}, cluster=place)
    with pytest.raises((RuntimeError, Particular), match="nonsense at 3"):  # Dask makes every exception fit to be sent
        run_all(fails, {"a": (True,)}, cluster=place)


class Unfit:
    """Can be sent, and not be received."""

    def __reduce__(self):
        return int, ("x",)


def test_a_result_that_cannot_be_received_keeps_nobody_waiting():
    with pytest.raises(ChildProcessError, match="the process of a died"):
        run_all(Unfit, {"a": ()})


@pytest.mark.parametrize("place", ["threads"], indirect=True)
def test_runs_in_one_process_take_turns(place):
    """Autograd's nested derivatives in two threads at once would be wrong."""
    running = []
    assert all(run_all(alone, {"a": (running,), "b": (running,)}, 2, cluster=place).values())


def test_shared_data_is_sent_once(cluster):
    """Six runs on two workers; without `Shared`, each run is sent its own."""
    data, address = Heavy(100_000), cluster.scheduler_address
    Heavy.packed = 0
    assert run_all(weigh, {str(i): (Shared(data), i) for i in range(6)}, cluster=address)["5"] == 100_005
    assert Heavy.packed == 1
    run_all(weigh, {str(i): (data, i) for i in range(6)}, cluster=address)
    assert Heavy.packed > 6


def test_shared_data_crosses_the_wire_once_for_each_worker(cluster):
    """The bytes that scheduler, client and workers write to their connections, for 2 and for 8 runs on two workers."""
    import distributed

    data = np.random.default_rng(0).bytes(3_000_000)  # which nothing compresses
    with distributed.Client(cluster, set_as_default=False) as client:
        client.amm.stop()  # it may drop shared data from a worker that has nothing to do for a moment
        client.run(count_sent)
        before = count_sent()

        def sent(runs, what):
            run_all(len_of, {str(i): (what, i) for i in range(runs)}, cluster=cluster.scheduler_address)
            nonlocal before
            now = count_sent() + sum(client.run(count_sent).values())
            before, grown = now, now - before
            return grown

        before += sum(client.run(count_sent).values())
        few, many, plain = sent(2, Shared(data)), sent(8, Shared(data)), sent(8, data)
        assert 2 * len(data) <= few <= many < 3 * len(data) + 1_000_000
        assert many - few < 1_000_000
        assert plain > 8 * len(data)
        client.run(count_sent, False)
        client.amm.start()
    count_sent(False)


def len_of(data, _):
    return len(data)


def count_sent(counting=True):
    """The bytes that this process has sent over Dask's connections since it was first asked."""
    from distributed.comm.tcp import TCP

    if not hasattr(TCP, "plain_write"):
        TCP.plain_write, TCP.sent = TCP.write, 0

        async def write(self, *args, **options):
            found = await TCP.plain_write(self, *args, **options)
            TCP.sent += found
            return found

        TCP.write = write
    sent = TCP.sent
    if not counting:
        TCP.write = TCP.plain_write
        del TCP.plain_write, TCP.sent
    return sent


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_worker_killed_while_it_reports_silences_nobody(tmp_path):
    heard, file = [], str(tmp_path / "dead")
    tasks = {"dies": (file,), "reports": (None,)}
    found = run_all(reports_or_dies_reporting, tasks, 2, report=lambda *what: heard.append(what))
    assert found == dict.fromkeys(tasks, "done")
    assert [i for who, i in heard if who == file] == [i for who, i in heard if who is None] == list(range(1000))


@pytest.mark.parametrize("address", ["local:0", "local:x", "tcp://127.0.0.1:1", "nonsense://x", ""])
def test_a_cluster_that_cannot_be_used_is_one_line(address, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "PATIENCE", 0.5)

    def clients():
        return sum(type(found) is distributed.Client for found in gc.get_objects())

    before = clients()
    with pytest.raises(InputError, match=f"cluster '{address}'"):
        run_all(double, {"a": (1,)}, cluster=address)
    assert clients() <= before, "a half-made client that is collected while the next one starts would lock both up"


def test_a_cluster_is_an_address_or_an_executor():
    with pytest.raises(InputError, match="cluster = 3: give an address"):
        run_all(double, {"a": (1,)}, cluster=3)


@pytest.mark.parametrize("jobs", [True, 0, 1.5, "2", np.True_])
def test_a_number_of_jobs_that_is_none(jobs):
    with pytest.raises(InputError, match="jobs = .*: give a whole number, 1 or more"):
        run_all(double, {"a": (1,)}, jobs)


UNGUARDED = """
import sys
sys.path.insert(0, {root!r})
from reference.plumbing.command import answer
from reference.plumbing.executors import run_all
def mine(x):
    return x
sys.exit(answer("p", lambda: print(run_all({function}, {{"a": (1,)}}, 1, cluster={cluster!r})), ""))
"""


@pytest.mark.parametrize(
    "function, cluster, where, says",
    [
        ("mine", None, "file", 'under `if __name__ == "__main__":`'),
        ("mine", "local:1", "file", 'under `if __name__ == "__main__":`'),
        ("abs", None, "stdin", "give python a file's name"),
        ("mine", None, "-c", "must be one of a file's own"),
        ("lambda x: x", None, "-c", "must be one of a file's own"),
    ],
)
def test_a_script_that_processes_cannot_import_is_one_line(function, cluster, where, says, tmp_path):
    if cluster:
        pytest.importorskip("distributed")
    (tmp_path / "script.py").write_text(UNGUARDED.format(root=str(ROOT), function=function, cluster=cluster))
    with open(tmp_path / "script.py") as script:
        how = {"file": [script.name], "stdin": [], "-c": ["-c", script.read()]}[where]
        script.seek(0)
        ended = subprocess.run([sys.executable, *how], stdin=script, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and not ended.stdout
    assert says in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "system, found, jobs, runs, at_once",
    [("linux", 1152, None, 3, 3), ("linux", 2, None, 9, 2), ("win32", 1152, 200, 999, 61)],
)
def test_any_number_of_cores_will_do(system, found, jobs, runs, at_once, monkeypatch):
    """No more processes than there are runs, nor than the system can wait for."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(executors, "cores", lambda: found)
    with executors._place(None, jobs, runs) as place:
        assert place.jobs == at_once


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_cores_follow_affinity():
    code = """import os; from reference.plumbing.process import cores
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(cores())"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout == "1\n"


FILES = """
import resource, sys
sys.path.insert(0, {root!r})
from reference.plumbing.command import answer
from reference.plumbing.executors import run_all
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
    sys.exit(answer("p", lambda: print(run_all(abs, {{str(-i): (-i,) for i in range(4)}}, 2)), ""))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs limits of resources")
@pytest.mark.parametrize("limit, status", [(64, 0), (8, 1)])
def test_few_open_files_will_do_or_are_one_line(limit, status, tmp_path):
    (tmp_path / "script.py").write_text(FILES.format(root=str(ROOT), limit=limit))
    ended = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == status
    assert ended.stdout == ("{'0': 0, '-1': 1, '-2': 2, '-3': 3}\n" if status == 0 else "")
    assert ended.stderr == ("" if status == 0 else ended.stderr.splitlines()[0] + "\n")
    assert status == 0 or "too many open files" in ended.stderr


def test_workers_with_another_version_are_refused(cluster):
    import distributed

    with distributed.Client(cluster, set_as_default=False) as client:
        client.run(change_version)
        try:
            with pytest.raises(InputError, match="another version of this package: give all the same"):
                run_all(double, {"a": (1,)}, cluster=cluster.scheduler_address)
        finally:
            client.run(change_version)


def change_version():
    """In a worker: another version of the package, and back."""
    clusters._version, clusters._kept = getattr(clusters, "_kept", lambda: 1), clusters._version


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_workers_lose_no_run_on_dask(cluster, tmp_path):
    """Not even if all are, and the shared data with them."""
    data = Shared(Heavy(1000))
    tasks = {name: (data, i, str(tmp_path / name)) for i, name in enumerate("ab")}
    assert run_all(weigh, tasks, cluster=cluster.scheduler_address) == {"a": 1000, "b": 1001}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("allowed", [0, 1000], ids=["Dask gives up", "we do"])
def test_a_run_that_kills_its_workers_is_named(allowed, cluster, tmp_path):
    ended, cluster.scheduler.allowed_failures = tmp_path / "ended", allowed
    try:
        with pytest.raises(ChildProcessError, match="the process of c died, perhaps for want of memory"):
            run_all(kills, {"c": (str(ended),)}, cluster=cluster.scheduler_address)
    finally:
        cluster.scheduler.allowed_failures = 3
    assert len(ended.read_text()) == (4 if allowed else 1)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("place", ["processes", "dask"], indirect=True)
@pytest.mark.parametrize("share", [Shared, lambda data: data])
def test_a_result_lost_on_its_way_is_made_again(place, share, tmp_path):
    """Its worker ends the run, says so, and dies before the result is fetched, and the shared data with it."""
    found = run_all(lost_on_its_way, {n: (share(Heavy(1000)), str(tmp_path / n)) for n in "ab"}, cluster=place)
    assert found == {"a": "found", "b": "found"}


def test_a_cluster_without_workers_is_not_waited_for_for_ever(monkeypatch):
    """Neither for a run to end, nor for somebody to take the next one's data."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "PATIENCE", 0.3)
    with distributed.LocalCluster(n_workers=1, host="127.0.0.1", dashboard_address=":0") as mine:

        def leave(*_):
            mine.scale(0)
            while mine.scheduler.workers:
                time.sleep(0.05)

        for function, tasks in (goes_on, {"a": ()}), (weigh, {"a": (Shared(Heavy(1)), 0), "b": (Shared(Heavy(1)), 0)}):
            mine.scale(1)
            mine.wait_for_workers(1)
            report = leave if function is goes_on else None
            with pytest.raises(ChildProcessError, match="no worker of 'tcp://.* is left; what was finished is kept"):
                run_all(function, tasks, 1, leave, report, mine.scheduler_address)


def test_a_scheduler_that_goes_away_is_one_line():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, host="127.0.0.1", dashboard_address=":0") as mine:
        began = []

        def leave(_):
            if not began:
                began.append(time.monotonic())
                mine.close(timeout=5)

        with pytest.raises(ChildProcessError, match="the scheduler 'tcp://.* went away; what was finished is kept"):
            run_all(goes_on, {"a": ()}, report=leave, cluster=mine.scheduler_address)
        assert time.monotonic() - began[0] < 10


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs signal masks")
def test_workers_do_not_hear_an_interrupt():
    """Ctrl-C goes to the whole group; the parent alone hears it, and ends them."""
    assert run_all(masked, {"a": (), "b": ()}, 1) == {"a": True, "b": True}
    assert not masked(), "the parent hears it again"


SCRIPT = """
import sys
sys.path[:0] = {paths!r}
from reference.plumbing import executors
from reference.plumbing.command import answer
from test_executors import goes_on

if __name__ == "__main__":
    sys.exit(answer("p", lambda: executors.run_all(goes_on, {{"a": ()}}, 2, None, print, {cluster!r}), "kept"))
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "cluster, name", [(None, "SIGTERM"), (None, "SIGKILL"), ("local:1", "SIGINT"), ("local:1", "SIGKILL")]
)
def test_the_workers_end_with_their_parent(cluster, name, tmp_path):
    """Within five seconds, as a terminal's Ctrl-C ends them and as any other signal to the parent does."""
    if cluster:
        pytest.importorskip("distributed")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(paths=[str(ROOT), str(Path(__file__).parent)], cluster=cluster))
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    worker = Path("/proc", parent.stdout.readline().strip())
    number = getattr(signal, name)
    (os.killpg if name == "SIGINT" else os.kill)(parent.pid, number)
    until = time.monotonic() + (10 if name == "SIGKILL" else 5)
    drain = threading.Thread(target=parent.stdout.read)
    drain.start()
    error = parent.stderr.read()
    while worker.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not worker.exists()
    drain.join()
    status = parent.wait()
    assert time.monotonic() < until
    if name == "SIGKILL":
        assert "Traceback" not in error
    else:
        assert status == 128 + number and error == "\ninterrupted: kept\n"
