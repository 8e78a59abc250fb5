"""An implementation under test in a process of its own: it may hang, crash or print, and is stopped.

`Live` runs a Python adapter, `Command` any program that speaks JSON lines.  Whatever comes back is JSON: nothing that
an adapter returns is executed here.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import multiprocessing
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..plumbing.process import end_with_parent
from .adapter import CHOICES, Adapter
from .cases import VERSION, decode, encode, tree_map
from .judge import AdapterError, Missing, Plain, clean, local, misnamed

START = 120  # seconds for importing: a large framework on a slow disk
METHODS = [name for name, value in vars(Adapter).items() if callable(value) and not name.startswith("_")]
PROTOCOL = """JSON lines: the kit writes an object a line to your program's stdin, and reads a line of stdout for each.

    {"start": {"version": "VERSION"}}                   answer {"name": "mine", "choices": {}}
    {"ask": "logits", "inputs": {"params": …, "x": …}}  answer {"answer": {"logits": [[0.1, 0.2], …]}}
                                                        or {"missing": "not written"} or {"error": "what"}
    {"stop": true}                                      end

What comes in
    array     {"dtype": "float64", "shape": [2, 3], "data": [six numbers, row by row]}
    layers    [[W, b], …], a pair of arrays for each layer
    noise     null, or a list of arrays
    the rest  numbers, words ("l2", "linf") and null; the `state` of training_step is an object of these
What goes out: {output: value}, each output named as the command template names it; where a method returns a single
value, its output has the method's name.  A value is a number, a nested list of rows, [[…], …], or an object with shape
and data, as it comes in.  Layers have flat names: "critic.W0", "critic.b0", "critic.W1", ….  Outputs may be left out.
Nothing else may be written to stdout; stderr is yours.  Equal questions must have equal answers.
""".replace("VERSION", VERSION)


class Other:
    """Another process that answers; `ask` is a `judge.Ask`.  Use as a context.

    `InputError` if it cannot be started or declares what is no choice.
    """

    name, choices = "", {}

    def __init__(self, spec, timeout: float = 60):
        self.spec, self.timeout, self.process = spec, timeout, None

    def __enter__(self):
        self._start()
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def _declared(self, name, choices, methods=()) -> None:
        """What it says of itself."""
        self.name, self.choices = clean(name, 200), choices
        if not isinstance(choices, Mapping) or not all(isinstance(value, str) for value in choices.values()):
            raise InputError(f"adapter {self.spec}: its choices must be a dict of strings")
        for choice, value in choices.items():
            if value not in CHOICES.get(choice, ()):
                options = "; ".join(f"{name}: {' or '.join(values)}" for name, values in CHOICES.items())
                raise InputError(f"adapter {self.spec} declares {choice!r}: {value!r}; the choices are {options}")
        if wrong := misnamed(methods, METHODS):
            raise InputError(f"adapter {self.spec}: {wrong}")


class Live(Other):
    """The adapter MODULE[:OBJECT]: OBJECT, by default `adapter` or else `Adapter`, is an instance or a class.  In place
    of the text, a function that makes the adapter, to be called in the other process.
    """

    spec: str | Callable[[], Any]

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.spec), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()
        status, content = self._receive(START, "importing it")
        if status != "ready":
            self._stop()
            raise InputError(f"adapter {self.spec}: {clean(content)}")
        self._declared(*content)

    def _stop(self) -> None:
        if self.process is not None:
            _end(self.process.pid)
            self.process.kill()
            self.process.join()
            self.process = None

    def _receive(self, timeout: float, what: str) -> tuple[str, Any]:
        try:
            if self.pipe.poll(timeout):
                status, content = json.loads(self.pipe.recv_bytes(2**30))
                return status, decode(content, {}) if status == "ok" else content
            problem = f"{what} took longer than {timeout:g} s: stopped"
        except (EOFError, OSError, ValueError):
            until = time.monotonic() + 1
            while self.process.is_alive() and time.monotonic() < until:  # join would believe what an adapter writes
                time.sleep(0.01)
            problem = f"{what} ended its process, with exit code {self.process.exitcode}"
            if self.process.is_alive():
                problem = f"{what} wrote into the kit's own pipe: stopped"
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


class Command(Other):
    """A program that speaks `PROTOCOL` on its stdin and stdout."""

    spec: str

    def _start(self) -> None:
        try:
            with _one_thread():
                self.process = subprocess.Popen(
                    shlex.split(self.spec), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
                )
        except (OSError, ValueError) as error:
            raise InputError(f"--command {self.spec}: cannot be started ({error})") from error
        self.lines: queue.Queue = queue.Queue()
        threading.Thread(target=_read_lines, args=(self.process.stdout, self.lines), daemon=True).start()
        try:
            about = self._exchange({"start": {"version": VERSION}}, START, "start")
        except AdapterError as error:
            self._stop()
            raise InputError(f"--command {self.spec}: {clean(error)}") from error
        self._declared(about.get("name", self.spec), about.get("choices", {}))

    def _stop(self) -> None:
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.write(b'{"stop": true}\n')
                self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.2)
            _end(self.process.pid)
            self.process.kill()
            self.process.wait()
            self.process = None

    def _exchange(self, message: dict, timeout: float, what: str) -> dict:
        """One line there, one line back; `AdapterError` if it is no JSON object."""
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended, as the next line says
        try:
            line = self.lines.get(timeout=timeout)
        except queue.Empty:
            self._stop()
            raise AdapterError(f"{what} took longer than {timeout:g} s: stopped") from None
        if line is None:
            code = self.process.wait()
            self._stop()
            raise AdapterError(f"{what} ended its process, with exit code {code}")
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise AdapterError(
                f"{what} wrote {clean(line.decode(errors='replace'), 80).strip()!r} to stdout: no JSON object"
            )
        return found

    def ask(self, method: str, inputs: dict[str, Any]) -> Any:
        if self.process is None:
            self._start()
        found = self._exchange({"ask": method, "inputs": encode(inputs)}, self.timeout, method)
        if "answer" not in found:
            kind, text = (Missing, found["missing"]) if "missing" in found else (AdapterError, found.get("error"))
            raise kind(f"{method}: {text or 'its line has no answer, no missing and no error'}")
        try:
            return Plain({name: _value(value) for name, value in found["answer"].items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AdapterError(f"{method}: its answer is no object of arrays ({clean(error, 200)})") from error


def _value(value: Any) -> np.ndarray:
    """A number, a nested list or {shape, data} as an array."""
    if isinstance(value, dict):
        return np.asarray(value["data"]).reshape(value["shape"])
    return np.asarray(value)


def _read_lines(file, lines: queue.Queue) -> None:
    for line in file:
        lines.put(line)
    lines.put(None)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """For a process that is started: a thread for each core is slower on small arrays, unless it is asked for."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    new = [name for name in names if name not in os.environ]
    os.environ.update(dict.fromkeys(new, "1"))
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


def _end(pid: int) -> None:
    """End the processes that it has started, too."""
    with contextlib.suppress(AttributeError, OSError):
        if os.getpgid(pid) != os.getpgrp():
            os.killpg(pid, signal.SIGKILL)


def _serve(pipe, spec: str | Callable[[], Any]) -> None:
    with contextlib.suppress(AttributeError, OSError):
        os.setsid()  # what it starts ends with it
    end_with_parent()
    os.dup2(2, 1)  # whatever it prints, and by whatever way, is no part of the report

    def send(status, content):
        try:
            pipe.send_bytes(json.dumps([status, content]).encode())
        except OSError:  # nobody listens, or the adapter has closed it
            os._exit(1)

    with contextlib.redirect_stdout(sys.stderr):
        try:
            adapter = load(spec) if isinstance(spec, str) else spec()
            choices = getattr(adapter, "choices", {})
            methods = [name for name in dir(adapter) if not name.startswith("_")]
            choices = dict(choices) if isinstance(choices, Mapping) else str(choices)
            send("ready", [str(getattr(adapter, "name", spec)), choices, methods])
        except BaseException as error:  # SystemExit too
            send("error", told(error))
            return
        ask = local(adapter)
        while True:
            try:
                method, inputs = pipe.recv()
            except (EOFError, KeyboardInterrupt):
                return
            try:
                found = ask(method, inputs)
                try:
                    content = encode(tree_map(_plain, found))
                except RecursionError as error:
                    raise AdapterError(f"{method} returned a {type(found).__name__} without end") from error
                send("ok", content)
            except (Missing, AdapterError) as error:
                send("missing" if isinstance(error, Missing) else "error", clean(error))
            except BaseException as error:
                send("error", f"{method}({', '.join(inputs)}) raised {told(error)}")


def _plain(value: Any) -> np.ndarray:
    """A leaf of an answer as an array of numbers or text; what is neither is told by its type."""
    array = np.asarray(value)
    if array.dtype.kind not in "biufU" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        what = "None" if value is None else f"{type(value).__name__} of dtype {array.dtype}"
        raise AdapterError(f"it returned {what}: arrays of real numbers are expected")
    return array


def load(spec: str) -> Any:
    """The object MODULE[:OBJECT], MODULE a name or a file; a class is instantiated."""
    module, name = (spec, "") if spec.endswith(".py") or ":" not in spec else spec.rsplit(":", 1)
    sys.path.insert(0, str(Path.cwd()))
    found = _from_file(Path(module).resolve()) if module.endswith(".py") else importlib.import_module(module)
    for candidate in [name] if name else ["adapter", "Adapter"]:
        if hasattr(found, candidate):
            adapter = getattr(found, candidate)
            return adapter() if isinstance(adapter, type) else adapter
    raise InputError(f"{module} has no {name or 'adapter and no Adapter'}: name the object as {module}:OBJECT")


def _from_file(path: Path) -> Any:
    """The module in a file: by its name from here, so that its relative imports work, or else by its place."""
    if not path.exists():
        raise InputError("there is no such file")
    if path.is_relative_to(Path.cwd()):
        parts = path.relative_to(Path.cwd()).with_suffix("").parts
        if all(part.isidentifier() for part in parts):
            return importlib.import_module(".".join(parts))
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("adapter_under_test", path)
    found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def told(error: BaseException) -> str:
    """An exception in one line: what, and the last line of the user's code that led to it."""
    if isinstance(error, InputError):
        return str(error)
    says = " ".join(clean(error).split())
    text = f"{type(error).__name__}: {says}" if says else type(error).__name__
    here = Path(__file__).resolve().parent
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if Path(f.filename).resolve().parent != here and "importlib" not in f.filename
    ]
    mine = [f for f in frames if "site-packages" not in f.filename] or frames
    return text + (f" ({Path(mine[-1].filename).name}, line {mine[-1].lineno}: {mine[-1].line})" if mine else "")
