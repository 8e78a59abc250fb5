"""Coverage of the mathematics: what of the definitions the cases ask.

    python -m reference.conformance coverage

A case shows facts, pairs (what, value), and whatever is named must take two values over all cases:

  argument  of a method, each value that matters: the answer is another one with a value that the kit asks elsewhere,
            or with the same rows in another order;
  null      of an argument that may be null: whether it is;
  output    truth values; and of every output, that the definitions return it and that a case compares it;
  branch    of a comparison, minimum, maximum or rounding in the definitions: which way it goes, for every caller of
            `numerics` separately;
  outcome   what no single line of the definitions shows (`OUTCOMES`).
"""

from __future__ import annotations

import ast
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...attacks.deepfool import deepfool
from ...errors import InputError
from ..adapter import CHOICES, Adapter
from ..adapters import ours
from ..adapters.evaluation import softmax
from ..cases import Case, flatten, tree_map
from ..judge import distance, question
from .closed_forms import logits, predicted
from .generate import SEEN
from .mistakes import CHOICES_AS_CHANGES
from .variants import ROOT, Edit, variant

Fact = tuple[str, Any]
OURS = "conformance.adapters.ours"

WATCHED = [f"method/{name}.py" for name in ("numerics", "network", "critic", "losses", "targets", "generator")]
WATCHED += [f"method/{name}.py" for name in ("perturbations", "objectives", "adam")]
WATCHED += [f"attacks/{name}.py" for name in ("deepfool", "high_confidence", "nearest")]

KINDS = {
    "argument": "arguments of the methods take two values that matter",
    "null": "arguments that may be null are null, and are not",
    "output": "truth values are both, and outputs are compared",
    "branch": "comparisons in the definitions go both ways",
    "outcome": "outcomes happen, and do not",
}
LEFT_OUT = {
    "argument running_confidence.y": "it must not matter: a class's mean is over what is predicted as that class",
    "argument training_step.u": "it is for one choice, and the critic's own cases ask it there",
    "output carlini_wagner.images is compared": "its distances are",
    "output carlini_wagner.norms is compared": "the kit computes them",
    "output carlini_wagner.success": "without success it takes 9,000 iterations",
    "branch attacks/deepfool.py, deepfool: targets is not None": "targets are not asked",
    "branch attacks/deepfool.py, deepfool: targets is None": "targets are not asked",
    "branch attacks/deepfool.py, step: targets is None": "targets are not asked",
    "branch attacks/high_confidence.py, high_confidence: targets is None": "targets are not asked",
    "branch attacks/nearest.py, boundaries: model.gaps is not None": "a short cut, which `by_hand` takes",
    'branch method/generator.py, unrolled: gradient != "full"': "a choice, with cases of its own",
    'branch method/generator.py, unrolled: gradient == "detached"': "a mistake, which cases name",
    "branch method/numerics.py, masked_mean: max(int(onp.sum(mask)), 1), for ours.py, Definitions.robustness": (
        "ρ over no success is not defined"
    ),
}
"""{what takes one value only: why}"""
LEFT_OUT |= {
    f"argument trajectory.{name}": "it is training_step, several times"
    for name in inspect.signature(Adapter.trajectory).parameters
}


def _aimed_at(q, a, definitions):
    """Of the classes predicted in a batch, which are the target of another example."""
    params = q["state"]["params"]
    classes = predicted(params, q["x"])
    return np.isin(classes, definitions.nearest_class(params, q["x"], classes, "l2"))


def _straight(q, a, definitions):
    """Whether images that end elsewhere than their labels are those of steps to the class that was nearest at first."""
    first = definitions.nearest_class(q["params"], q["x"], q["labels"], "l2")
    fixed = deepfool(ours.method.model(q["params"]), q["x"], q["labels"], targets=first).images
    return (np.abs(fixed - a["images"]).max(axis=1) < 1e-6)[a["success"]]


def _early(q, a, definitions):
    """Of images that are not yet of their target's class, whether that has the confidence C given."""
    if q["C"] is None:
        return []
    z = logits(q["params"], q["x"])
    t = definitions.nearest_class(q["params"], q["x"], q["labels"], "l2")
    return (softmax(z)[np.arange(len(z)), t] >= q["C"])[z.argmax(axis=1) != t]


OUTCOMES: dict[str, tuple[str, Callable[[dict, dict, Any], Any]]] = {
    "C is below ½ where the attack moves": ("attack", lambda q, a, _: (q["C"] < 0.5)[a["mask"].any(axis=0)]),
    "the attack ends in its target": (
        "attack",
        lambda q, a, _: predicted(q["params"], a["trace"][-1]) == q["targets"],
    ),
    "a class predicted in training is aimed at": ("training_step", _aimed_at),
    "DeepFool's label is the prediction": ("deepfool", lambda q, a, _: predicted(q["params"], q["x"]) == q["labels"]),
    "DeepFool ends in the class that was nearest at first": (
        "deepfool",
        lambda q, a, definitions: (
            predicted(q["params"], a["images"]) == definitions.nearest_class(q["params"], q["x"], q["labels"], "l2")
        )[a["success"] & (a["images"] != q["x"]).any(axis=1)],
    ),
    "the high-confidence attack's target has C before it is the highest": ("high_confidence", _early),
    "DeepFool's image is that of steps towards the class that was nearest at first": ("deepfool", _straight),
    "the box holds a pixel of DeepFool's": ("deepfool", lambda q, a, _: np.isin(a["images"], (0, 1))),
    "the box holds a pixel of the high-confidence attack's": (
        "high_confidence",
        lambda q, a, _: np.isin(a["images"], (0, 1)),
    ),
}
"""{what: (method, a function of the inputs, the answer and the definitions -> truth values)}"""


def facts(cases: Iterable[Case]) -> dict[str, set[Fact]]:
    """{id: what the case shows}"""
    cases = list(cases)
    found: dict[str, set[Fact]] = {}
    done: set[str] = set()
    with ExitStack() as stack, np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of attacks without a gradient
        definitions = {
            choice: stack.enter_context(variant(CHOICES_AS_CHANGES[choice].edits if choice else ()))(OURS).method
            for choice in {None, *map(chosen, cases)}
        }
        watched, seen = stack.enter_context(watching())
        shown: dict[tuple, tuple[dict, set[Fact]]] = {}
        for case in cases:
            asks = (chosen(case), *question(case))
            if asks not in shown:
                seen.clear()
                right = answer(definitions[asks[0]] if asks[0] else watched, case.call, case.inputs)
                mine = {*seen, *arguments(case, right, cases, definitions[asks[0]], done)}
                if asks[0] is None:
                    for what, (call, happens) in OUTCOMES.items():
                        if call == case.call:
                            mine.update(
                                (f"outcome {what}", bool(v))
                                for v in np.ravel(happens(case.inputs, right, definitions[None]))
                            )
                shown[asks] = right, mine
            right, mine = shown[asks]
            found[case.id] = mine | set(outputs(case, right))
    return found


def chosen(case: Case) -> tuple[str, str] | None:
    """The choice other than the default for which a case is made."""
    return next((c for c in case.requires.items() if CHOICES[c[0]][0] != c[1]), None)


def answer(adapter, call: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    raw = getattr(adapter, call)(**inputs)
    return raw if isinstance(raw, dict) else {call: raw}


def outputs(case: Case, right: Mapping[str, Any]) -> Iterator[Fact]:
    for name, value in right.items():
        yield f"output {case.call}.{name} is compared", False
        if np.asarray(flatten(value, "v").popitem()[1]).dtype == bool:
            yield from ((f"output {case.call}.{name}", bool(v)) for v in np.unique(value))
    yield from ((f"output {case.call}.{name} is compared", True) for name in case.expected)


# Arguments ----------------------------------------------------------------------------------------------------


def entries(inputs: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """{path: value}: the arguments; those of a state one by one."""
    return {
        path: value
        for name, whole in inputs.items()
        for path, value in (
            {(name, key): part for key, part in whole.items()} if isinstance(whole, dict) else {(name,): whole}
        ).items()
    }


def replaced(inputs: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """The inputs with another value in one place."""
    name, *inner = path
    return {**inputs, name: replaced(inputs[name], inner, value) if inner else value}


def key(value: Any) -> Any:
    """What tells one value from another."""
    return (
        value if value is None or isinstance(value, str) else tuple(a.tobytes() for a in flatten(value, "v").values())
    )


def arguments(case: Case, right: Mapping[str, Any], cases: Sequence[Case], adapter, done: set[str]) -> Iterator[Fact]:
    """The values that matter of a case's arguments.  done: the arrays that did in a case before, which is enough."""
    like = [other.inputs for other in cases if other.call == case.call and other is not case]
    for path, value in entries(case.inputs).items():
        name = f"argument {case.call}.{'.'.join(path)}"
        if "None" in inspect.signature(getattr(Adapter, case.call)).parameters[path[0]].annotation:
            yield name.replace("argument", "null"), value is None
        if name in done or case.call == "trajectory":
            continue
        values = {key(v): v for inputs in like for v in [entries(inputs)[path]] if shapes(v) == shapes(value)}
        if isinstance(value, np.ndarray | list) and flatten(value, "v"):
            turned = tree_map(lambda a: np.roll(a, 1, axis=0), value)
            values = {"another order": turned, **values}
        for other, v in values.items():
            if other != key(value) and differs(adapter, case, right, replaced(case.inputs, path, v)):
                yield name, key(value)
                if other == "another order":
                    yield name, other
                    done.add(name)
                break


def shapes(value: Any) -> Any:
    return None if value is None else str if isinstance(value, str) else [a.shape for a in flatten(value, "v").values()]


def differs(adapter, case: Case, right: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
    """Whether the answer to a case is another one with these inputs."""
    try:
        other = flatten(answer(adapter, case.call, inputs))
    except (InputError, ValueError, ArithmeticError, IndexError):  # outside of what is defined
        return False
    right = flatten(right)
    return any(a.shape != other[name].shape for name, a in right.items()) or distance(other, right) > SEEN


# Branches -----------------------------------------------------------------------------------------------------


class Watch(ast.NodeTransformer):
    """Puts WATCH around every comparison, and around every minimum, maximum and rounding."""

    def __init__(self, file: str, source: str):
        self.file, self.source, self.function = file, source, ""

    def visit_FunctionDef(self, node):
        outer, self.function = self.function, node.name
        self.generic_visit(node)
        self.function = outer
        return node

    def watch(self, kind: str, node: ast.expr, *arguments: ast.expr) -> ast.expr:
        text = " ".join(ast.get_source_segment(self.source, node).split())
        site = ast.Constant(f"{self.file}, {self.function}: {text}")
        return ast.Call(ast.Name("WATCH", ast.Load()), [site, ast.Constant(kind), *arguments], [])

    def visit_Compare(self, node):
        self.generic_visit(node)
        return self.watch("compare", node, node)

    def visit_Call(self, node):
        self.generic_visit(node)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("minimum", "maximum", "max", "min") and len(node.args) == 2 and not node.keywords:
            return self.watch("pick", node, node.func, *node.args)
        return self.watch("round", node, node) if name == "round" else node

    def visit_arguments(self, node):
        return node  # nothing of it runs when the function does


def instrumented() -> Iterator[Edit]:
    for file in WATCHED:
        source = (ROOT / file).read_text(encoding="utf-8")
        tree = Watch(file, source).visit(ast.parse(source))
        yield file, source, ast.unparse(ast.fix_missing_locations(tree))


@contextmanager
def watching():
    """-> (the definitions, the facts of the branches that they take)"""
    seen: set[Fact] = set()

    def watch(site: str, kind: str, *values):
        if kind == "pick":
            f, a, b = values
            value, sides = f(a, b), np.unique(a < b)
        else:
            (value,) = values
            sides = np.unique(np.asarray(getattr(value, "_value", value)) > 0)
        if site.startswith("method/numerics.py"):
            site = f"{site}, for {caller()}"
        seen.update((f"branch {site}", bool(side)) for side in sides)
        return value

    with variant(list(instrumented())) as load:
        adapter = load(OURS).method
        for file in WATCHED:
            load(file.removesuffix(".py").replace("/", ".")).WATCH = watch
        yield adapter, seen


def caller() -> str:
    """The function of this package, outside of `numerics`, that is running."""
    frame = sys._getframe(2)
    while not frame.f_code.co_filename.startswith(str(ROOT)) or frame.f_code.co_filename.endswith("numerics.py"):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}, {frame.f_code.co_qualname}"


# What is missing ----------------------------------------------------------------------------------------------


def asked(found: Mapping[str, set[Fact]], left_out: Iterable[str] = ()) -> dict[str, set]:
    """{what: its values}, of all that can be asked; without what the cases of the ids `left_out` show."""
    values: dict[str, set] = {
        f"{kind} {method}.{name}": set()
        for method, f in vars(Adapter).items()
        if inspect.isfunction(f) and not method.startswith("_")
        for name, about in inspect.signature(f).parameters.items()
        if name not in ("self", "state")
        for kind in (["argument", "null"] if "None" in about.annotation else ["argument"])
    }
    for id, mine in found.items():
        for what, value in mine:
            values.setdefault(what, set()).update([] if id in left_out else [value])
    return values


def gaps(values: Mapping[str, set]) -> list[str]:
    """What takes fewer than two values, and is not left out on purpose."""
    return sorted(what for what, taken in values.items() if len(taken) < 2 and what not in LEFT_OUT)


def report(cases: Iterable[Case]) -> tuple[str, bool]:
    """-> (how much of each kind takes two values, what does not, and why; whether nothing is missing)"""
    values = asked(facts(cases))
    lines, missing = [], gaps(values)
    for kind, about in KINDS.items():
        mine = [what for what in values if what.startswith(f"{kind} ")]
        done = sum(len(values[what]) > 1 for what in mine)
        lines.append(f"{kind:9s}{done:4d} of {len(mine):3d}   {about}")
    lines += ["", *(f"one value only: {what}: {why}" for what, why in LEFT_OUT.items() if what in values)]
    for what in missing:
        always = [value for value in values[what] if not what.startswith("argument")]
        lines.append(f"MISSING: {what}" + (f" is always {always[0]}" if always else ""))
    return "\n".join(lines) + "\n", not missing
