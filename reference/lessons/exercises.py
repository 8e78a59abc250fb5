"""The exercises: functions of the library, each with a hole that a student fills.

An exercise names its holes and the conformance terms that they answer for.  The file that a student gets, the copy of
the library in which the student's functions work, and the known mistakes that can be made there are all taken from the
library's own text, so that none of them can go stale.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from ..conformance.cases import load
from ..conformance.make.mistakes import MISTAKES, UNSEEN, Mistake
from ..conformance.make.variants import ROOT, Edit


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
    also: tuple[str, ...] = ()
    """Known mistakes that can be made in the holes too, although the catalogue makes them elsewhere."""
    more: tuple[str, ...] = ()
    """Mistakes of the catalogue that the kit cannot name, but that lie in the holes and are noticed: to be planted."""
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
        "which the attack succeeded, where r = images − x, `images` after the attack and `x` before.",
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
        ("adversarial-perturbation", "nearest-class", *both("margin")),
        (
            Hole(METHOD("perturbations"), "steepest", "w"),
            Hole(METHOD("objectives"), "gradient_gaps"),
            Hole(METHOD("losses"), "margin_hinge", ""),
        ),
        more=("margin-includes-the-label", "margin-norm-over-classes", "margin-norm-not-dual"),
        also=("margin-gradient-detached",),
    ),
    Exercise(
        2,
        "newton",
        "How far is it to confidence C?  Write the gradient of log p_t by the image, and the step along it that takes "
        "the linearised log p_t to log C.  Autograd's `make_vjp(f)(x)` returns a function, v ↦ J(x)ᵀ v, and f(x).",
        "log p_t(x') + wᵀs = log C has many solutions, and the shortest is s = (log C − log p_t)·w/‖w‖²: one division "
        "by ‖w‖ makes w a direction, and the other turns the difference into a distance.  √ε keeps the step from "
        "becoming 0 just before the aim, and ε keeps the norm's derivative finite where w = 0.",
        ("attack-step", "attack", *both("critic")),
        (
            Hole(METHOD("generator"), "linearise_log_prob", ("targets", "targets", "x")),
            Hole(METHOD("generator"), "newton_step", "w"),
        ),
        also=("logarithm-of-softmax",),
    ),
    Exercise(
        3,
        "nearest",
        "Towards which class?  Write the distance to every other class, where f is linearised, and choose the nearest.",
        "A class with a high logit may be far away.  What counts is how fast the difference of the logits changes: "
        "|Δf|/‖Δ∇f‖.  Where the gradients' difference is 0 the class is out of reach, so it is infinitely far.",
        ("nearest-class",),
        (Hole(METHOD("targets"), "distances", "z"), Hole(METHOD("targets"), "nearest", "labels")),
    ),
    Exercise(
        3,
        "confidence",
        "How sure is sure?  Write the running mean, for each class, of the confidence of the examples that are "
        "predicted as that class.",
        "An exponential mean that starts at 0 is too small at first.  Dividing by 1 − decay^steps mends that, "
        "so that the first value is the batch mean itself.  A class absent from a batch has no mean; its stored value "
        "stands in.",
        ("confidence",),
        (Hole(METHOD("targets"), "RunningConfidence.update"),),
    ),
    Exercise(
        4,
        "unrolled",
        "How can a loop be a generator?  Write the attack that training differentiates: Newton's steps, one after the "
        "other, for each example until it has reached C.  Then choose C, which s.confidence names (“running”, "
        "“own”, or a number), and call the attack.",
        "θ enters through every step (through φ, w, n and p), and this is what trains the classifier.  The iterates "
        "are constants all the same (sg), so that the gradient does not run along the path.  The indicator is a "
        "product, because who has arrived stays; its rounding is the identity backwards, and the sigmoid keeps its "
        "slope.  The running mean C is a constant, whereas an example's own confidence is attached.",
        ("attack", *both("critic", "cycle")),
        (Hole(METHOD("generator"), "unrolled", "x"), Hole(METHOD("objectives"), "generate")),
        also=("tie-goes-on",),
    ),
    Exercise(
        5,
        "critic",
        "What is “real data of class j”?  Write the critic's losses, its gradient by the image and the penalty on "
        "that, and the objective, which adds up four terms.",
        "x̂ is judged as ŷ, the class it is taken for, since the critic has to tell what the classifier gets wrong.  "
        "All attacks count, failed ones too.  The penalty takes one norm for each example, at data and at attacked "
        "images, and shares the noise of the loss, because both are about the same function.",
        ("critic-gradient", *both("real", "fake", "penalty")),
        (
            Hole(METHOD("losses"), "real_loss", ""),
            Hole(METHOD("losses"), "fake_loss", ""),
            Hole(METHOD("losses"), "gradient_penalty", ""),
            Hole(METHOD("critic"), "input_gradient", "x"),
            Hole(METHOD("objectives"), "critic_objective", Names(("real", "fake", "penalty_real", "penalty_fake"))),
        ),
        more=("penalty-of-attacked-images-at-interpolates", "noise-of-the-other-pass"),
        also=("penalty-at-real-only", "penalty-at-attacked-only", "penalty-at-interpolates", "noise-off"),
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
        more=("cycle-towards-what-it-is",),
        also=("kept-divided-by-n", "logarithm-of-softmax"),
    ),
    Exercise(
        6,
        "batch",
        "In which order?  Write one batch of training: running confidence, attack, critic step (s.critic_steps "
        "times), classifier step.  Call `steps.ClassifierStep`, `steps.critic_step` and `steps.adam_step`; "
        "`critic_step` and `ClassifierStep.gradient` return (terms, gradient).  Put the new weights, moments and "
        "confidence into `state`.  Draw the critic's noise in the order real, attacked, classifier.  Return a dict of "
        "the terms' numbers; it is not graded.",
        "C already holds this batch, and the target is the class nearest to the prediction.  The critic goes first, at "
        "the same θ, so that the classifier is judged by a critic that has seen these very images.  The attack is not "
        "made again for it: same x̂, same C.",
        ("training-step",),
        (Hole("experiment/train.py", "critic_batch", pure=False),),
        more=("noise-off-for-the-classifier", "confidence-updated-late", "moments-forgotten"),
        also=(
            "stale-confidence",
            "confidence-by-label",
            "targets-relative-to-the-label",
            "noise-off",
            "classifier-before-the-critic",
            "adam-restarted",
            "adam-beta1-0.9",
        ),
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
        "tangent, and the two of the attack's reverse, which also collect the weights' gradients.  `backward` returns "
        "its signals, and writes them into `room` too where that is given.  In `tangents` and `signals` the rows `at` "
        "of self.h and self.delta are meant, and the products of the first layer are added elsewhere.",
        "⟨v, w⟩ = ⟨J v, s⟩ is linear in each layer's weights.  To the left of W_l stands the tangent τ, and "
        "to the right of it the signal δ: hence τᵀδ, without biases, as they do not occur in J.  The ordinary pass "
        "adds hᵀρ for what reaches the logits.",
        ("input-gradient", "critic-gradient", *both("cross-entropy", "critic", "cycle", "penalty", "margin")),
        (
            Hole("by_hand/passes.py", "Pass.backward", pure=False),
            Hole("by_hand/passes.py", "Pass.tangent"),
            Hole("by_hand/passes.py", "weight_gradients"),
            Hole("by_hand/generator.py", "Stacks.tangents", pure=False),
            Hole("by_hand/generator.py", "Stacks.signals", pure=False),
        ),
        more=("by-hand-bias-signal", "by-hand-without-second-order"),
        also=("penalty-detached", "margin-gradient-detached"),
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


def find(hole: Hole, sources: Mapping[str, str] = MappingProxyType({})) -> Source:
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
    """The known mistakes that lie in the exercise's holes, and that its cases notice."""
    noticed = {name for case in load().values() if case.term in exercise.terms for name in case.mistakes}
    return tuple(m for m in MISTAKES if m.id in noticed and all(hole_of(exercise, edit) for edit in m.edits))


def plantable(exercise: Exercise) -> tuple[Mistake, ...]:
    """The mistakes of which one may be planted."""
    return (*mistakes(exercise), *(m for m in UNSEEN if m.id in exercise.more))


def known(exercise: Exercise) -> dict[str, Mistake]:
    """{id: mistake} of all that a student's answers are compared with."""
    own = {m.id for m in mistakes(exercise)}
    return {m.id: m for m in MISTAKES if m.id in own or m.id in exercise.also}


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
