"""Many runs side by side, each in a process of its own; and runs whose results are kept in a file, never done twice."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from ..errors import DivergenceError, InputError

Done = Callable[[str, Any], object]


def side_by_side(
    function: Callable, tasks: Mapping[str, tuple], jobs: int, done: Done | None = None, report: Callable | None = None
) -> dict[str, Any]:
    """function(*arguments) of every task, `jobs` at a time, in the order of `tasks` -> {task: what it returned}.

    tasks: {name: arguments}, all of which can be pickled.  done(name, result) is called here as soon as a run ends.
    report: the function gets one more argument, a function whose calls are repeated here as calls of `report`.
    What a run raises is raised here, and `ChildProcessError` if its process died; the other runs are ended then, as
    they are on Ctrl-C.
    """
    waiting = list(reversed(tasks))  # taken from the end
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, tuple[str, multiprocessing.process.BaseProcess]] = {}
    results: dict[str, Any] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max(1, jobs):
                name = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                arguments = (theirs, function, tasks[name], report is not None)
                process = context.Process(target=_work, args=arguments, daemon=True)
                with _interrupts_held():
                    process.start()
                    running[ours] = name, process
                theirs.close()  # so that the end of the process is the end of `ours`
            for ours in wait(list(running)):
                name, process = running[ours]
                try:
                    kind, what = ours.recv()
                except (EOFError, OSError):
                    process.join()
                    raise ChildProcessError(
                        f"the process of {name}, died (exit code {process.exitcode}), perhaps for want of "
                        "memory: use fewer jobs, and go on"
                    ) from None
                if kind == "failed":
                    raise what
                if kind == "done":
                    results[name] = what
                    del running[ours]
                    process.join()
                    if done is not None:
                        done(name, what)
                else:
                    report(*what)
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()
    return {name: results[name] for name in tasks}


def _work(results, function: Callable, arguments: tuple, telling: bool) -> None:
    """One run in a process of its own: ("told", what) as often as it reports, then ("done" or "failed", what)."""
    # The parent hears Ctrl-C and ends its workers, who tidy up half-written files on their way out.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        report = (lambda *what: results.send(("told", what)),) if telling else ()
        last = "done", function(*arguments, *report)
    except Exception as error:
        last = "failed", _portable(error)
    results.send(last)


def _portable(error: Exception) -> Exception:
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
    """Ctrl-C waits until the end of the block, and never reaches the processes started in it (a mask is inherited)."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # else the first process starts it, and that lifts the mask
    heard: list[int] = []
    handler = None
    if threading.current_thread() is threading.main_thread():  # nowhere else is Ctrl-C heard
        handler = signal.signal(signal.SIGINT, lambda *_: heard.append(1))  # a library's thread has a mask of its own
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
            if heard:
                signal.raise_signal(signal.SIGINT)


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
        side_by_side(_timed, missing, jobs, lambda name, found: (records.append(named[name][0] | found), save(records)))
    return [find(about) for about, _ in named.values()]


def _timed(name, function, arguments) -> dict:
    began = time.perf_counter()
    try:
        found = function(*arguments)
    except DivergenceError as error:
        raise DivergenceError(f"{name}: {error}") from error
    return found | {"seconds": round(time.perf_counter() - began, 1)}
