"""What a process of this project does first, before NumPy is imported: it becomes fit to run and easy to end.

Nothing here imports NumPy, so that `begin` can choose the number of BLAS threads.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from types import FrameType

ENDED = 128 + 15
"""The exit status of a process that SIGTERM ended."""


class Ended(KeyboardInterrupt):
    """A signal asks this process to end; it takes the way of Ctrl-C.  `status`: 128 + the signal's number."""

    def __init__(self, number: int):
        super().__init__(number)
        self.status = 128 + number


def begin() -> None:
    """Make this process fit for any terminal and machine, and its end orderly.

    Each of the processes that run side by side gets one BLAS thread; pictures are drawn into files only, whatever
    MPLBACKEND says; a character that the terminal cannot show is printed as its code; a closed stream is /dev/null.
    SIGTERM and SIGHUP raise `Ended`.  A child ignores Ctrl-C, which its parent hears, too.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["MPLBACKEND"] = "agg"
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if multiprocessing.current_process().name != "MainProcess":  # told before the main module is imported again
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    elif threading.current_thread() is threading.main_thread():
        sys.excepthook = _quiet_interrupt
        for number in _endings():
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
                signal.signal(number, _end)


def _endings() -> list[signal.Signals]:
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)


def _quiet_interrupt(kind, error, traceback) -> None:
    """An interrupt before any work began, among the imports, is one line."""
    if issubclass(kind, KeyboardInterrupt):
        print("\ninterrupted", file=sys.stderr, flush=True)
        os._exit(getattr(error, "status", 130))
    sys.__excepthook__(kind, error, traceback)


def end_with_parent(number: int | None = None) -> None:
    """End this worker at once when the process that started it is gone.

    number: that process's, where `subprocess` started this one: it may be gone already.
    """
    parent, number = multiprocessing.parent_process(), number or os.getppid()

    def watch():
        if parent is not None:
            parent.join()
        while parent is None and os.getppid() == number:  # where another program would have started this one
            time.sleep(0.5)
        os._exit(ENDED)

    threading.Thread(target=watch, daemon=True).start()


def cores() -> int:
    """How many processors this process may use, by its affinity and its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = map(int, file.read().split())  # "max 100000" where there is no limit
        return max(1, min(allowed, quota // period))
    except (OSError, ValueError, ZeroDivisionError):
        return allowed
