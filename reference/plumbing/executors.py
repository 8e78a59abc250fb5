"""Many runs on an executor of `concurrent.futures`; and runs whose results are kept in a file, never done twice.

Each run gets a process of its own.  Its function, arguments and result travel between processes, so they must be fit
for pickling.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from ..errors import DivergenceError, InputError

Done = Callable[[str, Any], object]
RESTARTS = 1
"""How often a run whose process died is begun again."""


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    function: Callable,
    tasks: Mapping[str, tuple],
    jobs: int,
    done: Done | None = None,
    report: Callable | None = None,
    again: Callable[[tuple], tuple] = lambda arguments: arguments,
) -> dict[str, Any]:
    """function(*arguments) of every task, at most `jobs` at once, begun in the order of `tasks` -> {task: its result}.

    tasks: {name: arguments}.  done(name, result) is called here as soon as a run ends.  report: if it is given, the
    function gets one more argument, a function whose calls are repeated here as calls of `report`.
    A run whose process dies is begun again once, with `again` of its arguments (to go on from its checkpoint, say); if
    it dies again, `ChildProcessError` names it.  What a run raises is raised here.  In every case, Ctrl-C among them,
    all processes that still run are ended first.
    """
    results: dict[str, Any] = {}
    deaths, first = dict.fromkeys(tasks, 0), True
    while missing := {name: a if first else again(a) for name, a in tasks.items() if name not in results}:
        first = False
        pool = _Pool(min(jobs, len(missing)), report)
        try:
            pool.run(function, missing, results, done)
        except BrokenProcessPool:
            for name, code in pool.died(missing.keys() - results.keys()).items():
                deaths[name] += 1
                if deaths[name] > RESTARTS:
                    raise ChildProcessError(
                        f"the process of {name}, died twice (exit code {code}), perhaps for want of memory: "
                        "use fewer --jobs, and the same command with --resume"
                    ) from None
        finally:
            pool.close()
    return {name: results[name] for name in tasks}


class _Pool:
    """A `ProcessPoolExecutor` that starts a new process for each run, and hears what the runs report."""

    def __init__(self, jobs: int, report: Callable | None):
        self.report, self.channel = report, multiprocessing.get_context("spawn").SimpleQueue()
        self.processes: dict[int, multiprocessing.process.BaseProcess] = {}
        self.begun: dict[str, int] = {}  # the process of each run
        self.executor = ProcessPoolExecutor(
            max(1, jobs), multiprocessing.get_context("spawn"), _enter, (self.channel,), max_tasks_per_child=1
        )

    def run(self, function: Callable, tasks: Mapping[str, tuple], results: dict, done: Done | None) -> None:
        """Submit every task, and put what comes back into `results`, by name."""
        telling = self.report is not None
        with _interrupts_held():  # the executor's thread inherits this, and from it all processes
            futures = {self.executor.submit(_work, n, function, a, telling): n for n, a in tasks.items()}
        while futures:
            finished, _ = wait(futures, timeout=0.1, return_when=FIRST_COMPLETED)
            self.hear()
            for future in finished:
                name, (kind, what) = futures.pop(future), future.result()
                if kind == "failed":
                    raise what
                results[name] = what
                if done is not None:
                    done(name, what)

    def hear(self) -> None:
        """Repeat what the runs have reported since the last time."""
        self.processes |= {process.pid: process for process in multiprocessing.active_children()}
        while not self.channel.empty():
            kind, what = self.channel.get()
            if kind == "begun":
                self.begun |= [what]
            else:
                self.report(*what)

    def died(self, names) -> dict[str, int | None]:
        """Which of the runs `names` lost their process, and its exit code; all of them if it cannot be told."""
        for process in self.processes.values():  # the executor is ending those that are left
            process.join(5)
        codes = {name: self.processes[pid].exitcode for name, pid in self.begun.items() if pid in self.processes}
        killed = {name: code for name, code in codes.items() if name in names and code not in (None, 0, _ENDED)}
        return killed or dict.fromkeys(names, next((p.exitcode for p in self.processes.values() if p.exitcode), None))

    def close(self) -> None:
        """End what still runs.

        The executor ends when its processes do, and may start another one meanwhile: hence again and again.
        """
        ending = threading.Thread(target=self.executor.shutdown, kwargs={"cancel_futures": True})
        for process in multiprocessing.active_children():
            process.terminate()
        ending.start()
        patience = time.monotonic() + 3
        while ending.is_alive():
            ending.join(0.05)
            for process in multiprocessing.active_children() if ending.is_alive() else ():
                process.terminate() if time.monotonic() < patience else process.kill()


_ENDED = 143
"""The exit code of a worker that its parent ended."""
_channel = None
"""In a worker: where it tells what its runs report."""


def _enter(channel) -> None:
    """A worker's first act: to end without a word when its parent asks for it, or is gone."""
    global _channel
    _channel = channel
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_ENDED))
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(_ENDED)), daemon=True).start()


def _work(name: str, function: Callable, arguments: tuple, telling: bool) -> tuple[str, Any]:
    """One run -> ("done", its result) or ("failed", what it raised)."""
    _channel.put(("begun", (name, os.getpid())))
    try:
        report = (lambda *what: _channel.put(("told", what)),) if telling else ()
        return "done", function(*arguments, *report)
    except SystemExit:  # ended by the parent, half-written files are removed: the executor must not begin another run
        os._exit(_ENDED)
    except Exception as error:
        return "failed", portable(error)


def portable(error: Exception) -> Exception:
    """`error` with its traceback as a note, fit to be sent; its type and message alone if it cannot be pickled."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
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
    function: Callable[..., dict], tasks: Sequence[Task], kept: Sequence[dict], save: Callable, jobs: int
) -> list[dict]:
    """The records of all `tasks`, in order: about | function(*arguments) | {"seconds": ..} for (about, arguments).

    about: what tells a record from every other, fit for JSON, with "name" and "seed".  A record that is among `kept` is
    not made again.
    save(records) is called with the kept records and all new ones: before the first run, and after each.
    """
    if jobs < 1:
        raise InputError(f"--jobs {jobs}: give at least 1")
    records = list(kept)
    named = {f"{about['name']}, seed {about['seed']}, task {i}": (about, a) for i, (about, a) in enumerate(tasks)}

    def find(about):
        return next((record for record in records if about.items() <= record.items()), None)

    missing = {name: (name, function, arguments) for name, (about, arguments) in named.items() if find(about) is None}
    if missing:
        save(records)  # fails now, not after the first run
        run_all(_timed, missing, jobs, lambda name, found: (records.append(named[name][0] | found), save(records)))
    return [find(about) for about, _ in named.values()]


def _timed(name, function, arguments) -> dict:
    began = time.perf_counter()
    try:
        found = function(*arguments)
    except DivergenceError as error:
        raise DivergenceError(f"{name}: {error}") from error
    return found | {"seconds": round(time.perf_counter() - began, 1)}
