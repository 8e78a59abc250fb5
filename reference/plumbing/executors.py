"""Many runs on an executor of `concurrent.futures`.

By default each run gets a local process of its own.  A Dask cluster serves as well, and so does any executor that the
caller hands in, `mpi4py.futures.MPIPoolExecutor` for example.  A run's function, arguments and result travel between
processes, so they must be fit for pickling.
"""

from __future__ import annotations

import pickle
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, wait
from contextlib import nullcontext
from typing import Any, NamedTuple

from ..errors import InputError, require
from .clusters import dask
from .places import Place, local
from .process import cores

Done = Callable[[str, Any], object]
Cluster = str | Executor | None
"""Where runs go: None for local processes, "tcp://host:port" of a Dask scheduler, "local:N", or an executor."""
WINDOWS = 61
"""The most processes that Windows lets one process wait for."""


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


def _place(cluster: Cluster, jobs: int | None, runs: int):
    """A context of a `Place` for so many runs."""
    if isinstance(cluster, str):
        return dask(cluster, jobs)
    if cluster is not None:
        if not callable(getattr(cluster, "submit", None)):
            raise InputError(f"cluster = {repr(cluster):.40}: give an address, local:N, or an executor with `submit`")
        return nullcontext(Place(cluster.submit, jobs or runs))
    return local(min(jobs or cores(), runs, WINDOWS if sys.platform == "win32" else runs))
