"""Runs on a Dask cluster: a scheduler's workers, or N processes on this machine."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import pickle
import queue
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import uuid4
from zlib import crc32

from ..errors import InputError
from .places import GUARD, Place, check_script, interrupts_held

PATIENCE = 10
"""Seconds in which a scheduler must answer and have a worker; six times as long may there be none later."""
QUIET = {"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s"}
"""What a Dask worker of ours leaves out: watching its run a hundred times a second, and its own loop fifty times."""


@contextmanager
def dask(address: str, jobs: int | None) -> Iterator[Place]:
    """The workers of a Dask scheduler, or of a cluster of N local processes that ends with the context."""
    try:
        import distributed
    except ImportError:
        raise InputError(f"the cluster {address!r} needs Dask: pip install distributed") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    before, cluster, client = multiprocessing.active_children(), None, None
    told, shared, places, topic = queue.SimpleQueue(), {}, {}, f"reference-{uuid4().hex}"
    asked, named, alone = time.monotonic(), {}, None
    kind, _, number = address.partition(":")
    if kind == "local" and not (number.isdecimal() and 1 <= int(number) <= 1000):
        raise InputError(f"cluster {address!r}: give local:N with N from 1 to 1000")
    if kind == "local":
        check_script()

    def workers():
        """Their addresses: of a scheduler that does not answer for once, what it said last."""
        nonlocal asked, named, alone
        if client.status != "running":
            raise ChildProcessError(f"the scheduler {address!r} went away; what was finished is kept")
        asked = time.monotonic()
        with suppress(OSError):
            named = client.nthreads()
        alone = None if named else alone or asked
        if alone and asked > alone + 6 * PATIENCE:
            raise ChildProcessError(f"no worker of {address!r} is left; what was finished is kept")
        return named

    def submit(*call):
        """On the worker with the fewest: Dask itself may let a run wait while a worker has nothing to do."""
        nonlocal places
        places = {future: worker for future, worker in places.items() if not future.done()}
        while not (here := workers()):
            time.sleep(0.1)
        counts = Counter(places.values())
        worker = min(here, key=lambda worker: counts[worker] / here[worker])
        run, future = client.submit(*call, workers=worker, pure=False), Future()
        future.add_done_callback(lambda _: future.cancelled() and run.status != "cancelled" and run.cancel())
        client.loop.add_callback(_settle, run, future)
        places[future] = worker
        return future

    def hear():
        while not told.empty():
            yield pickle.loads(told.get())
        if client.status != "running" or time.monotonic() > asked + 1:
            here = workers()
            for future, worker in places.items():
                if worker not in here and future.cancel():  # Dask might keep the run for that worker for ever
                    future.set_running_or_notify_cancel()

    def share(value):
        found, until = shared.get(id(value)), time.monotonic() + 7 * PATIENCE  # longer than `workers` waits for one
        while found is None or found.status != "finished":  # new, or lost with the workers that held it
            workers()
            try:
                found = client.scatter(value, hash=False, timeout=PATIENCE)
            except (OSError, KeyError) as error:  # no worker, or the one that was chosen died meanwhile
                if time.monotonic() > until:
                    raise ChildProcessError(
                        f"no worker of {address!r} takes the runs' data: {error}; what was finished is kept"
                    ) from None
                time.sleep(0.1)
        shared[id(value)] = found
        return found

    try:
        try:
            with interrupts_held():
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
            with suppress(TimeoutError):
                client.wait_for_workers(1, PATIENCE)
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
        jobs = jobs or len(workers())
        tell = partial(_tell_client, topic)
        yield Place(submit, jobs, 3, (distributed.KilledWorker,), tell, hear, share)
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


async def _settle(run, future: Future) -> None:
    """What became of a Dask future.  Dask's own executor says nothing of a result that was lost on its way here."""
    with suppress(InvalidStateError):  # nobody waits for it any more
        try:
            future.set_result(await run)
        except BaseException as error:
            future.set_exception(error)


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
