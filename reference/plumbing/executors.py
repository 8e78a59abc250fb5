"""Many runs on an executor of `concurrent.futures`; and runs whose results are kept in a file, never done twice.

By default each run gets a local process of its own.  A Dask cluster serves as well, and so does any executor that the
caller hands in, `mpi4py.futures.MPIPoolExecutor` for example.  A run's function, arguments and result travel between
processes, so they must be fit for pickling.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4
from zlib import crc32

from ..errors import DivergenceError, InputError, require
from .process import ENDED, begin, cores, end_with_parent

Done = Callable[[str, Any], object]
Cluster = str | Executor | None
"""Where runs go: None for local processes, "tcp://host:port" of a Dask scheduler, "local:N", or an executor."""
PATIENCE = 10
"""Seconds in which a scheduler must answer."""
QUIET = {"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s"}
"""What a Dask worker of ours leaves out: watching its run a hundred times a second, and its own loop fifty times."""
WINDOWS = 61
"""The most processes that Windows lets one process wait for."""
UNGUARDED = 3
"""The exit status of a worker whose script starts runs as soon as it is imported."""
GUARD = 'start runs under `if __name__ == "__main__":` only'
PORTABLE = "its function must be one of a file's own, and its arguments fit for pickling"


class Shared(NamedTuple):
    """An argument that many runs have in common: on a cluster it travels to each worker once, not with every run."""

    value: Any


def run_all(
    function: Callable,
    tasks: Mapping[str, tuple],
    jobs: int | None = None,
    done: Done | None = None,
    report: Callable | None = None,
    cluster: Cluster = None,
) -> dict[str, Any]:
    """function(*arguments) of every task, at most `jobs` at once, begun in the order of `tasks` -> {task: its result}.

    tasks: {name: arguments}.  jobs: by default the cores, or the workers of the cluster.  done(name, result) is called
    here as soon as a run ends.  report: if it is given, the function gets one more argument, a function whose calls
    are repeated here as calls of `report`; from an executor of the caller's they come when the run ends.
    A run whose process dies is begun again with the same arguments (it may go on from its checkpoint): once here, three
    times on Dask, and then `ChildProcessError` names it.  What a run raises is raised here.  In every case, Ctrl-C
    among them, all runs that still go on are ended first; an executor of the caller's stays open.
    """
    if jobs is not None:
        require("a whole number, 1 or more", jobs=jobs)
    results, losses, waiting, running = {}, Counter(), list(tasks), {}
    with _place(cluster, jobs, len(tasks)) as place:
        try:
            while waiting or running:
                while waiting and len(running) < place.jobs:
                    name = waiting.pop(0)
                    arguments = [place.share(a.value) if isinstance(a, Shared) else a for a in tasks[name]]
                    running[place.submit(_work, place.tell, report is not None, function, *arguments)] = name
                finished, _ = wait(running, 0.1, FIRST_COMPLETED)
                for what in place.hear():
                    report(*what)
                for future in finished:
                    name = running.pop(future)
                    try:
                        result, told = future.result()
                    except (BrokenExecutor, CancelledError, *place.fatal) as error:
                        losses[name] += 1
                        if losses[name] <= place.restarts and not isinstance(error, place.fatal):
                            waiting.insert(0, name)
                            continue
                        raise ChildProcessError(
                            f"the process of {name} died{' twice' * (losses[name] == 2)}, perhaps for want of memory: "
                            "run fewer at once; what was finished is kept"
                        ) from error
                    for what in told:
                        report(*what)
                    results[name] = result
                    if done is not None:
                        done(name, result)
        finally:
            for future in running:
                future.cancel()
    return {name: results[name] for name in tasks}


_alone = threading.Lock()
"""Runs in one process take turns, because autograd counts its nested traces in one place for all threads."""


def _work(tell: Callable | None, telling: bool, function: Callable, *arguments) -> tuple[Any, list]:
    """One run -> its result, and what it reported if it cannot `tell` at once.  What it raises can be pickled."""
    told: list[tuple] = []
    reports = [tell or (lambda *what: told.append(what))] if telling else []
    with _alone:
        try:
            return function(*arguments, *reports), told
        except Exception as error:
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:
                raise RuntimeError(traceback.format_exc()) from None
            raise


class _Place(NamedTuple):
    """Where runs happen: submit(call…) -> its future, and how many at once."""

    submit: Callable
    jobs: int
    restarts: int = 0
    """How often a run that was lost is begun again."""
    fatal: tuple = ()
    """What a future raises, and is no use to try again, when a run's workers died."""
    tell: Callable | None = None
    """Called by a run with what it reports as soon as it does; None: its reports are heard at its end."""
    hear: Callable[[], Iterable[tuple]] = tuple
    """What the runs have told since the last time."""
    share: Callable = lambda value: value
    """What to submit in place of a value that runs have in common."""


def _place(cluster: Cluster, jobs: int | None, runs: int):
    """A context of a `_Place` for so many runs."""
    if isinstance(cluster, str):
        return _dask(cluster, jobs)
    if cluster is not None:
        if not callable(getattr(cluster, "submit", None)):
            raise InputError(f"cluster = {repr(cluster):.40}: give an address, local:N, or an executor with `submit`")
        return nullcontext(_Place(cluster.submit, jobs or runs))
    return _local(min(jobs or cores(), runs, WINDOWS if sys.platform == "win32" else runs))


def _check_script() -> None:
    """A process that is started here first imports this one's script, which must be a file that starts no runs then."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # this is such a process
        os._exit(UNGUARDED)
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    if main.__spec__ is None and script is not None and not Path(script).is_file():
        raise InputError(f"a run's process imports the script, but {script!r} is no file: give python a file's name")


@contextmanager
def _local(jobs: int) -> Iterator[_Place]:
    """A process for each run: a `ProcessPoolExecutor` of one worker, so that no run ends when another one's dies.

    Each has a pipe of its own for its reports, so that one that is killed while it tells keeps nobody waiting.
    """
    _check_script()
    context, before = multiprocessing.get_context("spawn"), multiprocessing.active_children()
    pools, readers = {}, []

    def submit(*call):
        try:
            packed = pickle.dumps(call)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(f"a run cannot be sent to its process ({error}): {PORTABLE}") from error
        reader, writer = context.Pipe(duplex=False)
        with _interrupts_held(), writer:
            pool = ProcessPoolExecutor(1, context, _enter, (writer,))
            known = multiprocessing.active_children()
            future = pool.submit(_call, packed)
        pools[future] = pool, next((child for child in multiprocessing.active_children() if child not in known), None)
        readers.append(reader)
        return future

    def hear():
        for future in [future for future in pools if future.done()]:
            pool, process = pools.pop(future)
            pool.shutdown()
            if process is not None and process.exitcode == UNGUARDED:
                raise InputError(f"a run's process imports the script: {GUARD}")
        for reader in list(readers):
            try:
                while reader.poll():
                    yield reader.recv()
            except (EOFError, OSError):
                readers.remove(reader)
                reader.close()

    try:
        yield _Place(submit, jobs, restarts=1, tell=_tell_parent, hear=hear)
    finally:
        for child in multiprocessing.active_children():
            if child not in before:
                child.terminate()
        for pool, _ in pools.values():
            pool.shutdown()
        for reader in readers:
            reader.close()


_writer = None
"""In a local worker: where it tells what its run reports."""


def _enter(writer) -> None:
    """A local worker's first act: it ignores Ctrl-C, and ends when its parent is gone."""
    global _writer
    _writer = writer
    begin()
    end_with_parent()


def _call(packed: bytes) -> Any:
    """A local worker's only act.  SIGTERM ends it at once, until there is a result: then it has a second to send it."""
    try:
        try:
            work, *arguments = pickle.loads(packed)
        except (AttributeError, ImportError) as error:
            raise InputError(f"a run's process cannot find its function ({error}): {PORTABLE}") from error
        return work(*arguments)
    finally:
        signal.signal(signal.SIGTERM, lambda *_: threading.Timer(1, os._exit, (ENDED,)).start())


def _tell_parent(*what) -> None:
    try:
        _writer.send(what)
    except OSError:  # nobody is there to hear it
        os._exit(ENDED)


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


@contextmanager
def _dask(address: str, jobs: int | None) -> Iterator[_Place]:
    """The workers of a Dask scheduler, or of a cluster of N local processes that ends with the context."""
    try:
        import distributed
    except ImportError:
        raise InputError(f"the cluster {address!r} needs Dask: pip install distributed") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    before, cluster, client = multiprocessing.active_children(), None, None
    told, shared, places, topic = queue.SimpleQueue(), {}, {}, f"reference-{uuid4().hex}"
    kind, _, number = address.partition(":")
    if kind == "local" and not (number.isdecimal() and 1 <= int(number) <= 1000):
        raise InputError(f"cluster {address!r}: give local:N with N from 1 to 1000")
    if kind == "local":
        _check_script()

    def submit(*call):
        """On a worker without a run: Dask itself may let one run wait for another while a worker has nothing to do."""
        busy = {worker for future, worker in places.items() if not future.done()}
        free = next((worker for worker in client.nthreads() if worker not in busy), None)
        future = executor.submit(*call, workers=free, allow_other_workers=free is not None)
        places[future] = free
        return future

    def hear():
        while not told.empty():
            yield pickle.loads(told.get())
        if client.status != "running":
            raise ChildProcessError(f"the scheduler {address!r} went away; what was finished is kept")

    def share(value):
        found = shared.get(id(value))
        if found is None or found.status != "finished":  # new, or lost with the workers that held it
            try:
                found = client.scatter(value, broadcast=True, hash=False, timeout=6 * PATIENCE)
            except TimeoutError:
                raise ChildProcessError(f"no worker of {address!r} is left; what was finished is kept") from None
            shared[id(value)] = found
        return found

    try:
        try:
            with _interrupts_held():
                if kind == "local":
                    cluster = distributed.LocalCluster(
                        n_workers=int(number),
                        threads_per_worker=1,
                        host="127.0.0.1",
                        dashboard_address="127.0.0.1:0",
                        silence_logs=logging.CRITICAL,
                        config=QUIET,
                    )
                else:
                    asyncio.run(_reach(address))
                client = distributed.Client(cluster or address, timeout=PATIENCE, set_as_default=False)
            if cluster is not None:
                client.amm.stop()  # it would drop shared data from a worker between two runs
            versions = set(client.run(_version).values())
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            cure = "give the address of a running scheduler, whose workers have this package installed"
            raise InputError(
                f"the cluster {address!r} cannot be used ({str(error)[:200] or 'no answer'}): "
                + (f"see that processes can be started, and {GUARD}" if kind == "local" else cure)
            ) from None
        if not versions:
            raise InputError(f"the scheduler {address!r} has no workers: start some with `dask worker {address}`")
        if versions != {_version()}:
            raise InputError(f"workers of {address!r} have another version of this package: give all the same")
        client.subscribe_topic(topic, lambda event: told.put(event[1]))
        jobs = jobs or len(client.nthreads())
        tell = partial(_tell_client, topic)
        executor = client.get_executor()
        yield _Place(submit, jobs, 3, (distributed.KilledWorker,), tell, hear, share)
    finally:
        if cluster is not None:  # its workers would be waited for, here and once more when this process ends
            cluster.shutdown_on_close = False
            for nanny in cluster.workers.values():
                nanny.auto_restart = False
            for child in multiprocessing.active_children():
                if child not in before:
                    child.kill()
        for ours in (client, cluster):
            with suppress(OSError, RuntimeError, CancelledError):  # a time limit among them: leaving loses nothing
                if ours is not None:
                    ours.close(timeout=2)


async def _reach(address: str) -> None:
    """Ask the scheduler who it is.

    A `Client` that cannot reach it would be left half-made, and when it is collected while the next one starts, both
    wait for the same lock for ever.
    """
    import distributed

    arguments = distributed.Security().get_connection_args("client")
    async with distributed.rpc(address, connection_args=arguments) as scheduler:
        await asyncio.wait_for(scheduler.identity(), PATIENCE)


def _version() -> int:
    """A checksum of this package's code."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return crc32(b"".join(file.read_bytes().replace(b"\r", b"") for file in files))


def _tell_client(topic: str, *what) -> None:
    """Tell the submitting side; a run that it no longer wants, or that lost it, ends here."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    if task is None or task.state == "cancelled":
        raise CancelledError("nobody waits for this run")
    worker.log_event(topic, pickle.dumps(what))


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
