"""A user's adapter, imported and called in a process of its own: it may hang, crash or print, and is stopped."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .adapter import CHOICES
from .cases import tree_map
from .judge import AdapterError, Missing

START = 120  # seconds for importing: a large framework on a slow disk


class Live:
    """The adapter MODULE[:OBJECT]: OBJECT, by default `adapter` or else `Adapter`, is an instance or a class.  In place
    of the text, a function that makes the adapter, to be called in the other process.

    Use as a context; `ask` is a `judge.Ask`.  `InputError` if it cannot be imported or declares what is no choice.
    """

    def __init__(self, spec: str | Callable[[], Any], timeout: float = 60):
        self.spec, self.timeout, self.process = spec, timeout, None

    def __enter__(self) -> Live:
        self._start()
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.spec), daemon=True)
        self.process.start()
        theirs.close()
        status, content = self._receive(START, "importing it")
        if status != "ready":
            self._stop()
            raise InputError(f"adapter {self.spec}: {content}")
        self.name, self.choices = content
        for choice, value in self.choices.items():
            if value not in CHOICES.get(choice, ()):
                options = "; ".join(f"{name}: {' or '.join(values)}" for name, values in CHOICES.items())
                raise InputError(f"adapter {self.spec} declares {choice!r}: {value!r}; the choices are {options}")

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None

    def _receive(self, timeout: float, what: str) -> tuple[str, Any]:
        try:
            if self.pipe.poll(timeout):
                return self.pipe.recv()
            problem = f"{what} took longer than {timeout:g} s: stopped"
        except (EOFError, OSError):
            self.process.join()
            problem = f"{what} ended its process, with exit code {self.process.exitcode}"
        self._stop()
        return "error", problem

    def ask(self, method: str, inputs: dict[str, Any]) -> Any:
        if self.process is None:
            self._start()
        self.pipe.send((method, inputs))
        status, content = self._receive(self.timeout, f"{method}({', '.join(inputs)})")
        if status == "missing":
            raise Missing(content)
        if status == "error":
            raise AdapterError(content)
        return content


def _serve(pipe, spec: str | Callable[[], Any]) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        try:
            adapter = load(spec) if isinstance(spec, str) else spec()
            choices = getattr(adapter, "choices", {})
            if not isinstance(choices, Mapping) or not all(isinstance(value, str) for value in choices.values()):
                raise InputError("its choices must be a dict of strings")
            choices = dict(choices)
            pipe.send(("ready", (str(getattr(adapter, "name", spec)), choices)))
        except BaseException as error:  # SystemExit too
            pipe.send(("error", told(error)))
            return
        while True:
            try:
                method, inputs = pipe.recv()
            except (EOFError, KeyboardInterrupt):
                return
            function = getattr(adapter, method, None)
            if function is None:
                pipe.send(("missing", f"no method: {method}"))
                continue
            try:
                pipe.send(("ok", tree_map(np.asarray, function(**inputs))))
            except NotImplementedError as error:
                pipe.send(("missing", str(error) or f"{method} is not implemented"))
            except BaseException as error:
                pipe.send(("error", f"{method}({', '.join(inputs)}) raised {told(error)}"))


def load(spec: str) -> Any:
    """The object MODULE[:OBJECT], MODULE a name or a file; a class is instantiated."""
    module, _, name = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    if module.endswith(".py"):  # a file: by its name from here if it is below, so that its relative imports work
        path = Path(module).resolve()
        if not path.exists():
            raise InputError("there is no such file")
        if path.is_relative_to(Path.cwd()):
            module = ".".join(path.relative_to(Path.cwd()).with_suffix("").parts)
        else:
            sys.path.insert(0, str(path.parent))
            module = path.stem
    found = importlib.import_module(module)
    for candidate in [name] if name else ["adapter", "Adapter"]:
        if hasattr(found, candidate):
            adapter = getattr(found, candidate)
            return adapter() if isinstance(adapter, type) else adapter
    raise InputError(f"{module} has no {name or 'adapter and no Adapter'}: name the object as {module}:OBJECT")


def told(error: BaseException) -> str:
    """An exception in one line: what, and the last line of the user's code that led to it."""
    if isinstance(error, InputError):
        return str(error)
    text = f"{type(error).__name__}: {' '.join(str(error).split())}" if str(error) else type(error).__name__
    here = Path(__file__).resolve().parent
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if Path(f.filename).resolve().parent != here and "importlib" not in f.filename
    ]
    mine = [f for f in frames if "site-packages" not in f.filename] or frames
    return text + (f" ({Path(mine[-1].filename).name}, line {mine[-1].lineno}: {mine[-1].line})" if mine else "")
