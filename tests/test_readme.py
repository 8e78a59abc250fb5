"""The README is true: its tour names functions and tests that exist, its snippet runs, its tables are files'."""

import ast
import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = TEXT.split("## A five-minute tour")[1].split("\n## ")[0]
RESULTS = TEXT.split("## What comes out")[1].split("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TOUR.splitlines()
    if line.startswith("|") and not line.startswith(("| equation", "|---"))
]


def defined(path: Path) -> set[str]:
    """The functions and classes at the top level of a Python file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_of_the_tour(row):
    """Function, file and test exist, and the test names the function."""
    _, function, file, test, *_ = (cell.strip("`") for cell in row)
    assert len(row) == 6 and all(row)
    assert function in defined(ROOT / file)
    assert re.search(rf"\b{function}\b", (ROOT / "tests" / test).read_text(encoding="utf-8"))


def test_the_tour_is_whole():
    """Every defence, every attack and both losses of the critic's game are in it."""
    functions = {row[1].strip("`") for row in ROWS}
    assert {
        "unrolled",
        "high_confidence",
        "deepfool",
        "carlini_wagner",
        "adversary_critic",
        "critic_objective",
    } <= functions
    assert {"adversarial_training", "virtual_direction", "margin_hinge", "robust_risk"} <= functions


def test_there_are_two_set_up_commands():
    commands = re.findall(r"^python3 -m venv .*$", TEXT, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith(" demo.py") and commands[1].endswith(" -m pytest")


def test_the_snippet_runs():
    failures, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert tried > 5 and failures == 0


def test_the_pictures_and_the_tables_are_the_gallery_s():
    """What the README shows is what the long runs wrote, line by line."""
    gallery = ROOT / "reference" / "gallery"
    pictures, shown = (re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text) for text in (TEXT, RESULTS))
    assert len(shown) == 4 and all((ROOT / picture).is_file() for picture in pictures)
    written = {line for path in gallery.glob("*.md") for line in path.read_text(encoding="utf-8").splitlines()}
    shown = [line for line in RESULTS.splitlines() if line.startswith("|")]
    assert len(shown) >= 3 * 7 and set(shown) <= written
