"""Writes the case files from the plain definitions, in float64, each value confirmed by a second route.

    python -m reference.conformance.make.generate            write reference/conformance/cases and mistakes.json
    python -m reference.conformance.make.generate --seek P   the first seed that fits problem P, after you changed it

Nothing is written unless every value stands: the steps by hand give it too, gradients agree with finite differences of
the losses (what is held constant replayed), what has a closed form with that, and smooth problems keep their margins.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from ...errors import InputError
from ...plumbing.command import Parser, answer
from ...plumbing.files import save_npz, write_text
from ..adapter import CHOICES
from ..cases import ARRAYS, FOLDER, TERMS, VERSION, cast, encode, flatten
from ..judge import TOLERANCE, distance
from . import closed_forms
from .mistakes import BY_ID, CHOICES_AS_CHANGES, MISTAKES, Mistake
from .problems import ASKS, POOL, PROBLEMS, Given, Problem, build
from .variants import Edit, running, touches, variant, where

MARGIN = 1e-3
AGREE = 1e-11
"""Of two routes, relative; finite differences: 1e-6."""
STEADY = 5e-5
"""How far float32 may move an answer, relative: half its tolerance."""
ALIKE = {"state": "training-step", "trajectory": "training-step"}
"""Terms that differ in the outputs only: a mistake is told by either, and kept once."""
SEEN = TOLERANCE["float64"]
"""How far a mistake must move an answer to be kept with the case, relative: whatever fails is kept."""

# The library with its constants recorded at θ and replayed elsewhere: a smooth function with the gradient that
# stop-gradients and straight-through rounding are meant to give.
HELD: list[Edit] = [
    ("method/numerics.py", "def relu(x):", "HOLD = None\n\n\ndef relu(x):"),
    ("method/numerics.py", 'in the paper\'s graph."""\n    return x', 'in the paper\'s graph."""\n    return HOLD(x)'),
    ("method/numerics.py", "    raw = stop_gradient(value)\n", "    return value\n    raw = value\n"),
    ("method/numerics.py", "return onp.round(x)", "return onp.round(HOLD(x)) + (x - HOLD(x))"),
]
# The library telling how near it comes to a kink or a tie.
PROBED: list[Edit] = [
    ("method/numerics.py", "def relu(x):", "def PROBE(v, gap=None):\n    NEAR(stop_gradient(v) if gap is None else gap)\n"
     "    return v\n\n\ndef relu(x):"),
    ("method/numerics.py", "    return onp.argmax(stop_gradient(z), axis=1)",
     "    top = onp.sort(stop_gradient(z), axis=1)\n    PROBE(z, top[:, -1] - top[:, -2])\n"
     "    return onp.argmax(stop_gradient(z), axis=1)"),
    ("method/network.py", "from .numerics import one_hot, relu", "from .numerics import PROBE, one_hot, relu"),
    ("method/network.py", "x = relu(x @ V + c)", "x = relu(PROBE(x @ V + c))"),
    ("method/critic.py", "from .numerics import leaky_relu, pick", "from .numerics import PROBE, leaky_relu, pick"),
    ("method/critic.py", "x = leaky_relu(x, slope)", "x = leaky_relu(PROBE(x), slope)"),
    ("method/generator.py", "from .numerics import (", "from .numerics import (\n    PROBE,"),
    ("method/generator.py", "sigmoid(confidence - p)",
     "sigmoid(PROBE(confidence - p, nonzero(confidence - p)))"),
    # The cycle of an example that never moved ties exactly, everywhere.
    ("method/generator.py", "def newton_step(",
     "def nonzero(v):\n    v = stop_gradient(v)\n    return v + (v == 0)\n\n\ndef newton_step("),
    ("method/targets.py", "from .numerics import one_hot, softmax", "from .numerics import PROBE, one_hot, softmax"),
    ("method/targets.py", "-onp.inf, z)\n    return onp.where(onp.isfinite",
     "-onp.inf, z)\n    PROBE(z, onp.diff(onp.sort(away, axis=1)[:, :2], axis=1))\n    return onp.where(onp.isfinite"),
    ("method/losses.py", "from .numerics import log_softmax,", "from .numerics import PROBE, log_softmax,"),
    ("method/losses.py", "return mean(pick(hinge, others.argmax(axis=1))",
     "top = onp.sort(others, axis=1)\n    PROBE(z, top[:, -1] - top[:, -2])\n"
     "    return mean(pick(hinge, others.argmax(axis=1))"),
    ("method/losses.py", "import autograd.numpy as np\n", "import autograd.numpy as np\nimport numpy as onp\n"),
]  # fmt: skip


def run(adapter, call: str, given: Given, arguments: dict[str, str], cache: dict):
    """The outputs of one method by name, computed once for all cases that ask for it."""
    key = (call, *arguments.items())
    if key not in cache:
        with np.errstate(all="ignore"):
            raw = getattr(adapter, call)(**{name: given[value] for name, value in arguments.items()})
        if "images" in (raw if isinstance(raw, dict) else ()):
            raw["norms"] = np.linalg.norm(raw["images"] - given["x"], axis=1)
        cache[key] = raw if isinstance(raw, dict) else {call: raw}
    return cache[key]


def asked(p: Problem) -> Iterator[tuple[str, str, str, tuple[str, ...], dict[str, str], str]]:
    """-> (id, term, method, outputs, {argument: given}, basis) of each case of a problem."""
    for term, suffix, replaced in p.specs:
        call, outputs, arguments, basis = ASKS[term]
        named = dict(part.split("=") if "=" in part else (part, part) for part in arguments.split())
        named |= replaced
        yield "-".join(filter(None, (p.name, term, suffix))), term, call, tuple((outputs or call).split()), named, basis


def answers(adapter, p: Problem, given: Given) -> dict[str, dict]:
    """{id: outputs} of all cases of a problem; None for what raises."""
    cache, found = {}, {}
    for id, _, call, outputs, arguments, _ in asked(p):
        try:
            raw = run(adapter, call, given, arguments, cache)
        except (InputError, ValueError, ArithmeticError):  # a mistake may lead outside of what is defined
            found[id] = None
            continue
        found[id] = {name: tidy(raw[name]) for name in outputs}
    return found


def tidy(value):
    """Arrays and layers with plain float64, int64 and bool leaves."""
    if isinstance(value, list):
        return [tuple(map(tidy, layer)) for layer in value]
    value = np.asarray(value)
    return value.astype({"f": np.float64, "i": np.int64, "u": np.int64, "b": bool}[value.dtype.kind])


def facts(adapter, given: Given) -> dict:
    """What the attack makes of the batch: what a problem's `fits` may look at."""
    params, x, C = given["params"], given["x"], given["value"][given["targets"]]
    predicted = adapter.logits(params, x).argmax(axis=1)
    attack = adapter.attack(params, x, given["targets"], C, 5, 0.05, 1e-8)
    x_hat = attack["trace"][-1]
    y_hat = adapter.logits(params, x_hat).argmax(axis=1)
    classifier = adapter.classifier_losses(
        params, noise=given["noise_fake"], **{name: given[name] for name in ("critic", "x", "y", "targets", "value")}
    )
    steps = np.diff(np.concatenate([x[None], attack["trace"]]), axis=0)
    lengths = np.linalg.norm(steps, axis=2)
    return dict(predicted=predicted, mask=attack["mask"], x_hat=x_hat, y_hat=y_hat, kept=y_hat != predicted,
                length=np.linalg.norm(x_hat - x, axis=1), cycle=classifier["cycle"],
                longest_step=lengths.max())  # fmt: skip


def margins(p: Problem, given: Given, probed) -> np.ndarray:
    """The smallest distance of each example to a kink or a tie in all that the problem's cases compute."""
    nearest = np.full(len(given["x"]), np.inf)

    def near(v):
        np.minimum(nearest, np.abs(v).reshape(len(v), -1).min(axis=1), out=nearest)

    probed("method.numerics").NEAR = near
    answers(probed("conformance.adapters.ours").method, p, given)
    return nearest


def rounding(adapter, p: Problem, given: Given, expected: dict) -> float:
    """How far float32 moves the answers; an ill-conditioned case would fail implementations that are right."""
    single = answers(adapter, p, cast(given, np.float32))
    return max(distance(flatten(single[id]), flatten(right)) for id, right in expected.items())


def confirm(p: Problem, given: Given, expected: dict, choices: dict[str, str], edits: Sequence[Edit] = ()) -> None:
    """Raise `AssertionError` unless a second route gives the expected answers too."""
    with variant([*HELD, *edits]) as held:
        for id, _, call, outputs, arguments, _ in asked(p):
            if id not in expected:
                continue
            inputs = {name: given[value] for name, value in arguments.items()}
            if call.endswith("_gradients") and not {"relu-at-zero", "s-empty", "zero-critic"} & set(p.flags):
                closed_forms.check_gradient(held, call, outputs[0], inputs, expected[id][outputs[0]], id)
            elif call in closed_forms.CLOSED:
                right = closed_forms.CLOSED[call](choices, **inputs)
                compare(id, {name: expected[id][name] for name in right}, right, p.tolerance or AGREE)


def compare(id: str, expected, other, tolerance: float) -> None:
    off = distance(flatten(other), flatten(expected))
    assert off <= tolerance, f"{id}: two routes differ by {off:.1e}"


def make(p: Problem, probed, variants: dict[str, object], arrays: dict[str, np.ndarray], seen: set) -> str:
    """The text of the file of one problem; large values go to `arrays`.

    variants: {id of a mistake: its adapters}, and "" for the definitions themselves.  seen: (term, mistake) of the
    smooth cases, whose answers a branch case need not keep too.
    """
    given = build(p)
    ours = variants[""]
    assert p.fits is None or p.fits(given, facts(ours.method, given)), (
        f"{p.name}: seed {p.seed} does not fit: --seek it"
    )
    with running() as ran:
        expected = answers(ours.method, p, given)
    by_hand = answers(ours.by_hand, p, given)
    # An approximate answer is slow, and tells no mistake from another.
    able = [m.id for m in MISTAKES if m.id in variants and touches(m.edits, ran)] if not p.tolerance else []
    if p.flags:
        about = {ALIKE.get(term, term) for term, *_ in p.specs}
        able = [id for id in able if BY_ID[id].choice or any((term, id) not in seen for term in about)]
    found = {name: answers(variants[name].method, p, given) for name in able}
    for id, right in expected.items():
        compare(id, by_hand[id], right, AGREE)
    confirm(p, given, expected, {})
    if not p.flags and all(TERMS[term][0] < 6 for term, _, _ in p.specs):  # evaluation ends on the boundary itself
        near = margins(p, given, probed).min()
        assert near >= MARGIN, f"{p.name}: a kink or a tie at {near:.1e}"
    off = rounding(ours.method, p, given, expected)
    assert off <= STEADY, f"{p.name}: float32 moves it by {off:.1e}"

    changed = {
        id: {name: wrong[id] for name, wrong in found.items() if moved(wrong[id], expected[id])} for id in expected
    }
    entries = []
    for row in asked(p):
        id, term, *_ = row
        told = ALIKE.get(term, term)
        new = {name: wrong for name, wrong in changed[id].items() if not p.flags or (told, name) not in seen}
        seen |= {(term, name) for name in new if not p.flags}
        entries.append(entry(p, row, expected[id], changed[id], new, arrays))
    for mistake in CHOICES_AS_CHANGES.values() if not p.flags else ():
        mine = {id: found[mistake.id][id] for id in expected if mistake.id in changed[id]}
        if not mine:
            continue
        confirm(p, given, mine, dict([mistake.choice]), mistake.edits)
        for row in asked(p):
            if row[0] in mine:
                other = {"default-instead-of-choice": expected[row[0]]}
                entries.append(entry(p, row, mine[row[0]], changed[row[0]], other, arrays, mistake.choice))
    attacked = any("targets" in e["inputs"].values() for e in entries)
    kept = int(sum(facts(ours.method, given)["kept"])) if attacked else 0
    return case_file(p, given, sizes(given) | {"kept": kept}, entries, arrays)


def sizes(given: Given) -> dict[str, int]:
    """What constant factors may be named by."""
    return {"n": given["x"].shape[-2], "d": given["x"].shape[-1], "k": len(given["params"][-1][1])}


def case_file(p: Problem, given: Given, sizes: dict[str, int], entries: Sequence[dict], arrays=None) -> str:
    """The text of a file of these cases; with `arrays`, large values go there."""
    used = sorted({name for e in entries for name in e["inputs"].values()})
    values = {name: encode(given[name], arrays, f"{p.name}/{name}") for name in used}
    about = {"version": VERSION, "problem": p.name, "about": p.about, "sizes": sizes}
    return dumps(about | {"given": values, "cases": entries}) + "\n"


def moved(wrong: dict | None, right: dict) -> bool:
    """Whether a mistake's answer is another one, and finite."""
    if wrong is None:
        return False
    wrong = flatten(wrong)
    same = all(wrong[name].shape == a.shape and np.isfinite(wrong[name]).all() for name, a in flatten(right).items())
    return same and distance(wrong, flatten(right)) > SEEN


def entry(p: Problem, row, expected, changed, mistakes, arrays, chosen: tuple[str, str] | None = None) -> dict:
    """One case as JSON: the definitions' own, or that of a declared choice.

    changed: what moves the answer, which says what choices the case depends on; mistakes: {id: answer} to keep.
    """
    id, term, call, outputs, arguments, basis = row
    requires = {m.choice[0]: CHOICES[m.choice[0]][0] for m in CHOICES_AS_CHANGES.values() if m.id in changed}
    if chosen:
        id, requires = "-".join([id, *chosen[0].lower().split(), chosen[1]]), requires | dict([chosen])
    size = {name: min(1.0, distance(flatten(wrong), flatten(expected))) for name, wrong in mistakes.items()}
    case = {
        "id": id,
        "level": TERMS[term][0],
        "term": term,
        "call": call,
        "must": True,
        "flags": list(p.flags),
        "requires": requires,
        "basis": basis,
        "distinguishes": p.about if p.flags else f"the definition from {len(mistakes)} known mistakes",
        "inputs": arguments,
        "expected": encode(expected, arrays, id),
        "mistakes": {n: encode(rounded(wrong, expected), arrays, f"{id}/{n}") for n, wrong in mistakes.items()},
        "smallest_distance": float(f"{min(size.values()):.3g}") if size else None,
    }
    return case | ({"tolerance": p.tolerance} if p.tolerance else {})


def rounded(wrong, right):
    """To the digits that a mistake is recognised by: a ten-thousandth of what it moves an array by, and five at least.

    An array that it does not move is the right one.
    """
    if isinstance(wrong, dict):
        return {name: rounded(part, right[name]) for name, part in wrong.items()}
    if isinstance(wrong, list | tuple):
        return type(wrong)(map(rounded, wrong, right))
    if wrong.dtype.kind != "f":
        return wrong
    way, size = np.abs(wrong - right).max(initial=0), np.abs(wrong).max(initial=0)
    if way <= 1e-12 * size:
        return right
    digits = int(np.clip(np.ceil(4 + np.log10(size / way)), 5, 17)) if size else 5
    return np.vectorize(lambda v: float(f"{v:.{digits}g}"), otypes=[float])(wrong)


def dumps(value, depth: int = 0) -> str:
    """JSON with a line for each array and each short object."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(line) <= 100 or (isinstance(value, dict) and "dtype" in value):
        return line
    pad, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict):
        return "{" + ",".join(f"{pad}{json.dumps(k)}: {dumps(v, depth + 1)}" for k, v in value.items()) + end + "}"
    if isinstance(value, list):
        return "[" + ",".join(pad + dumps(v, depth + 1) for v in value) + end + "]"
    return line


def catalogue() -> dict[str, dict[str, str]]:
    """The mistakes as data, for the runner."""
    return {
        m.id: {"title": m.title, "says": m.says, "where": where(m.edits[0]), "look": m.look} for m in MISTAKES
    } | {
        "default-instead-of-choice": {
            "title": "default instead of the declared choice",
            "says": "A declared choice is tested as declared.",
            "where": "reference/conformance/adapter.py, CHOICES",
            "look": "The adapter's `choices`.",
        }
    }  # fmt: skip


def generate(problems: Sequence[Problem] = PROBLEMS, mistakes: Sequence[Mistake] = MISTAKES) -> dict[str, object]:
    """{file name: its text, or its arrays} of all that `cases` reads."""
    arrays: dict[str, np.ndarray] = {}
    with ExitStack() as stack:
        probed = stack.enter_context(variant(PROBED))
        edits = {"": (), **{m.id: m.edits for m in mistakes}}
        loaded = {id: stack.enter_context(variant(e))("conformance.adapters.ours") for id, e in edits.items()}
        seen: set[tuple[str, str]] = set()
        made = {p.name: make(p, probed, loaded, arrays, seen) for p in sorted(problems, key=lambda p: bool(p.flags))}
        files: dict[str, object] = {f"{name}.json": text for name, text in made.items()}
    return files | {ARRAYS: arrays, "../mistakes.json": dumps(catalogue()) + "\n"}


def seek(name: str, tries: int = 200) -> tuple[int, tuple[int, ...]]:
    """The first seed, from the problem's own, and the rows with which it fits and keeps its margins."""
    p = next(p for p in PROBLEMS if p.name == name)
    with variant(PROBED) as probed:
        adapter = probed("conformance.adapters.ours").method
        for seed in range(p.seed, p.seed + 50):
            pool = replace(p, seed=seed, rows=tuple(range(POOL)), fits=None)
            good = np.flatnonzero(margins(pool, build(pool), probed) >= MARGIN) if not p.flags else np.arange(POOL)
            rng = np.random.default_rng(seed)
            for _ in range(tries if len(good) >= len(p.rows) else 0):
                rows = rng.permutation(good)[: len(p.rows)]
                candidate = replace(p, seed=seed, rows=tuple(rows.tolist()))
                given = build(candidate)
                probed("method.numerics").NEAR = lambda v: None
                if p.fits is not None and not p.fits(given, facts(adapter, given)):
                    continue
                near = np.inf if p.flags else margins(candidate, given, probed).min()
                probed("method.numerics").NEAR = lambda v: None
                if near >= MARGIN and rounding(adapter, candidate, given, answers(adapter, candidate, given)) <= STEADY:
                    return seed, candidate.rows
    raise InputError(f"no seed from {p.seed} to {seed} fits {name}")


def train_checkpoint() -> dict[str, np.ndarray]:
    """A small classifier trained with the adversary critic, ten test digits it knows and two that it does not."""
    from ...data import load
    from ...experiment.plans import DEMO, STUDIED
    from ...experiment.train import train
    from ...method.network import logits

    data = load(14)
    defence = replace(STUDIED["critic"], hidden=(32,))
    state = train(data, defence, replace(DEMO.training, hidden=(32,), epochs=30, halve_every=12))
    x, y = data.test
    right = logits(state.params, x).argmax(axis=1) == y
    rows = np.concatenate([np.flatnonzero(right)[:10], np.flatnonzero(~right)[:2]])
    layers = {f"{name}{i}": a for i, layer in enumerate(state.params) for name, a in zip("Wb", layer)}
    return layers | {"x": x[rows], "labels": y[rows].astype(np.int64)}


def execute(argv: Sequence[str] | None) -> None:
    """Write everything, or look for a seed."""
    parser = Parser(prog="python -m reference.conformance.make.generate", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seek", choices=[p.name for p in PROBLEMS], help="print the first seed that fits this problem"
    )
    parser.add_argument("--checkpoint", action="store_true", help="train the network of the problem digits again")
    args = parser.parse_args(argv)
    if args.checkpoint:
        save_npz(FOLDER / "checkpoint.npz", train_checkpoint())
    elif args.seek:
        seed, rows = seek(args.seek)
        print(f"seed {seed}, rows {rows}")
    else:
        try:
            files = generate()
        except AssertionError as error:
            raise InputError(f"nothing is written: {error}") from error
        for name, content in files.items():
            if isinstance(content, str):
                write_text(FOLDER / name, content)
            else:
                save_npz(FOLDER / name, content)
            print(name)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line -> the exit status."""
    return answer("reference.conformance.make.generate", lambda: execute(argv), "")


if __name__ == "__main__":
    sys.exit(main())
