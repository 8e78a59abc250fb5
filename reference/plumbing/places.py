"""Where runs happen: the interface, and local processes, one for each run."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from .process import ENDED, begin, end_with_parent

UNGUARDED = 3
"""The exit status of a worker whose script starts runs as soon as it is imported."""
GUARD = 'start runs under `if __name__ == "__main__":` only'
PORTABLE = "its function must be one of a file's own, and its arguments fit for pickling"


class Place(NamedTuple):
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


def check_script() -> None:
    """A process that is started here first imports this one's script, which must be a file that starts no runs then."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # this is such a process
        os._exit(UNGUARDED)
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    if main.__spec__ is None and script is not None and not Path(script).is_file():
        raise InputError(f"a run's process imports the script, but {script!r} is no file: give python a file's name")


@contextmanager
def local(jobs: int) -> Iterator[Place]:
    """A process for each run: a `ProcessPoolExecutor` of one worker, so that no run ends when another one's dies.

    Each has a pipe of its own for its reports, so that one that is killed while it tells keeps nobody waiting.
    """
    check_script()
    context, before = multiprocessing.get_context("spawn"), multiprocessing.active_children()
    pools, readers = {}, []

    def submit(*call):
        try:
            packed = pickle.dumps(call)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(f"a run cannot be sent to its process ({error}): {PORTABLE}") from error
        reader, writer = context.Pipe(duplex=False)
        with interrupts_held(), writer:
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
        yield Place(submit, jobs, restarts=1, tell=_tell_parent, hear=hear)
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
def interrupts_held():
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
