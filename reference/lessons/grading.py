"""A student's file, graded: its functions in a copy of the library, asked the conformance cases of their exercises.

The code runs in a process of its own with a time limit (`conformance.live`), so that nothing in it can stop the grading
of others.  Submissions are code that runs with the rights of whoever grades them.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from textwrap import shorten
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..conformance.cases import Case, flatten
from ..conformance.diagnose import diagnose
from ..conformance.judge import AdapterError, Ask, Missing, Result, calls, judge
from ..conformance.live import Live, told
from ..conformance.make.mistakes import Mistake
from ..conformance.make.variants import variant
from ..errors import InputError
from .exercises import EXERCISES, Exercise, Hole, Names, emptied, find, known
from .questions import cases, tiny
from .sheets import planted

HOLES = {hole.name: hole for exercise in EXERCISES for hole in exercise.holes}


class StudentError(InputError):
    """What is wrong with a student's function, in one line."""


@dataclass
class Report:
    """What came of one exercise in one file."""

    path: Path
    exercise: Exercise | None = None
    undone: list[str] = field(default_factory=list)
    """The functions that are missing or empty."""
    results: list[Result] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    """The known mistakes that explain what failed, the best first."""
    problem: str = ""
    """Why nothing could be asked."""
    notes: list[str] = field(default_factory=list)
    example: Result | None = None
    """If no known mistake explains the failures: a case small enough to compute by hand."""
    named: bool = True
    """Whether a planted mistake is named."""

    def count(self, *statuses: str) -> int:
        return sum(r.status in statuses for r in self.results)

    @property
    def passed(self) -> bool:
        """All cases pass, and nothing is undone."""
        all_pass = bool(self.results) and self.count("passed") == len(self.results)
        return all_pass and not self.undone and not self.problem and self.named

    @property
    def status(self) -> str:
        """In a word or two, for tables."""
        if self.problem:
            return "error"
        if self.passed:
            return "pass"
        if self.count("failed", "error"):
            return "error" if not self.count("failed") else "fail"
        return "not done" if self.undone or self.count("skipped") else "not named"


def read(path: Path) -> ast.Module:
    """The file's syntax tree; StudentError if there is none."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as error:
        line = f", line {error.lineno}: {(error.text or '').strip()}" if error.lineno else ""
        raise StudentError(f"this is not Python yet ({error.msg}{line})") from error
    except (OSError, ValueError) as error:
        raise StudentError(f"the file cannot be read: {error}") from error


def written(tree: ast.Module) -> dict[str, bool]:
    """{name: whether it has a body} of the file's functions that are holes."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = not all(map(says_nothing, node.body))
        elif isinstance(node, ast.Assign):
            found |= {target.id: True for target in node.targets if isinstance(target, ast.Name)}
    return {name: done for name, done in found.items() if name in HOLES}


def says_nothing(node: ast.stmt) -> bool:
    """A docstring, `...`, pass, or raise NotImplementedError."""
    if isinstance(node, ast.Raise):
        return "NotImplementedError" in ast.dump(node)
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def constant(tree: ast.Module, name: str) -> Any:
    """The value of `name = <constant>` in the file, or None."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [getattr(t, "id", "") for t in node.targets] == [name]:
            with contextlib.suppress(ValueError):
                return ast.literal_eval(node.value)
    return None


class Submission:
    """The adapter that Live asks: `start`, then the methods of the kit's adapter of the changed library."""

    name, choices = "student", {}

    def __init__(self, path: Path, exercise: Exercise):
        self.path, self.exercise, self.output, self.adapter = path, exercise, Output(), None

    def start(self) -> bool:
        """Load the copy of the library, and the student's file into it."""
        self.copy = variant(emptied(self.exercise))  # entered and never left: it stays as long as this process
        library = self.copy.__enter__()
        adapters = library("conformance.adapters.ours")
        root = adapters.__name__.partition(".")[0]

        def redirected(name, *rest):
            """An import of `reference` finds the copy."""
            inside = name == "reference" or name.startswith("reference.")
            return builtins.__import__(root + name.removeprefix("reference") if inside else name, *rest)

        space = {
            "__name__": self.path.stem,
            "__file__": str(self.path),
            "__builtins__": {**vars(builtins), "__import__": redirected},
        }
        with self.watched("the file"):
            exec(compile(self.path.read_text(encoding="utf-8"), str(self.path), "exec"), space)
        done = written(read(self.path))
        student = {hole.name: self.wrapped(hole, space.get(hole.name), done) for hole in self.exercise.holes}
        sys.modules[root].student = SimpleNamespace(**student)
        self.adapter = getattr(adapters, self.exercise.adapter)
        if self.exercise.name == "batch":
            self.adapter = Batch(library)
        return True

    def printed(self) -> str:
        return self.output.summary()

    def __getattr__(self, method):
        function = getattr(self.adapter, method)

        def asked(**inputs):
            try:
                return function(**inputs)
            except (StudentError, NotImplementedError):
                raise
            except Exception as error:
                raise StudentError(f"the library could not go on with what you returned: {told(error)}") from None

        return asked

    @contextlib.contextmanager
    def watched(self, what: str):
        """Run the student's code: print goes aside, and whatever it raises becomes one line."""
        try:
            with contextlib.redirect_stdout(self.output):
                yield
        except (StudentError, NotImplementedError):
            raise
        except SystemExit:
            raise StudentError(f"{what} calls exit(){self.line()}: leave it out") from None
        except BaseException as error:
            text = shorten(f"{type(error).__name__}: {error}", 200)
            raise StudentError(f"{what} raises {text}{self.line()}") from None

    def line(self) -> str:
        """Where in the student's file the exception came from."""
        frames = traceback.extract_tb(sys.exc_info()[2])
        mine = [f for f in frames if f.filename == str(self.path)]
        return f" (line {mine[-1].lineno}: {mine[-1].line})" if mine else ""

    def wrapped(self, hole: Hole, function: Any, done: dict[str, bool]) -> Callable:
        """The student's function, with its manners checked."""
        names = find(hole).arguments

        def call(*args):
            if not done.get(hole.name):
                raise NotImplementedError(f"{hole.name} is not written yet")
            before = [a.copy() if hole.pure and isinstance(a, np.ndarray) else None for a in args]
            with self.watched(hole.name):
                result = function(*args)
            for name, was, now in zip(names, before, args):
                if was is not None and not np.array_equal(was, now, equal_nan=True):
                    raise StudentError(f"{hole.name} changes its argument {name} in place: make a new array instead")
            if wrong := misfit(result, hole.returns, dict(zip(names, args))):
                raise StudentError(f"{hole.name} {wrong}")
            return result

        return call


class Output(io.TextIOBase):
    """Where print goes: the first line is kept, and the others are counted."""

    def __init__(self):
        self.first, self.lines = "", 0

    def write(self, text: str) -> int:
        if len(self.first) < 60 and not self.lines:
            self.first += text.partition("\n")[0][:60]
        self.lines += text.count("\n")
        return len(text)

    def summary(self) -> str:
        if not (self.first or self.lines):
            return ""
        return f"prints {max(self.lines, 1)} lines, the first: {self.first!r} (print to sys.stderr to see them)"


def misfit(result: Any, returns: Any, given: dict[str, Any]) -> str:
    """What is wrong with the form of a result; "" if nothing is."""
    if result is None:
        return "returns None: is a `return` missing?"
    if returns is None:
        return ""
    if isinstance(returns, Names):
        names = ", ".join(returns)
        if not isinstance(result, dict) or set(result) != set(returns):
            has = ", ".join(map(str, result)) if isinstance(result, dict) else type(result).__name__
            return f"returns {has}: make it a dict with the names {names}"
        for name, pair in result.items():
            if not isinstance(pair, tuple | list) or len(pair) != 2 or shape(pair[1]) != ():
                return f"returns no (weight, number) for {name}"
        return ""
    if isinstance(returns, tuple):
        if not isinstance(result, tuple) or len(result) != len(returns):
            has = f" of {len(result)}" if isinstance(result, tuple) else ""
            return f"returns a {type(result).__name__}{has}: make it a tuple of {len(returns)} arrays"
        return next(filter(None, (misfit(part, wanted, given) for part, wanted in zip(result, returns))), "")
    wanted = shape(given[returns]) if returns else ()
    if shape(result) != wanted:
        right = f"{wanted}, the shape of {returns}" if returns else "one number, shape ()"
        return f"returns something of shape {shape(result)}: expected {right}"
    return ""


def shape(value: Any) -> Any:
    return value.shape if hasattr(value, "shape") else np.shape(value) if np.isscalar(value) else type(value).__name__


class Batch:
    """The kit's training step, taken by `experiment.train.critic_batch` with the definitions' steps."""

    def __init__(self, library: Callable):
        self.train, self.critic = library("experiment.train"), library("method.critic")
        self.steps, self.adam = library("method.steps"), library("method.adam").Adam
        self.settings, self.running = library("method.settings"), library("method.targets").RunningConfidence

    def training_step(
        self, state, x, y, noise_real, noise_fake, noise_judge, u, rate, critic_rate, critic_weight, cycle_weight,
        penalty_weight,
    ):  # fmt: skip
        s = self.settings.AdversaryCritic(critic_weight, cycle_weight, penalty_weight=penalty_weight)
        adam, adam_D = (self.adam(*(state[f"{part}_{name}"] for name in "mvt")) for part in ("params", "critic"))
        running = self.running(state["value"], state["biased"], state["steps"])
        now = self.train.State(state["params"], adam, running, None, state["critic"], adam_D)
        noise = iter([noise_real, noise_fake, noise_judge])
        self.critic.draw_noise = lambda *_: next(noise)
        self.train.critic_batch(now, x, y, s, self.settings.Training(), rate, critic_rate, self.steps)
        after = {"params": now.params, "critic": now.critic}
        for part, adam in (("params", now.adam), ("critic", now.critic_adam)):
            after |= {f"{part}_{name}": getattr(adam, name) for name in "mvt"}
        return after | {name: getattr(now.running, name) for name in ("value", "biased", "steps")}


def grade(path: Path, timeout: float = 10, new: Sequence[Case] = ()) -> list[Report]:
    """One report for each exercise that the file is about, in the order of the lessons.

    timeout: seconds for one question.  new: networks of a teacher's own to ask instead (`drawn`).
    """
    try:
        tree = read(path)
        done = written(tree)
        if not done:
            raise StudentError("none of its functions belongs to an exercise: `exercise` writes a file to begin with")
    except StudentError as error:
        return [Report(path, problem=str(error))]
    reports = []
    for exercise in EXERCISES:
        if any(hole.name in done for hole in exercise.holes):
            report = Report(path, exercise, [h.name for h in exercise.holes if not done.get(h.name)])
            reports.append(report)
            if len(report.undone) < len(exercise.holes):
                with Live(partial(Submission, path.resolve(), exercise), timeout) as live:
                    ask(report, limited(live), [case for case in new if case.term in exercise.terms])
    seed = constant(tree, "seed")
    if isinstance(seed, int) and constant(tree, "found") is not None:
        about, mistake = planted(seed)
        for report in reports:
            if report.exercise == about and report.count("failed") and not report.mistakes:
                report.mistakes, report.example = [mistake], None  # which the kit cannot name
            if report.exercise == about and constant(tree, "found") != mistake.id:
                report.named = False
                report.notes.append('the mistake is not named yet: write its name in the line `found = ""`')
    return reports


def limited(live: Live) -> Ask:
    """Ask the student's process, in the words of a report; once it has hung or ended, it is not asked again."""
    gone: list[str] = []

    def answers(method, inputs):
        if gone:
            raise AdapterError(gone[0])
        try:
            return live.ask(method, inputs)
        except AdapterError as error:
            text = str(error)
            if live.process is None:
                late = "took longer" in text
                text = ENDED.format(live.timeout) if late else f"your code ended its process{text.rpartition(',')[2]}"
                gone.append(text)
            raise AdapterError(text.partition(" raised ")[2] or text) from None

    return answers


def ask(report: Report, answers: Ask, new: Sequence[Case] = ()) -> None:
    """Fill in what comes of the exercise's cases, or of `new` ones."""
    try:
        answers("start", {})
    except AdapterError as error:
        report.problem = str(error)
        return
    report.results = judge(new or cases(report.exercise), calls(answers, "float64"), {})
    with contextlib.suppress(AdapterError, Missing):
        if printed := str(answers("printed", {})):
            report.notes.append(printed)
    plainest = sorted(report.results, key=lambda r: -r.error)  # on one level the plainest difference is looked at first
    report.mistakes = [known(report.exercise)[name] for name in diagnose(plainest, "float64")]
    failed = [r for r in report.results if r.status == "failed"]
    if failed and not report.mistakes:
        small = judge([tiny(r.case) for r in failed if "state" not in r.case.inputs], calls(answers, "float64"), {})
        # Where the tiny network shows no difference, the stored case with the fewest numbers.
        report.example = min([r for r in small if r.status == "failed"] or failed, key=size)


def size(result: Result) -> tuple:
    """For sorting: level, then how many numbers a case holds."""
    return result.case.level, sum(a.size for a in flatten(result.case.inputs).values())


ENDED = "your code took longer than {:g} s, so it was stopped: is there a loop without an end?"
