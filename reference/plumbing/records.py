"""Runs whose results are kept in a file, never done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import DivergenceError
from .executors import Cluster, run_all

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
