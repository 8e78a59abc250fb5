"""Many runs on an executor of `concurrent.futures`; and runs whose results are kept in a file, never done twice.

By default each run gets a local process of its own.  A Dask cluster serves as well, and so does any executor that the
caller hands in, `mpi4py.futures.MPIPoolExecutor` for example.  A run's function, arguments and result travel between
processes, so they must be fit for pickling.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

from ..errors import DivergenceError, InputError, require
from .process import ENDED, begin, cores, end_with_parent

Done = Callable[[str, Any], object]
Cluster = str | Executor | None
"""Where runs go: None for local processes, "tcp://host:port" of a Dask scheduler, "local:N", or an executor."""
RESTARTS = 1
"""How often a run whose local process died is begun again."""
WINDOWS = 61
"""The most processes that Windows lets one process wait for."""


class Shared:
    """An argument that many runs have in common: on a cluster it travels to each worker once, not with every run."""

    def __init__(self, value: Any):
        self.value = value


def run_all(
    function: Callable,
    tasks: Mapping[str, tuple],
    jobs: int | None = None,
    done: Done | None = None,
    report: Callable | None = None,
    cluster: Cluster = None,
) -> dict[str, Any]:
    """function(*arguments) of every task, at most `jobs` at once, begun in the order of `tasks` -> {task: its result}.

    tasks: {name: arguments}.  jobs: by default the cores, or the threads of the cluster's workers.  done(name, result)
    is called here as soon as a run ends.  report: if it is given, the function gets one more argument, a function whose
    calls are repeated here as calls of `report`; from an executor of the caller's they come when the run ends.
    A run whose process dies is begun again with the same arguments (it may go on from its checkpoint): once here, three
    times on Dask, and then `ChildProcessError` names it.  What a run raises is raised here.  In every case, Ctrl-C
    among them, all runs that still go on are ended first; an executor of the caller's stays open.
    """
    place = _place(cluster, jobs, len(tasks))
    try:
        results = place.run(function, tasks, done, report)
    finally:
        place.close()
    return {name: results[name] for name in tasks}


def _place(cluster: Cluster, jobs: int | None, runs: int) -> _Place:
    if jobs is not None:
        require("a whole number, 1 or more", jobs=jobs)
    if isinstance(cluster, str):
        return _Dask(cluster, jobs)
    if cluster is not None:
        return _Place(cluster, jobs or runs)
    jobs = min(jobs or cores(), runs, WINDOWS if sys.platform == "win32" else runs)
    return _Local(jobs)


class _Place:
    """Where runs happen: an executor, and how it tells what its runs report."""

    tell: Callable[[tuple], object] | None = None
    """Called by a run with what it reports as soon as it does; None: its reports are heard at its end."""
    restarts = 0
    """How often a run that was lost is begun again."""

    def __init__(self, executor: Executor | None, jobs: int):
        self.executor, self.jobs, self.futures, self.heard = executor, jobs, {}, {}

    def run(self, function: Callable, tasks: Mapping[str, tuple], done, report) -> dict[str, Any]:
        """The results of the tasks by name, at most `jobs` of them at once."""
        results: dict[str, Any] = {}
        deaths, waiting = dict.fromkeys(tasks, 0), list(tasks)
        while waiting or self.futures:
            while waiting and len(self.futures) < self.jobs:
                name = waiting.pop(0)
                arguments = (self.share(a) if isinstance(a, Shared) else a for a in tasks[name])
                self.futures[self.submit(_work, self.tell, report is not None, function, *arguments)] = name
            finished, _ = wait(self.futures, timeout=0.1, return_when=FIRST_COMPLETED)
            self.hear(report)
            for future in finished:
                name = self.futures.pop(future)
                self.ended(future)
                try:
                    kind, what, token, told = future.result()
                except (BrokenExecutor, CancelledError, *self.losses) as error:
                    deaths[name] += 1
                    if deaths[name] > self.restarts:
                        twice = " twice" * (deaths[name] == 2)
                        raise ChildProcessError(
                            f"the process of {name}, died{twice}{self.obituary(future)}, perhaps for want of memory: "
                            "run fewer at once; what was finished is kept"
                        ) from error
                    self.lost(future)
                    waiting.insert(0, name)
                    continue
                for message in told[self.heard.get(token, 0) :]:  # of which the live copies are still under way
                    report(*message)
                self.heard[token] = None
                if kind == "failed":
                    raise what
                results[name] = what
                if done is not None:
                    done(name, what)
        return results

    losses: tuple = ()
    """What else than `BrokenExecutor` and `CancelledError` says that a run was lost."""

    def submit(self, *call):
        return self.executor.submit(*call)

    def share(self, shared: Shared) -> Any:
        return shared.value

    def hear(self, report: Callable | None) -> None:
        """Repeat what the runs have reported since the last time."""

    def repeat(self, report: Callable, token: str, what: tuple) -> None:
        """One live report of the run `token`, unless that run's end has been told."""
        if self.heard.setdefault(token, 0) is not None:
            self.heard[token] += 1
            report(*what)

    def ended(self, future) -> None:
        """A run has ended in whatever way."""

    def lost(self, future) -> None:
        """A run was lost, and will be begun again."""

    def obituary(self, future) -> str:
        """What is known of the process that died."""
        return ""

    def close(self) -> None:
        for future in self.futures:
            future.cancel()


class _Local(_Place):
    """A process for each run: a `ProcessPoolExecutor` of one worker, so that no run ends when another one's dies."""

    restarts = RESTARTS

    def __init__(self, jobs: int):
        super().__init__(None, jobs)
        self.context = multiprocessing.get_context("spawn")
        self.tell = _tell_parent
        self.pools: dict[Any, tuple] = {}
        self.channels: dict[Any, multiprocessing.connection.Connection] = {}

    def submit(self, *call):
        before = multiprocessing.active_children()
        # A pipe for each run: a process that is killed while it writes to a common queue keeps that queue's lock.
        channel, end = self.context.Pipe(duplex=False)
        with _interrupts_held():  # the executor's thread inherits this, and from it the process
            pool = ProcessPoolExecutor(1, self.context, _enter, (end,))
            future = pool.submit(*call)
        end.close()  # only the process has it now, so that its death is the channel's end
        self.channels[future] = channel
        self.pools[future] = pool, [child for child in multiprocessing.active_children() if child not in before]
        return future

    def hear(self, report: Callable | None) -> None:
        for channel in self.channels.values():
            try:
                while channel.poll():
                    self.repeat(report, *channel.recv())
            except (EOFError, OSError):  # its process has ended, perhaps in the middle of a message
                continue

    def ended(self, future) -> None:
        self.channels.pop(future).close()
        self.pools[future][0].shutdown()

    def obituary(self, future) -> str:
        return f" (exit code {self.pools[future][1][0].exitcode})"

    def close(self) -> None:
        """End what still runs, within five seconds."""
        super().close()
        running = [process for future in self.futures for process in self.pools[future][1]]
        for process in running:
            process.terminate()
        patience = threading.Timer(3, lambda: [process.kill() for process in running])
        patience.start()
        for pool, _ in self.pools.values():  # only the pools' own threads wait for the processes
            pool.shutdown()
        patience.cancel()
        for channel in self.channels.values():
            channel.close()


_channel = None
"""In a local worker: where it tells what its runs report."""


def _enter(channel) -> None:
    """A local worker's first act: to end without a word when its parent asks for it, or is gone."""
    global _channel
    _channel = channel
    begin()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ENDED))
    end_with_parent()


def _tell_parent(what: tuple) -> None:
    try:
        _channel.send(what)
    except OSError:  # nobody is there to hear it
        os._exit(ENDED)


def _work(tell: Callable | None, telling: bool, function: Callable, *arguments) -> tuple[str, Any, str, list]:
    """One run -> ("done", its result) or ("failed", what it raised), a name of its own, and all that it reported."""
    told: list[tuple] = []
    token = uuid4().hex

    def report(*what):
        told.append(what)
        if tell is not None:
            tell((token, what))

    try:
        return "done", function(*arguments, *([report] if telling else [])), token, told
    except SystemExit:  # ended by the parent; half-written files are removed
        if _channel is None:
            raise
        os._exit(ENDED)
    except Exception as error:
        return "failed", portable(error), token, told


class _Dask(_Place):
    """The workers of a Dask scheduler, or of a cluster of N local processes that lives as long as this object."""

    restarts = 2

    def __init__(self, address: str, jobs: int | None):
        try:
            import distributed
        except ImportError:
            raise InputError(f"the cluster {address!r} needs Dask: pip install distributed") from None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        kind, _, number = address.partition(":")
        self.before = multiprocessing.active_children()
        self.address, self.cluster, self.client, self.shared, self.futures = address, None, None, {}, {}
        try:
            if kind == "local":
                if not (number.isdecimal() and 1 <= int(number) <= 1000):
                    raise InputError(f"cluster {address!r}: give local:N with N from 1 to 1000")
                self.cluster = distributed.LocalCluster(
                    n_workers=int(number),
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                )
            self.client = distributed.Client(self.cluster or address, timeout=10, set_as_default=False)
            versions = set(self.client.run(_version).values())
            if not versions:
                raise InputError(f"the scheduler {address!r} has no workers: start some with `dask worker {address}`")
            if versions != {_version()}:
                raise InputError(f"workers of {address!r} have another version of this package: give all the same")
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            self.close()
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"the cluster {address!r} cannot be used ({str(error)[:200]}): "
                "give the address of a running scheduler, whose workers have this package installed"
            ) from None
        except BaseException:
            self.close()
            raise
        self.losses = (distributed.KilledWorker, distributed.client.FutureCancelledError)
        self.told, topic = queue.SimpleQueue(), f"reference-{uuid4().hex}"
        self.tell = partial(_tell_client, topic)
        self.client.subscribe_topic(topic, lambda event: self.told.put(event[1]))
        super().__init__(self.client.get_executor(), jobs or sum(self.client.nthreads().values()))

    def share(self, shared: Shared) -> Any:
        if id(shared) not in self.shared:
            self.shared[id(shared)] = self.client.scatter(shared.value, broadcast=True, hash=False)
        return self.shared[id(shared)]

    def hear(self, report: Callable | None) -> None:
        while not self.told.empty():
            self.repeat(report, *pickle.loads(self.told.get()))
        if self.client.status != "running":
            raise ChildProcessError(f"the scheduler {self.address!r} went away; what was finished is kept")

    def lost(self, future) -> None:
        self.shared.clear()  # the worker that held it may be the one that died

    def close(self) -> None:
        """Give up what still runs; a cluster of our own ends within five seconds, whatever its workers do."""
        processes = self.cluster and [child for child in multiprocessing.active_children() if child not in self.before]
        try:
            if self.client is not None:
                super().close()
                self.client.close(timeout=1)
            if self.cluster is not None:
                self.cluster.close(timeout=2)
        except (OSError, RuntimeError, CancelledError):  # a time limit among them: nothing is lost by leaving
            pass
        for process in processes or ():
            process.kill()
            process.join()


def _version() -> int:
    """A checksum of this package's code."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return crc32(b"".join(file.read_bytes().replace(b"\r", b"") for file in files))


def _tell_client(topic: str, what: tuple) -> None:
    """Tell the submitting side; a run that it no longer wants, or that lost it, ends here."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    if task is None or task.state == "cancelled":
        raise CancelledError("nobody waits for this run")
    worker.log_event(topic, pickle.dumps(what))


def portable(error: Exception) -> Exception:
    """`error` with its traceback as a note, fit to be sent; its type and message alone if it cannot be pickled."""
    error.add_note(traceback.format_exc())
    try:
        back = pickle.loads(pickle.dumps(error))
        whole = (type(back), str(back), back.__notes__) == (type(error), str(error), error.__notes__)
    except Exception:
        whole = False
    if not whole:
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        plain.__notes__ = error.__notes__
        return plain
    return error


@contextmanager
def _interrupts_held():
    """Ctrl-C waits until the end of the block; threads and processes that are started in it never hear it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # it would lift the mask if it were started with the first process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


Task = tuple[dict[str, Any], tuple]


def collect(
    function: Callable[..., dict],
    tasks: Sequence[Task],
    kept: Sequence[dict],
    save: Callable,
    jobs: int | None,
    cluster: Cluster = None,
) -> list[dict]:
    """The records of all `tasks`, in order: about | function(*arguments) | {"seconds": ..} for (about, arguments).

    about: what tells a record from every other, fit for JSON, with "name" and "seed".  A record that is among `kept` is
    not made again.
    save(records) is called with the kept records and all new ones: before the first run, and after each.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: give at least 1")
    records = list(kept)
    named = {f"{about['name']}, seed {about['seed']}, task {i}": (about, a) for i, (about, a) in enumerate(tasks)}

    def find(about):
        return next((record for record in records if about.items() <= record.items()), None)

    missing = {name: (name, function, arguments) for name, (about, arguments) in named.items() if find(about) is None}
    if missing:
        save(records)  # fails now, not after the first run

        def keep(name, found):
            records.append(named[name][0] | found)
            save(records)

        run_all(_timed, missing, jobs, keep, cluster=cluster)
    return [find(about) for about, _ in named.values()]


def _timed(name, function, arguments) -> dict:
    began = time.perf_counter()
    try:
        found = function(*arguments)
    except DivergenceError as error:
        raise DivergenceError(f"{name}: {error}") from error
    return found | {"seconds": round(time.perf_counter() - began, 1)}
