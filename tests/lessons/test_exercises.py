"""Exercises: what is not done never passes, what is right does, known mistakes are named, nothing is given away."""

import ast
import csv
import io
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import reference
from reference.conformance.cases import flatten
from reference.conformance.diagnose import diagnose
from reference.conformance.judge import AdapterError, Result, local
from reference.conformance.make.variants import edited
from reference.lessons import desk, hints
from reference.lessons.__main__ import main
from reference.lessons.exercises import BY_NAME, EXERCISES, emptied, find, hole_of, known, mistakes, plantable
from reference.lessons.grading import Report, StudentError, Submission, ask, grade, read, written
from reference.lessons.questions import cases, drawn
from reference.lessons.sheets import function, imports, plant, planted, sheet

PLANTED = [(e, m) for e in EXERCISES for m in mistakes(e)]
MORE = [(e, m) for e in EXERCISES for m in plantable(e) if m.id in e.more]
DEAR = ("newton", "judge", "unrolled", "passes")


def here(path: Path, exercise, new=()) -> Report:
    """Grade in this process, which is quicker than in one of its own and can be looked into."""
    done = written(read(path))
    report = Report(path, exercise, [hole.name for hole in exercise.holes if not done.get(hole.name)])
    submission = Submission(path, exercise)

    def answers(method, inputs):
        try:
            return local(submission)(method, inputs)
        except StudentError as error:
            raise AdapterError(str(error)) from error

    try:
        ask(report, answers, new)
    finally:
        submission.copy.__exit__(None, None, None)
    return report


def answered_by(exercise, mistake) -> Report:
    """The report of a student who makes exactly this mistake, from the answers that the kit has stored for it."""
    report = Report(Path("mine.py"), exercise)
    for case in cases(exercise):
        wrong = case.mistakes.get(mistake.id)
        status = "passed" if wrong is None else "failed"
        report.results.append(Result(case, status, got=flatten(case.expected if wrong is None else wrong)))
    report.mistakes = [known(exercise)[name] for name in diagnose(report.results, "float64")]
    return report


@pytest.fixture
def write(tmp_path):
    def written_to(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written_to


# What is not done


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_an_empty_hole_is_not_done(exercise, write):
    path = write(sheet(exercise))
    (report,) = grade(path)
    assert report.exercise == exercise and report.undone == [hole.name for hole in exercise.holes]
    assert not report.passed and report.status == "not done"
    assert main(["check", str(path)]) == 1


def test_one_function_of_an_exercise_is_never_a_pass(write):
    empty = 'mean_i (‖∇_x D(x_i)‖ − 1)²: the norm per example, inside the mean.  `gradients` (n, d)."""\n    '
    text = sheet(BY_NAME["critic"], edits=())
    start = text.index(empty) + len(empty)
    for body in ("...", "pass", "raise NotImplementedError"):
        path = write(text[:start] + body + text[text.index("\n", start) :])
        report = here(path, BY_NAME["critic"])
        assert report.undone == ["gradient_penalty"] and report.status == "not done" and not report.passed
    one = text[text.index("def real_loss") : text.index("def fake_loss")]
    report = here(write(f"from reference.method.numerics import *\n{one}"), BY_NAME["critic"])
    assert not report.passed and report.status == "not done" and len(report.undone) == 4


def test_a_stub_that_raises_when_called_is_not_done(write):
    text = "def steepest(w, geometry):\n    if len(w):\n        raise NotImplementedError\n"
    report = here(write(text), BY_NAME["worst"])
    assert report.status == "not done" and not report.passed


# What is right


def test_a_network_without_gradients_is_asked_about_too(write):
    text = """import numpy as np
def distances(z, gaps, labels):
    away = np.abs(z - z[np.arange(len(z)), labels][:, None]) / gaps
    away[np.arange(len(z)), labels] = np.inf
    return away
def nearest(z, away, labels):
    return away.argmin(axis=1)
"""
    with np.errstate(divide="ignore", invalid="ignore"):
        report = here(write(text), BY_NAME["nearest"])
    wrong = [r.case for r in report.results if r.status == "failed"]
    assert report.status == "fail" and wrong and all("no-gradient" in case.flags for case in wrong)
    assert "every input gradient is 0 there.  What should happen there" in " ".join(hints.told(report).split("\n  "))
    text = sheet(BY_NAME["newton"], edits=()).replace("phi / n) * w / n", "phi / n) * w / np.sqrt(n * n - eps)")
    with np.errstate(divide="ignore", invalid="ignore"):
        told = hints.told(here(write(text), BY_NAME["newton"]))
    assert "nan or infinite.  Half of the images are so dark" in told


def test_the_report_names_the_geometry(write):
    text = sheet(BY_NAME["worst"], edits=())
    wrong = text.replace("else onp.sign(w)", "else onp.sign(w) * 0.9")
    told = hints.told(here(write(wrong), BY_NAME["worst"]))
    assert "wrong: adversarial perturbation in L∞\n" in told


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_librarys_own_functions_pass(exercise, write):
    report = here(write(sheet(exercise, edits=())), exercise)
    assert report.passed, hints.told(report)
    assert len(report.results) == len(cases(exercise)) > 0


@pytest.mark.parametrize("name", ["critic", "newton", "confidence"])
def test_it_is_the_students_code_that_is_asked(name, write, monkeypatch):
    exercise = BY_NAME[name]
    path = write(sheet(exercise, edits=()))

    def poisoned(*_, **__):
        raise AssertionError("the library's own function ran")

    for hole in exercise.holes:
        owner = reference
        for part in [*hole.file.removesuffix(".py").split("/"), *hole.path.split(".")[:-1]]:
            owner = getattr(owner, part)
        monkeypatch.setattr(owner, hole.name, poisoned)
        *_, changed = emptied(exercise)[0]
        assert ast.unparse(ast.Module(find(hole).body, [])) not in ast.unparse(ast.parse(changed))
    assert here(path, exercise).passed


def test_an_import_of_the_library_finds_the_copy_with_the_students_functions(write):
    text = sheet(BY_NAME["critic"], edits=())
    marker = "def fake_loss"
    probe = "import reference.method.losses as theirs\n\n\n"
    asked = "    assert theirs.real_loss.__globals__['__name__'] != 'reference.method.losses'\n"
    start = text.index("    real = critic.scores")
    report = here(write(text[:start].replace(marker, probe + marker) + asked + text[start:]), BY_NAME["critic"])
    assert report.passed, hints.told(report)


# What is wrong


KNOWN = [(e, m) for e in EXERCISES for m in known(e).values()]


@pytest.mark.parametrize("exercise, mistake", KNOWN, ids=lambda p: getattr(p, "id", None) or p.name)
def test_a_known_mistake_is_named_first_and_the_first_rung_gives_nothing_away(exercise, mistake):
    report = answered_by(exercise, mistake)
    assert not report.passed and report.mistakes[0].id == mistake.id
    first, second, third = (hints.told(report, rung) for rung in (1, 2, 3))
    for edit in mistake.edits if mistake.id not in exercise.also else ():
        line = hints.line(exercise, edit)
        assert "".join(line.split()) not in "".join(first.split()) and "".join(line.split()) in "".join(third.split())
    assert mistake.says not in " ".join(first.split()) and mistake.says in " ".join(second.split())
    assert "Why:" in third and "Why:" not in second
    assert mistake.id not in first


RUN = [p for p in PLANTED if p[0].name not in DEAR or p[1].id == "eps-outside-the-norm"]  # seen by one case alone
RUN += [p for name in DEAR for p in [p for p in PLANTED if p[0].name == name][::4]]


@pytest.mark.parametrize("exercise, mistake", RUN, ids=lambda p: getattr(p, "id", None) or p.name)
def test_a_mistake_put_into_a_hole_runs_and_is_named_first(exercise, mistake, write):
    report = here(write(sheet(exercise, edits=mistake.edits)), exercise)
    assert report.mistakes and report.mistakes[0].id == mistake.id, hints.told(report, 2)


@pytest.mark.parametrize(
    "name, right, wrong, mistake",
    [
        ("batch", "step.gradient(y, state.critic,", "step.gradient(y, before,", "classifier-before-the-critic"),
        ("batch", "step.attack(state.running,", "step.attack(old,", "stale-confidence"),
        ("batch", "step.confidence, step.predicted", "step.confidence, y", "confidence-by-label"),
        ("passes", "return tangents, v\n", "return [0 * t for t in tangents], v\n", "penalty-detached"),
    ],
)
def test_a_mistake_of_the_catalogue_is_named_where_it_is_made_in_other_lines(name, right, wrong, mistake, write):
    exercise = BY_NAME[name]
    text = sheet(exercise, edits=())
    assert text.count(right) == 1
    text = text.replace(right, wrong)
    first = "    step = steps.ClassifierStep"
    text = text.replace(first, f"    before, old = state.critic, state.running\n{first}")
    report = here(write(text), exercise)
    assert report.mistakes and report.mistakes[0].id == mistake, hints.told(report, 2)


def test_values_right_and_gradients_wrong_is_said(write):
    text = sheet(BY_NAME["critic"], edits=())
    wrong = text.replace("norm(gradients)", "norm(stop_gradient(gradients))").replace(
        "import mean,", "import stop_gradient, mean,"
    )
    report = here(write(wrong), BY_NAME["critic"])
    assert "look for something attached or detached" in hints.told(report) and "--hint" in hints.told(report)


def test_the_readmes_report_is_what_a_student_sees(write):
    mistake = known(BY_NAME["judge"])["cycle-input-attached"]
    report = here(write(sheet(BY_NAME["judge"], edits=mistake.edits)), BY_NAME["judge"])
    readme = (Path(hints.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert hints.told(report) in readme


def test_an_unknown_mistake_says_so_and_is_shown_on_a_case_for_paper(write):
    text = sheet(BY_NAME["newton"], edits=())
    report = here(write(text.replace("+ phi / n) * w / n", "+ phi / n) * w / n * 1.37")), BY_NAME["newton"])
    assert not report.mistakes and "No known mistake" in hints.told(report)
    # by_hand/README.md: r = [-0.4187  0.1396], with ε = 0
    right, got = report.example.case.expected["attack_step"], report.example.got["attack_step"]
    assert right[0] == pytest.approx([-0.4187, 0.1396], abs=2e-4) and got == pytest.approx(1.37 * right)
    assert "-0.41" in hints.told(report, 2) and "-0.41" not in hints.told(report, 1)


def test_new_draws_of_the_numbers_tell_right_from_wrong(write):
    exercise = BY_NAME["nearest"]
    new = [case for case in drawn(1, seed=5) if case.term in exercise.terms]
    stored = {case.id: case for case in cases(exercise)}
    assert new and all(case.id not in stored for case in new)
    assert here(write(sheet(exercise, edits=())), exercise, new).passed
    text = sheet(exercise, edits=()).replace("away.argmin(axis=1)", "away.argmin(axis=1) * 0")
    assert not here(write(text), exercise, new).passed
    again = [case for case in drawn(1, seed=5) if case.term in exercise.terms]
    assert all((a.inputs["x"] == b.inputs["x"]).all() for a, b in zip(new, again, strict=True))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_an_exercise_needs_no_function_of_a_later_lesson(exercise):
    later = {hole.name for e in EXERCISES if e.lesson > exercise.lesson for hole in e.holes}
    _, used = imports(exercise, [find(hole) for hole in exercise.holes])
    assert not later & {name.rpartition(".")[2] for name in used}


# Planted mistakes


def test_a_plant_is_passed_when_it_is_mended_and_named(write):
    seed = next(s for s in range(1000) if planted(s)[0].name == "confidence")
    exercise, mistake = planted(seed)
    text = plant(seed)
    assert plant(seed) == text and mistake.id in text
    right, wrong = (function(hole, find(hole, s), True) for hole in exercise.holes for s in ({}, edited(mistake.edits)))
    assert wrong in text
    mended = text.replace(wrong, right)
    (report,) = grade(write(mended))
    assert report.status == "not named" and not report.passed
    (report,) = grade(write(mended.replace('found = ""', f'found = "{mistake.id}"')))
    assert report.passed
    (report,) = grade(write(text.replace('found = ""', f'found = "{mistake.id}"')))
    assert not report.passed and report.named


def test_seeds_reach_many_mistakes_and_every_plant_runs(write):
    assert len({planted(seed)[1].id for seed in range(300)}) > len(PLANTED) / 2
    for exercise, mistake in (p for p in PLANTED if p not in RUN):  # the others run in the tests that name them
        report = here(write(sheet(exercise, edits=mistake.edits)), exercise, cases(exercise)[:1])
        assert not report.problem and not report.count("error"), mistake.id


@pytest.mark.parametrize("exercise, mistake", MORE, ids=lambda p: getattr(p, "id", None) or p.name)
def test_a_plant_that_the_kit_cannot_name_fails_all_the_same(exercise, mistake, write):
    assert all(hole_of(exercise, edit) for edit in mistake.edits)
    report = here(write(sheet(exercise, edits=mistake.edits)), exercise)
    assert report.status == "fail" and mistake.id not in known(exercise)


def test_every_exercise_has_plants_and_the_lists_hold_no_name_that_is_gone():
    for exercise in EXERCISES:
        assert plantable(exercise)
        assert {m.id for m in plantable(exercise)} >= set(exercise.more)
        assert set(known(exercise)) >= set(exercise.also)


def test_a_plant_that_the_kit_cannot_name_has_its_hint(write, capsys):
    seed = next(s for s in range(1000) if planted(s)[1].id in BY_NAME["batch"].more)
    assert main(["check", str(write(plant(seed))), "--hint"]) == 1
    assert planted(seed)[1].says in " ".join(capsys.readouterr().out.split())


# A class


def spoiled(old, new):
    text = sheet(BY_NAME["newton"], edits=())
    assert text.count(old) == 1
    return text.replace(old, new)


RETURN = "return (math.sqrt(eps) + phi / n) * w / n"
MANNERS = {
    "prints": (spoiled("    phi =", "    print('phi', w.shape)\n    phi ="), "'phi (8, 6)'"),
    "exits": (spoiled("    phi =", "    exit()\n    phi ="), "calls exit() (line"),
    "wrong shape": (spoiled(RETURN, f"return ({RETURN[7:]})[0]"), "of shape (6,): expected (8, 6), the shape of w"),
    "changes its arguments": (spoiled("    phi =", "    w *= 1.5\n    phi ="), "changes its argument w in place"),
    "returns nothing": (spoiled(RETURN, "return"), "returns None"),
    "raises": (spoiled("    phi =", "    1 / 0\n    phi ="), "ZeroDivisionError: division by zero (line"),
    "too few": (spoiled("pick(p, targets), ", ""), "returns a tuple of 2: make it a tuple of 3"),
    "cannot be loaded": (spoiled("\ndef newton", "\n1 / 0\n\n\ndef newton"), "the file raises ZeroDivisionError"),
}


@pytest.mark.parametrize("name", MANNERS)
def test_bad_manners_cost_one_clear_line(name, write):
    text, says = MANNERS[name]
    report = here(write(text), BY_NAME["newton"])
    lines = {report.problem, *report.notes, *(r.text for r in report.results if r.status == "error")} - {""}
    assert len(lines) == 1 and says in next(iter(lines)) and "\n" not in next(iter(lines))
    assert report.passed == (name == "prints")


def test_a_loss_without_its_names_or_weights_is_told(write):
    text = sheet(BY_NAME["critic"], edits=())
    for old, new, says in (
        ('"real": (1, losses.real_loss(real, y))', '"real": losses.real_loss(real, y)', "no (weight, number) for real"),
        ('"penalty_real":', '"penalty":', "make it a dict with the names real, fake, penalty_real, penalty_fake"),
    ):
        assert says in hints.told(here(write(text.replace(old, new)), BY_NAME["critic"])).replace("\n  ", " ")


CLASS = {
    "endless": (spoiled("    phi =", "    while True: pass\n    phi ="), "took longer than 2 s"),
    "syntax": (spoiled("def newton_step(", "def newton_step(("), "not Python yet"),
    "dies": (spoiled("    phi =", "    import os; os._exit(3)\n    phi ="), "ended its process with exit code 3"),
    "no_exercise": ("a = 1\n", "none of its functions belongs to an exercise"),
    "right": (sheet(BY_NAME["nearest"], edits=()), ""),
}


def test_every_file_of_a_class_gets_its_own_line_and_its_own_result(write, tmp_path, capsys):
    paths = [str(write(text, f"{name}.py")) for name, (text, _) in CLASS.items()]
    assert main(["check", *paths, "--csv", "--timeout", "2", "--junit", str(tmp_path / "j.xml")]) == 1
    rows = {row["file"].removesuffix(".py"): row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert list(rows) == list(CLASS)
    for name, (_, says) in CLASS.items():
        assert says in rows[name]["note"] and "\n" not in rows[name]["note"]
        assert (rows[name]["status"] == "pass") == (name == "right")
    suites = {s.get("name").split(".")[0]: s for s in ElementTree.parse(tmp_path / "j.xml").getroot()}
    for name in CLASS:
        whole = suites[name].find("testcase[@name='done']")
        assert (whole.find("failure") is None) == (name == "right")


def test_a_check_does_not_wait_for_what_it_does_not_need():
    """SciPy's statistics and matplotlib would make the answer take twice as long, in either process."""
    code = (
        "import sys, reference.lessons.__main__ as m; sys.exit(bool({'scipy.stats', 'matplotlib'} & set(sys.modules)))"
    )
    root = Path(reference.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_the_command_line(tmp_path, capsys):
    folder = tmp_path / "work"
    assert main(["exercise", "3", "--out", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["confidence.py", "nearest.py"]
    mine = (folder / "nearest.py").read_text(encoding="utf-8")
    assert main(["exercise", "nearest", "--out", str(folder)]) == 2  # work that is there is kept
    assert (folder / "nearest.py").read_text(encoding="utf-8") == mine
    assert main(["exercise", "nonsense"]) == 2 and "choose a lesson" in capsys.readouterr().err
    assert main(["check", str(folder / "absent.py")]) == 2
    assert main(["check", str(folder / "nearest.py"), "--random", "0"]) == 2
    assert main(["plant", "--seed", "4", "--out", str(folder)]) == 0
    assert main(["exercise"]) == 0
    listed = capsys.readouterr().out
    assert all(exercise.name in listed for exercise in EXERCISES)
    assert main(["exercise", "newton", "--solution"]) == 0
    solution = capsys.readouterr().out
    assert "Why:" in solution and RETURN in solution
    assert set(desk.COMMANDS) == {"exercise", "check", "plant"}
