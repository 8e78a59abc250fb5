"""The library with some of its lines changed, loaded beside the real one: wrong on purpose, or instrumented.

A variant is a second copy of the package under a name of its own, compiled from changed text; nothing is written to
disk, and the real package does not notice.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import count
from pathlib import Path

from ...errors import InputError

ROOT = Path(__file__).resolve().parents[2]
Edit = tuple[str, str, str]
"""(file below reference/, text that occurs in it exactly once, what to put in its place)"""

Location = tuple[str, int]
"""(file below reference/, first line of a function)"""

_numbers = count()


def edited(edits: Sequence[Edit]) -> dict[str, str]:
    """{file: changed source}; InputError if a text does not occur exactly once."""
    sources: dict[str, str] = {}
    for file, old, new in edits:
        source = sources.get(file) or (ROOT / file).read_text(encoding="utf-8")
        if source.count(old) != 1:
            raise InputError(f"{file} holds {source.count(old)} times, not once: {old!r}")
        sources[file] = source.replace(old, new)
    return sources


class _Loader(SourceFileLoader):
    """Loads a file of the package, or the changed text in its place."""

    finder: Finder

    def get_code(self, fullname):
        file = Path(self.path).relative_to(ROOT).as_posix()
        if file not in self.finder.sources:
            return super().get_code(fullname)
        self.finder.used.add(file)
        return compile(self.finder.sources[file], self.path, "exec")


class Finder:
    """For `sys.meta_path`: finds the package under the name `name`, with the edits in it.

    .used: the edited files that have been loaded.
    """

    def __init__(self, name: str, edits: Sequence[Edit] = ()):
        self.name, self.sources, self.used = name, edited(edits), set()

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] != self.name:
            return None
        place = ROOT.joinpath(*fullname.split(".")[1:])
        package = (place / "__init__.py").exists()
        file = place / "__init__.py" if package else place.with_suffix(".py")
        loader = _Loader(fullname, str(file))
        loader.finder = self
        search = [str(place)] if package else None
        return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=search)


@contextmanager
def variant(edits: Sequence[Edit] = ()):
    """A function module name -> module of the changed library: `load("conformance.adapters.ours")`."""
    name = f"reference_variant_{next(_numbers)}"
    found = Finder(name, edits)
    sys.meta_path.insert(0, found)
    try:
        yield lambda module: importlib.import_module(f"{name}.{module}")
    finally:
        sys.meta_path.remove(found)
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            del sys.modules[module]


def where(edit: Edit) -> str:
    """The function that an edit changes, and its first line: "objectives.py, judge: D = …"."""
    file, old, _ = edit
    source = (ROOT / file).read_text(encoding="utf-8")
    start = source.index(old)
    line = source.count("\n", 0, start + len(old) - len(old.lstrip())) + 1
    names = [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.lineno <= line <= node.end_lineno
    ]
    return f"reference/{file}, {'.'.join(names)}: {source.splitlines()[line - 1].strip()}"


def functions(edit: Edit) -> set[Location]:
    """The innermost functions that an edit changes lines of."""
    file, old, _ = edit
    source = (ROOT / file).read_text(encoding="utf-8")
    start = source.count("\n", 0, source.index(old)) + 1
    found = {}
    for node in ast.walk(ast.parse(source)):  # the outer ones first
        if isinstance(node, ast.FunctionDef):
            first = min(part.lineno for part in (node, *node.decorator_list))
            found |= dict.fromkeys(range(first, node.end_lineno + 1), first)
    return {(file, found[line]) for line in range(start, start + old.count("\n") + 1) if line in found}


def touches(edits: Sequence[Edit], ran: set[Location]) -> bool:
    """Whether edits may change what comes of a call in which these functions ran."""
    changed = [functions(edit) for edit in edits]
    return not all(changed) or bool(ran & set().union(*changed))


@contextmanager
def running():
    """-> the functions of the package, or of a variant, that run meanwhile."""
    ran: set[Location] = set()

    def notice(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            ran.add((Path(frame.f_code.co_filename).relative_to(ROOT).as_posix(), frame.f_code.co_firstlineno))

    sys.setprofile(notice)
    try:
        yield ran
    finally:
        sys.setprofile(None)
