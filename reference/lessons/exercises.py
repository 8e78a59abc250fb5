"""The exercises: functions of the library, each with a hole that a student fills.

An exercise names its holes and the conformance terms that they answer for.  From these the file that a student gets,
the copy of the library that the student's functions work in, the mistakes that can be made in a hole, and the files
with a planted mistake are all cut out of the library's own text, so that none of them can go stale.
"""

from __future__ import annotations

import ast
import inspect
import random
from collections.abc import Iterable, Sequence
from functools import cache
from pydoc import locate
from textwrap import dedent, fill, indent
from typing import Any, NamedTuple

from ..conformance.make.mistakes import MISTAKES, Mistake
from ..conformance.make.variants import ROOT, Edit, edited


class Names(tuple):
    """What loss terms a function returns: {name: (weight, number)}."""


class Hole(NamedTuple):
    """A function of the library that the student writes."""

    file: str
    """Below reference/."""
    path: str
    """The function, or Class.method."""
    returns: Any = None
    """What it returns: "" a number, "x" an array of the shape of the argument x, a tuple of these, or `Names`.  None:
    anything but None."""
    pure: bool = True
    """Whether it must leave its arguments as they are."""

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


class Exercise(NamedTuple):
    """One file to fill in."""

    lesson: int
    name: str
    task: str
    why: str
    """Why the solution is as it is."""
    terms: tuple[str, ...]
    """The conformance cases that it answers for."""
    holes: tuple[Hole, ...]
    adapter: str = "method"
    beside: tuple[str, ...] = ()
    """What else the library has for it: module.name or module.Class.method, below reference."""


METHOD = "method/{}.py".format


def both(*names: str) -> tuple[str, ...]:
    """The values and the gradients of loss terms."""
    return tuple(f"{kind}-{name}" for kind in ("loss", "gradient") for name in names)


EXERCISES = (
    Exercise(
        0,
        "robustness",
        "How far must an image move until a network is fooled?  Measure it: ρ, the mean of ‖r‖/‖x‖ over the images on "
        "which the attack succeeded, where r = images − x.",
        "A mean of ratios is not a ratio of means: each image counts alike, however bright it is.  An attack that "
        "failed says nothing about the distance, so it is left out, and its rate is reported beside ρ.",
        ("robustness",),
        (Hole("conformance/adapters/ours.py", "Definitions.robustness", ""),),
    ),
    Exercise(
        1,
        "worst",
        "What is the worst step of length 1, and what does it cost?  Write the direction of steepest ascent, the norms "
        "of the gradients' differences, and the hinge's worst case over an ε-ball.",
        "Over an L2 ball wᵀr is largest at r = εw/‖w‖, over an L∞ ball at r = ε·sign(w).  The gain is ε times the "
        "dual norm of w: L2 for L2, and L1 for L∞.  One step is exact only where f is linear.",
        ("adversarial-perturbation", *both("margin")),
        (
            Hole(METHOD("perturbations"), "steepest", "w"),
            Hole(METHOD("objectives"), "gradient_gaps"),
            Hole(METHOD("losses"), "margin_hinge", ""),
        ),
    ),
    Exercise(
        2,
        "newton",
        "How far is it to confidence C?  Write the gradient of log p_t by the image, and the step along it that takes "
        "the linearised log p_t to log C.",
        "log p_t(x') + wᵀs = log C has many solutions, and the shortest is s = (log C − log p_t)·w/‖w‖²: one division "
        "by ‖w‖ makes w a direction, and the other turns the difference into a distance.  √ε keeps the step from "
        "becoming 0 just before the aim, and ε keeps the norm's derivative finite where w = 0.",
        ("attack-step",),
        (
            Hole(METHOD("generator"), "linearise_log_prob", ("targets", "targets", "x")),
            Hole(METHOD("generator"), "newton_step", "w"),
        ),
    ),
    Exercise(
        3,
        "nearest",
        "Towards which class?  Write the distance to every other class, where f is linearised, and choose the nearest.",
        "A class with a high logit may be far away, because what counts is how fast the difference of the logits "
        "changes: |Δf|/‖Δ∇f‖.  Where the gradients' difference is 0 the class is out of reach, so it is infinitely far.",
        ("nearest-class",),
        (Hole(METHOD("targets"), "distances", "z"), Hole(METHOD("targets"), "nearest", "labels")),
    ),
    Exercise(
        3,
        "confidence",
        "How sure is sure?  Write the running mean, for each class, of the confidence of the examples that are "
        "predicted as that class.",
        "An exponential mean that starts at 0 is too small at first.  Dividing by 1 − decay^steps mends exactly that, "
        "so that the first value is the batch mean itself.  A class absent from a batch has no mean; its stored value "
        "stands in.",
        ("confidence",),
        (Hole(METHOD("targets"), "RunningConfidence.update"),),
    ),
    Exercise(
        4,
        "unrolled",
        "How can a loop be a generator?  Write the attack that training differentiates: Newton's steps, one after the "
        "other, for each example until it has reached C.",
        "θ enters through every step (through φ, w, n and p), and this is what trains the classifier.  The iterates "
        "are constants all the same (sg), so that the gradient does not run along the path.  The indicator is a "
        "product, because who has arrived stays; its rounding is the identity backwards, and the sigmoid keeps its "
        "slope.",
        ("attack", *both("critic", "cycle")),
        (Hole(METHOD("generator"), "unrolled", "x"),),
    ),
    Exercise(
        5,
        "critic",
        "What is “real data of class j”?  Write the critic's two losses, the gradient penalty, and the objective that "
        "they make together.",
        "x̂ is judged as ŷ, the class it is taken for, since the critic has to tell what the classifier gets wrong.  "
        "All attacks count, failed ones too.  The penalty takes one norm for each example, at data and at attacked "
        "images, and shares the noise of the loss, because both are about the same function.",
        both("real", "fake", "penalty"),
        (
            Hole(METHOD("losses"), "real_loss", ""),
            Hole(METHOD("losses"), "fake_loss", ""),
            Hole(METHOD("losses"), "gradient_penalty", ""),
            Hole(METHOD("objectives"), "critic_objective", Names(("real", "fake", "penalty_real", "penalty_fake"))),
        ),
    ),
    Exercise(
        6,
        "judge",
        "One loss: where does the gradient stop, and why?  Write the classifier's three terms and put them together.",
        "In the critic term x̂ stays attached, otherwise the attack teaches θ nothing.  The critic's own parameters are "
        "fixed: it is the classifier's turn.  In the cycle term x̂ is a given image, to be led back, so it is constant; "
        "the confidence to be reached again is the network's own, and it is attached.  Only the examples of S count, "
        "because an attack that changed nothing has made no image of another class.",
        both("cross-entropy", "critic", "cycle"),
        (
            Hole(METHOD("losses"), "cross_entropy", ""),
            Hole(METHOD("losses"), "fool_loss", ""),
            Hole(METHOD("losses"), "cycle_loss", ""),
            Hole(METHOD("objectives"), "judge", Names(("cross_entropy", "critic", "cycle"))),
        ),
    ),
    Exercise(
        6,
        "batch",
        "In which order?  Write one batch of training: running confidence, attack, critic step, classifier step.  Draw "
        "the critic's noise in the order real, attacked, classifier.  What you return, a record of the terms, is not graded.",
        "C already holds this batch, and the target is the class nearest to the prediction.  The critic goes first, at "
        "the same θ, so that the classifier is judged by a critic that has seen these very images.  The attack is not "
        "made again for it: same x̂, same C.",
        ("training-step",),
        (Hole("experiment/train.py", "critic_batch", pure=False),),
        beside=(
            "method.targets.RunningConfidence.update",
            "method.steps.ClassifierStep",
            "method.steps.ClassifierStep.attack",
            "method.steps.ClassifierStep.gradient",
            "method.steps.critic_step",
            "method.steps.adam_step",
        ),
    ),
    Exercise(
        7,
        "passes",
        "A gradient of a gradient: can one do it on paper?  Write the passes of reference/by_hand/README.md: backward, "
        "tangent, and the two of the attack's reverse, which also collect the weights' gradients.",
        "⟨v, w⟩ = ⟨J v, s⟩ is linear in each layer's weights.  What stands to the left of W_l is the tangent τ, and what "
        "stands to the right is the signal δ: hence τᵀδ, without biases, as they do not occur in J.  The ordinary pass "
        "adds hᵀρ for what reaches the logits.",
        ("input-gradient", "critic-gradient", *both("cross-entropy", "critic", "cycle", "penalty", "margin")),
        (
            Hole("by_hand/passes.py", "Pass.backward", pure=False),
            Hole("by_hand/passes.py", "Pass.tangent"),
            Hole("by_hand/passes.py", "weight_gradients"),
            Hole("by_hand/generator.py", "Stacks.tangents", pure=False),
            Hole("by_hand/generator.py", "Stacks.signals", pure=False),
        ),
        adapter="by_hand",
        beside=(
            "by_hand.passes.Pass",
            "by_hand.passes.Pass.slopes",
            "by_hand.generator.Stacks",
            "by_hand.generator.Sums.add",
            "by_hand.generator.Sums.add_signal",
        ),
    ),
)
"""In the order of the lessons: an exercise takes from the library what later lessons are about, never the reverse."""
BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


class Source(NamedTuple):
    """A function in the library's text."""

    text: str
    """Of the whole file."""
    node: ast.FunctionDef
    classes: list[str]

    @property
    def body(self) -> list[ast.stmt]:
        """Its statements but the docstring."""
        return self.node.body[ast.get_docstring(self.node) is not None :]

    def lines(self, first: int, last: int) -> str:
        return "".join(self.text.splitlines(keepends=True)[first - 1 : last])

    @property
    def span(self) -> tuple[int, int]:
        """Where its body begins and ends in the text."""
        start = len(self.lines(1, self.body[0].lineno - 1))
        return start, start + len(self.lines(self.body[0].lineno, self.node.end_lineno))

    @property
    def arguments(self) -> list[str]:
        """The names of its arguments; self only if it is used."""
        args = self.node.args
        names = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
        return names[1:] if names[:1] == ["self"] and "self" not in names_in(self.body) else names


def names_in(nodes: Iterable[ast.AST]) -> set[str]:
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def find(hole: Hole, sources: dict[str, str] = {}) -> Source:
    """Where a hole is; `sources` holds the text of files that have been changed."""
    text = sources.get(hole.file) or (ROOT / hole.file).read_text(encoding="utf-8")
    node: Any = parsed(text)
    *classes, name = hole.path.split(".")
    for part in (*classes, name):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    return Source(text, node, classes)


def emptied(exercise: Exercise) -> list[Edit]:
    """The library with the exercise's functions taken out: each calls the student's function of its name."""
    edits = []
    for file in dict.fromkeys(hole.file for hole in exercise.holes):
        text = (ROOT / file).read_text(encoding="utf-8")
        dots, new = "." * (file.count("/") + 1), text
        found = [(find(hole), hole.name) for hole in exercise.holes if hole.file == file]
        for source, name in sorted(found, key=lambda pair: -pair[0].span[0]):
            (start, end), pad = source.span, " " * source.body[0].col_offset
            call = f"{pad}from {dots} import student\n\n{pad}return student.{name}({', '.join(source.arguments)})\n"
            new = new[:start] + call + new[end:]
        edits.append((file, text, new))
    return edits


@cache
def mistakes(exercise: Exercise) -> tuple[Mistake, ...]:
    """The known mistakes that lie in the exercise's holes."""
    return tuple(m for m in MISTAKES if all(hole_of(exercise, edit) for edit in m.edits))


def hole_of(exercise: Exercise, edit: Edit) -> Hole | None:
    """The hole in which the text that an edit changes stands, if there is one."""
    file, old, _ = edit
    for hole in exercise.holes:
        if hole.file == file:
            source = find(hole)
            start, end = source.span
            at = source.text.find(old)
            if start <= at + len(old) - len(old.lstrip()) and 0 <= at and at + len(old.rstrip()) <= end:
                if source.text.count(old) == 1:
                    return hole
    return None


# --------------------------------------------------------------------------------------------------- a student's file


def sheet(exercise: Exercise, head: str = "", edits: Sequence[Edit] | None = None) -> str:
    """The exercise as a Python file: every hole's signature and docstring, what they need imported, and no bodies.

    edits: with these changes to the library, and with its bodies.
    """
    sources = edited(edits or ())
    found = [find(hole, sources) for hole in exercise.holes]
    functions = [function(hole, source, edits is not None) for hole, source in zip(exercise.holes, found)]
    lines, used = imports(exercise, found)
    helps = [about(name) for name in used] + [about(name, whole=True) for name in exercise.beside]
    opening = head or OPENING.format(e=exercise, task=fill(exercise.task, 118))
    return f'''"""{opening}
What the library has for it:

{indent("".join(filter(None, helps)), "    ")}"""

from __future__ import annotations

''' + "\n\n\n".join(["\n".join(lines), *functions]) + "\n"


OPENING = """Exercise {e.name}, of lesson {e.lesson}.

{task}

Replace each `...` by your code, and ask as often as you like:

    python -m reference.lessons check {e.name}.py

Your functions take the place of the library's, and everything around them stays.  What you need is imported: `np` is
autograd's NumPy, whose results can be differentiated, and `onp` is the original NumPy, for constants.
"""


def about(name: str, whole: bool = False) -> str:
    """How a function or class of the library is called, and what its docstring says; "" for anything else."""
    found: Any = locate(f"reference.{name}")
    if not (inspect.isfunction(found) or inspect.isclass(found)) or not inspect.getdoc(found):
        return ""
    names = [n for n in inspect.signature(found).parameters if n != "self"]
    names = ["x"] if names[:1] == ["args"] else names  # autograd hides the argument of its primitives
    called = fill(f"{name.partition('.')[2]}({', '.join(names)})", 110, subsequent_indent="    ")
    doc = inspect.getdoc(found)
    return f"{called}\n{indent(doc if whole else doc.partition(chr(10) * 2)[0], '    ')}\n"


def function(hole: Hole, source: Source, whole: bool) -> str:
    """A hole as text: signature and docstring, and its body if `whole`."""
    node, first = source.node, source.body[0]
    text = source.lines(node.lineno, node.end_lineno if whole else first.lineno - 1)
    text = dedent(text).rstrip() + ("" if whole else "\n    ...")
    if source.classes:
        if "self" not in source.arguments:
            text = text.replace("(self, ", "(", 1)
        else:
            module = "reference." + hole.file.removesuffix(".py").replace("/", ".")
            text = f"# A method: self is a {source.classes[-1]} of {module}.\n{text}"
    if isinstance(hole.returns, Names):
        text = f"# Returns {{name: (weight, value)}} for the names {', '.join(hole.returns)}.\n{text}"
    return text


def imports(exercise: Exercise, found: Sequence[Source]) -> tuple[list[str], list[str]]:
    """The import lines that these functions need, absolute; and the names of what they use of the library."""
    plain: set[str] = set()
    members: dict[str, set[str]] = {}
    used: dict[str, None] = {}
    own = {hole.name for hole in exercise.holes}
    for hole, source in zip(exercise.holes, found):
        module = ["reference", *hole.file.removesuffix(".py").split("/")]
        names = names_in([source.node])
        for node in parsed(source.text).body:
            given = {a.asname or a.name: a for a in getattr(node, "names", ())}
            wanted = {name: a for name, a in given.items() if name in names - own}
            if isinstance(node, ast.Import):
                plain |= {f"import {a.name}" + (f" as {name}" if a.asname else "") for name, a in wanted.items()}
                continue
            if isinstance(node, ast.ImportFrom):
                parents = module[: len(module) - node.level] if node.level else []
                place = ".".join(filter(None, (*parents, node.module)))
                parts = {name: f"{a.name} as {name}" if a.asname else name for name, a in wanted.items()}
            else:
                defined = [getattr(node, "name", "")] + [getattr(t, "id", "") for t in getattr(node, "targets", ())]
                place, parts = ".".join(module), {name: name for name in defined if name in names - own}
            if parts:
                members.setdefault(place, set()).update(parts.values())
            for name in parts:
                inside = [n.attr for n in ast.walk(source.node) if getattr(getattr(n, "value", 0), "id", "") == name
                          and isinstance(n, ast.Attribute)]  # fmt: skip
                used |= {f"{place}.{name}": None, **{f"{place}.{name}.{part}": None for part in inside}}
    ours = [f"from {place} import {', '.join(sorted(names))}" for place, names in sorted(members.items())]
    others = sorted([*plain, *(line for line in ours if not line.startswith("from reference"))])
    ours = [line for line in ours if line.startswith("from reference")]
    described = [name.removeprefix("reference.") for name in used if name.startswith("reference.")]
    return [*others, *([""] if others and ours else []), *ours], [n for n in described if n.split(".")[-1] not in own]


def solution(exercise: Exercise) -> str:
    """The library's own functions, with a reason."""
    reason = fill(f"Why: {exercise.why}", 118)
    return f"{reason}\n\n" + indent("\n\n\n".join(function(hole, find(hole), True) for hole in exercise.holes), "    ")


# ----------------------------------------------------------------------------------------------------- planted mistakes


def planted(seed: int) -> tuple[Exercise, Mistake]:
    """The exercise and the mistake of a seed."""
    return random.Random(f"plant {seed}").choice([(e, m) for e in EXERCISES for m in mistakes(e)])


def plant(seed: int) -> str:
    """A file of working code with one known mistake, to be found, named and mended."""
    exercise, mistake = planted(seed)
    ids = fill(", ".join(sorted(m.id for m in mistakes(exercise))), 114, break_on_hyphens=False)
    head = f"""Exercise {exercise.name}, of lesson {exercise.lesson}, with one mistake in it.

The code runs, and one thing in it is wrong.  Find it, mend it, and write its name in the line `found = ""` below:

{indent(ids, "    ")}

    python -m reference.lessons check plant_{seed}.py
"""
    return sheet(exercise, head, mistake.edits) + f'\n\nseed = {seed}  # which mistake it is: leave it\nfound = ""\n'
