"""A student's file, cut out of the library's text: signatures, docstrings, imports, and what the library has for them.

The same functions whole are the solution, and with a known mistake in them they are what `plant` hands out.
"""

from __future__ import annotations

import ast
import inspect
import random
from collections.abc import Sequence
from pydoc import locate
from textwrap import dedent, fill, indent
from typing import Any

from ..conformance.make.mistakes import Mistake
from ..conformance.make.variants import Edit, edited
from .exercises import EXERCISES, Exercise, Hole, Names, Source, find, names_in, parsed, plantable


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
    return (
        f'''"""{opening}
What the library has for it:

{indent("".join(filter(None, helps)), "    ")}"""

from __future__ import annotations

'''
        + "\n\n\n".join(["\n".join(lines), *functions])
        + "\n"
    )


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
    doc = doc if whole or inspect.isclass(found) else doc.partition("\n\n")[0]
    return f"{called}\n{indent(doc + fields(found), '    ')}\n"


def fields(found: Any) -> str:
    """A class's fields, those that have a docstring."""
    if not inspect.isclass(found):
        return ""
    (node,) = ast.parse(dedent(inspect.getsource(found))).body
    pairs = zip(node.body, node.body[1:])
    docs = [(field.target.id, inspect.cleandoc(doc.value.value)) for field, doc in pairs
            if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr)]  # fmt: skip
    return "".join(f"\n{name}: {doc}" for name, doc in docs)


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
    """The import lines that these functions need, with both NumPys; and the names of what they use of the library."""
    plain = {"import autograd.numpy as np", "import numpy as onp"}
    members: dict[str, set[str]] = {}
    used: dict[str, None] = {}
    own = {hole.name for hole in exercise.holes}
    for hole, source in zip(exercise.holes, found):
        module = ["reference", *hole.file.removesuffix(".py").split("/")]
        names = names_in([source.node]) - own
        for node in parsed(source.text).body:
            given = {a.asname or a.name: a for a in getattr(node, "names", ())}
            wanted = {name: ast.unparse(a) for name, a in given.items() if name in names}
            if isinstance(node, ast.Import):
                plain |= {f"import {part}" for part in wanted.values()}
                continue
            if isinstance(node, ast.ImportFrom):
                parents = module[: len(module) - node.level] if node.level else []
                place = ".".join(filter(None, (*parents, node.module)))
                parts = wanted
            else:
                defined = [getattr(node, "name", "")] + [getattr(t, "id", "") for t in getattr(node, "targets", ())]
                place, parts = ".".join(module), {name: name for name in defined if name in names}
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


def planted(seed: int) -> tuple[Exercise, Mistake]:
    """The exercise and the mistake of a seed."""
    return random.Random(f"plant {seed}").choice([(e, m) for e in EXERCISES for m in plantable(e)])


def plant(seed: int) -> str:
    """A file of working code with one known mistake, to be found, named and mended."""
    exercise, mistake = planted(seed)
    ids = fill(", ".join(sorted(m.id for m in plantable(exercise))), 114, break_on_hyphens=False)
    head = f"""Exercise {exercise.name}, of lesson {exercise.lesson}, with one mistake in it.

The code runs, and one thing in it is wrong.  Find it, mend it, and write its name in the line `found = ""` below:

{indent(ids, "    ")}

    python -m reference.lessons check plant_{seed}.py
"""
    return sheet(exercise, head, mistake.edits) + f'\n\nseed = {seed}  # which mistake it is: leave it\nfound = ""\n'
