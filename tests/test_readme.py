"""The README is true: its snippet runs, its table is made from the gallery's record, its map has every folder."""

import doctest
import json
import re
from pathlib import Path

import reference
from reference.experiment.tables import in_short
from reference.studies import study

ROOT = Path(reference.__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
RECORDS = ROOT / "reference" / "gallery"
GALLERY = (RECORDS / "README.md").read_text(encoding="utf-8")


def test_there_are_two_set_up_commands():
    commands = re.findall(r"^python3 -m venv .*$", TEXT, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith(" demo.py") and commands[1].endswith(" -m pytest")


def test_the_snippet_runs():
    failures, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False, encoding="utf-8")
    assert tried > 5 and failures == 0


def test_the_results_are_those_of_the_records():
    for name, page in (("table-paper.json", TEXT), ("table-full.json", GALLERY), ("table.json", GALLERY)):
        assert in_short(json.loads((RECORDS / name).read_text(encoding="utf-8"))) in page


def test_the_leads_are_those_of_the_records():
    """Each "0.016 [0.013, 0.020]" of the results is a difference to some defence, by `strongest` or by all attacks."""
    found = set()
    for name in ("crosscheck-full-strong.json", "crosscheck-paper.json"):
        for lead in json.loads((RECORDS / name).read_text(encoding="utf-8"))["leads"].values():
            nearest = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**lead["nearest of all"])
            found.add(nearest.replace("-", "−"))
    for name in ("table.json", "table-robust.json", "table-full.json", "table-paper.json"):
        for rival in json.loads((RECORDS / name).read_text(encoding="utf-8"))["over_seeds"].values():
            if "critic_less_this" in rival["strongest"]:
                lead = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**rival["strongest"]["critic_less_this"])
                found.add(lead.replace("-", "−"))
    said = re.findall(r"[\d.]+ \[[−\d.]+, [\d.]+\]", TEXT + GALLERY)
    assert said and set(said) <= found


def test_what_is_said_of_the_choices_within_the_attack_is_their_record():
    """Where a paragraph or row names the study, each of its numbers like 0.018 is the mean ρ of one of its cases."""
    groups = study.by_name(study.read(study.SHIPPED / "choices.json")["records"])
    means = {study.mean(group, "strongest", 3) for group in groups.values()}
    method = (ROOT / "reference" / "method" / "README.md").read_text(encoding="utf-8")
    for page in (TEXT, method, GALLERY):
        parts = [part for part in re.split(r"\n\n|\n(?=[-|] ?)", page) if "studies/choices.md" in part]
        said = re.findall(r"0\.\d{3}", " ".join(parts))
        assert said and set(said) <= means


def test_what_the_gallery_computes():
    failures, tried = doctest.testfile(str(RECORDS / "README.md"), module_relative=False, encoding="utf-8")
    assert tried > 5 and failures == 0


def test_what_is_linked_is_there():
    for page in [ROOT / "README.md", *ROOT.glob("reference/**/README.md"), *ROOT.glob("tests/**/README.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_the_map_has_every_folder():
    rows = re.findall(r"^\| \[`(\w+)/`\]", TEXT, re.MULTILINE)
    folders = {path.name for path in (ROOT / "reference").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert sorted(rows) == sorted(folders)
