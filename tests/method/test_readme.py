"""The table against the authors' code is true: its functions and tests exist, and the tests name the functions."""

import ast
import re
from pathlib import Path

import pytest

from reference import method

ROOT = Path(method.__file__).parents[2]
PAGE = Path(method.__file__).with_name("README.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|").split("|")]
    for line in PAGE.split("## Against the paper")[1].splitlines()
    if line.startswith("| ") and not line.startswith("| what")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_function_file_and_test_exist(row):
    _, function, file, test, *_ = row
    tree = ast.parse((ROOT / "reference" / file).read_text(encoding="utf-8"))
    assert len(row) == 6 and all(row)
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert re.search(rf"\b{function}\b", (ROOT / "tests" / test).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\b(\w+)\.(\w+(?:\.\w+)?)(?=[,\s`])", PAGE.split("```")[1]))))
def test_every_function_of_the_pseudocode_exists(name):
    module, attribute = name
    tree = ast.parse((ROOT / "reference" / "method" / f"{module}.py").read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert attribute.split(".")[0] in defined
