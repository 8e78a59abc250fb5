"""The import rule: a folder of `reference/` imports only from folders before it."""

import ast
import sys
from pathlib import Path

import reference

ROOT = Path(reference.__file__).parent
ORDER = "errors plumbing data method attacks by_hand experiment conformance bench studies lessons __main__".split()


def imports(path: Path) -> set[tuple[str, ...]]:
    """What a file imports, as dotted names in parts: of `reference`, below it, with a leading "reference"."""
    package, found = ("reference", *path.relative_to(ROOT).parts[:-1]), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            found |= {(*base, alias.name) for alias in node.names}
    return found


def test_folders_import_only_from_folders_before_them():
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        allowed = [] if room == "__init__" else ORDER[: ORDER.index(room) + 1]
        for name in imports(path):
            assert name[0] != "unittest", f"{path.relative_to(ROOT)}: to replace parts is for tests"
            if name[0] == "reference":
                assert name[1] in allowed, f"{path.relative_to(ROOT)} imports {'.'.join(name)}"
            elif room == "method":
                assert name[0] in ("__future__", "autograd", "numpy", "collections", "dataclasses", "math", "typing")


def test_the_kit_needs_numpy_only():
    """What a user of the kit runs knows nothing of the library, but for what the definitions answer."""
    made = {("random_cases", "search"), ("random_cases", "write_random"), ("coverage", "report")}
    for path in (ROOT / "conformance").glob("*.py"):
        for name in imports(path) - {("reference", "conformance", "make", *name) for name in made}:
            if path.name == "pytest_plugin.py" and name == ("pytest",):
                continue
            if name[0] == "reference":
                assert name[1] in ("errors", "plumbing", "conformance") and "make" not in name, f"{path.name}: {name}"
            else:
                assert name[0] in sys.stdlib_module_names | {"numpy"}, f"{path.name}: {name}"
