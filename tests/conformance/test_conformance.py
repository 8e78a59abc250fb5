"""The conformance kit: its cases, its gates, its diagnosis, its command line."""

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from kit import CASES, GOOD, call

from reference.conformance import live
from reference.conformance.adapter import CHOICES, Adapter
from reference.conformance.adapters import ours
from reference.conformance.adapters.evaluation import Evaluation
from reference.conformance.cases import (
    FOLDER,
    TERMS,
    cast,
    catalogue,
    decode,
    flatten,
    load,
    read,
)
from reference.conformance.diagnose import diagnose
from reference.conformance.judge import TOLERANCE, Missing, Plain, calls, distance, judge, local
from reference.conformance.make import coverage, generate, measure, random_cases
from reference.conformance.make.mistakes import BY_ID, CATALOGUE, MISTAKES, REWRITES, UNSEEN
from reference.conformance.make.variants import edited, functions, variant, where
from reference.errors import InputError
from reference.plumbing.files import load_npz

SMOOTH = [c for c in CASES.values() if not c.flags and c.level < 6]
pytestmark = pytest.mark.filterwarnings("ignore::reference.attacks.model.AttackWarning")


def judged(adapter, dtype="float64", cases=None, choices=None):
    """-> (statuses other than passed and skipped, results)"""
    with np.errstate(all="ignore"):
        results = judge(CASES.values() if cases is None else cases, calls(local(adapter), dtype), choices or {}, dtype)
    return {r.case.id: (r.status, r.error) for r in results if r.status not in ("passed", "skipped")}, results


# The adapters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ["ours:method", "ours:by_hand", "pytorch_adapter", "jax_adapter"])
def test_the_adapters_pass(name, dtype):
    if library := {"pytorch_adapter": "torch", "jax_adapter": "jax"}.get(name):
        pytest.importorskip(library, reason=f"{library} is optional")
    wrong, results = judged(live.load(f"reference.conformance.adapters.{name}"), dtype)
    assert not wrong
    assert {r.case.term for r in results if r.status == "passed"} == set(TERMS)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_carlini_and_wagner_s_attack_twice(dtype):
    """Written twice, in the library and for the adapters: four classes, some labels wrong, the same distances."""
    inputs = cast(CASES["evaluation-deepfool"].inputs, dtype)

    class Other(Evaluation):
        logits, input_gradient = map(staticmethod, (ours.by_hand.logits, ours.by_hand.input_gradient))

    found = [adapter.carlini_wagner(**inputs) for adapter in (ours.by_hand, Other())]
    a, b = (np.linalg.norm(result["images"] - inputs["x"], axis=1) for result in found)
    assert found[0]["success"].all() and found[1]["success"].all() and found[1]["images"].dtype == dtype
    assert a.max() > 0.1 and np.abs(a - b).max() < 1e-5  # six search steps, not nine: 5e-5


@pytest.mark.parametrize(
    "name", ["attack-detached", "iterates-not-detached", "cycle-input-attached", "kept-divided-by-n", "adam-eps-inside"]
)
def test_mistakes_planted_in_pytorch_are_named(name):
    pytest.importorskip("torch", reason="PyTorch is optional")
    failed, named = measure.planted(measure.PYTORCH[name])
    assert failed and named[0] == name


@pytest.mark.parametrize("name", ["last-not-best", "constant-not-bisected"])
def test_a_worse_search_of_carlini_and_wagner_s_fails(name):
    (edits,) = (m.edits for m in UNSEEN if m.id == name)
    with variant(edits) as changed:
        adapter = changed("conformance.adapters.ours").by_hand
        assert judged(adapter, cases=[c for c in CASES.values() if c.call == "carlini_wagner"])[0]


def test_full_mode_by_hand_is_what_is_declared():
    """What `measure` plants mistakes of that mode in."""
    for choice, edit in measure.MADE.items():
        with variant([edit]) as changed:
            wrong, _ = judged(changed("conformance.adapters.ours").by_hand, cases=SMOOTH, choices=dict([choice]))
        assert not wrong


def test_what_changes_an_answer_is_told_from_what_does_not(monkeypatch):
    """By a case, and by a random problem alone."""
    monkeypatch.setattr(measure, "unchanged", functools.cache(measure.unchanged.__wrapped__))
    monkeypatch.setattr(measure, "NEW", 1)
    edits = {m.id: m.edits for m in CATALOGUE}
    for asked in ({id: c for id, c in CASES.items() if c.problem == "mixed"}, {}):
        monkeypatch.setattr(measure, "load", lambda: asked)  # noqa: B023
        assert not measure.changes(edits["critic-not-fixed"], measure.OURS, "float64")
        assert not measure.changes(edits["smooth-decay"], measure.OURS, "float64")
        assert measure.changes(edits["critic-slope-0.01"], measure.OURS, "float64")


def test_every_mistake_can_be_planted():
    assert measure.PYTORCH.keys() == BY_ID.keys()
    for name, edits in measure.PYTORCH.items():
        assert edited(edits), name
        assert all(map(functions, edits)), name


def test_only_what_a_mistake_can_touch_is_asked_again():
    """A method's edit is placed in that method, decorated ones and those inside of others too."""
    for edit, function in [
        (("conformance/adapters/pytorch.py", "beta1=0.5", ""), "@torch.no_grad()"),
        (("conformance/adapters/tensors.py", 'found.pop("penalty_real")', ""), "        def terms(critic):"),
        (
            ("conformance/adapters/pytorch.py", "return torch.addmm(b, x, W)\n\n\ndef scores", ""),
            "def logits(params, x):",
        ),
    ]:
        source = (FOLDER.parents[1] / edit[0]).read_text(encoding="utf-8").splitlines()
        assert function in {source[line - 1] for file, line in functions(edit) if file == edit[0]}
    assert not functions(("conformance/adapters/pytorch.py", "from __future__", ""))


def test_the_adapters_are_short():
    for path in (FOLDER.parent / "adapters").glob("*.py"):
        if path.name not in ("ours.py",):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 150, path.name


# The case set -------------------------------------------------------------------------------------------------


def pose(name):
    """The answers of a known mistake, as stored."""
    return lambda case: case.mistakes.get(name, case.expected)


TWINS = {"indicator-not-cumulative", "indicator-cumulative-forwards-only"}
"""Known mistakes that give the same gradients where few steps are made."""


@pytest.mark.parametrize("name", BY_ID)
def test_every_mistake_fails_and_is_named_alone(name):
    """And where the catalogue does not know it, no other is named in its place."""
    results = judge(CASES.values(), pose(name), {}, "float64")
    assert any(r.status == "failed" for r in results)
    assert diagnose(results, "float64") == [name]
    for r in results:
        r.case = replace(r.case, mistakes={other: a for other, a in r.case.mistakes.items() if other != name})
    assert set(diagnose(results, "float64")) <= (TWINS if name in TWINS else set())


def test_every_pair_of_mistakes_is_separated():
    answers = {name: {c.id: flatten(c.mistakes[name]) for c in CASES.values() if name in c.mistakes} for name in BY_ID}
    for a, b in combinations(BY_ID, 2):
        ids = answers[a].keys() | answers[b].keys()
        assert any(
            distance(answers[a].get(i, flatten(CASES[i].expected)), answers[b].get(i, flatten(CASES[i].expected)))
            > 1e-4
            for i in ids
        ), (a, b)


@pytest.mark.parametrize("name", REWRITES)
def test_every_rewrite_passes(name):
    with variant(REWRITES[name]) as changed:
        wrong, _ = judged(changed("conformance.adapters.ours").method, cases=SMOOTH)
    assert not wrong


def test_a_declared_choice_has_cases_of_its_own():
    for mistake in MISTAKES:
        if mistake.choice:
            with variant(mistake.edits) as changed:
                wrong, results = judged(
                    changed("conformance.adapters.ours").method, cases=SMOOTH, choices=dict([mistake.choice])
                )
            assert not wrong, mistake.id
            assert any(
                r.case.requires.get(mistake.choice[0]) == mistake.choice[1] for r in results if r.status == "passed"
            )


def test_a_choice_declared_but_not_made_is_found():
    wrong, results = judged(ours.by_hand, cases=SMOOTH, choices={"cycle norm": "plain"})
    assert wrong and diagnose(results, "float64")[0] == "default-instead-of-choice"


def test_the_files_are_generated():
    """Byte for byte, on a problem that is quick; of the main one, the expected answers."""
    stored = {name for c in CASES.values() if c.problem == "dual-norms" for name in c.mistakes}
    mistakes = [m for i, m in enumerate(MISTAKES) if m.id in stored or i % 10 == 0]
    files = generate.generate([p for p in generate.PROBLEMS if p.name == "dual-norms"], mistakes)
    for name in ("dual-norms.json", "../mistakes.json"):
        assert files[name] == (FOLDER / name).read_text(encoding="utf-8"), f"{name} is not what generate writes"
    again = json.loads(generate.generate([p for p in generate.PROBLEMS if p.name == "mixed"], ())["mixed.json"])
    for case in again["cases"]:
        right = flatten(CASES[case["id"]].expected)
        assert distance(flatten(decode(case["expected"], {})), right) < 1e-12


@pytest.mark.parametrize(
    "problem, id, output, bend, says",
    [
        ("tiny", "tiny-adam", "m", lambda W: W + 1e-6, "two routes differ"),
        ("mixed", "mixed-gradient-cycle", "cycle", lambda W: 1.001 * W, "finite differences"),
    ],
)
def test_a_wrong_answer_is_not_written(problem, id, output, bend, says):
    (p,) = (p for p in generate.PROBLEMS if p.name == problem)
    given = generate.build(p)
    expected = {id: generate.answers(ours.method, p, given)[id]}
    generate.confirm(p, given, expected, {})
    expected[id][output] = [(bend(W), b) for W, b in expected[id][output]]
    with pytest.raises(AssertionError, match=says):
        generate.confirm(p, given, expected, {})


def test_levels_and_flags():
    assert {c.level for c in CASES.values()} == set(range(7))
    flags = {flag for c in CASES.values() for flag in c.flags}
    assert flags >= {"stops-at-once", "exact-tie", "absent-class", "target-confidence-one", "s-empty", "all-kept",
                     "third-class", "misclassified", "two-classes", "depth-zero", "batch-of-one"}  # fmt: skip
    for term, (level, needs) in TERMS.items():
        assert all(TERMS[need][0] <= level for need in needs), term
    for c in CASES.values():
        assert c.mistakes.keys() <= catalogue().keys()
        if c.mistakes:
            worst = min(min(1, distance(flatten(m), flatten(c.expected))) for m in c.mistakes.values())
            assert worst == pytest.approx(c.smallest_distance, rel=0.02, abs=1e-5)


def test_the_catalogue_says_where():
    assert len(MISTAKES) >= 35
    for m in MISTAKES:
        assert where(m.edits[0]) == catalogue()[m.id]["where"]
        assert m.says.endswith(".") and m.look.endswith(".")


def test_the_cases_cover_the_mathematics():
    """All that is asked takes two values, and without a case that alone varies something that is named.

    Some seconds, because it answers every case and changes every argument; without one slow attack and the choices.
    """
    default = {choice: values[0] for choice, values in CHOICES.items()}
    shown = coverage.facts(
        c for c in CASES.values() if c.call != "carlini_wagner" and c.requires.items() <= default.items()
    )

    def missing(*left_out):
        gaps = coverage.gaps(coverage.asked(shown, left_out))
        return {what for what in gaps if "carlini_wagner" not in what and not what.endswith(".u")}

    assert not missing()
    attack = missing("other-settings-attack")
    assert attack == {f"argument attack.{name}" for name in ("iterations", "overshoot", "eps")}
    given = [f"{problem}-high-confidence" for problem in ("given-confidence", "modest-confidence", "no-gradient")]
    assert missing(*given) >= {"null high_confidence.C"}
    early = "outcome the high-confidence attack's target has C before it is the highest"
    assert missing("modest-confidence-high-confidence") == {early}
    once = "outcome DeepFool's image is that of steps towards the class that was nearest at first"
    assert missing("anew-deepfool") == {once}
    elsewhere = "outcome DeepFool ends in the class that was nearest at first"
    assert elsewhere in missing("turning-deepfool", "anew-deepfool")


# The format ---------------------------------------------------------------------------------------------------


def change(file, *path, value):
    """A copy of a case file with one entry changed."""
    copy = json.loads((FOLDER / "tiny.json").read_text(encoding="utf-8"))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    file.write_text(json.dumps(copy), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "path, value, says",
    [
        (("version",), "2.0", "version 2.0, this kit reads"),
        (("cases", 0, "new"), 1, "'new'"),
        (("cases", 0, "inputs"), {"x": "no-such"}, "no-such"),
        (("cases", 0), 3, ""),
        (("cases",), 5, ""),
        (("given",), None, ""),
        (("given",), {}, ""),
        (("cases", 0, "term"), "no-term", "unknown term"),
        (("cases", 0, "requires"), {"cycle norm": "none"}, "unknown choice"),
        (("cases", 0, "call"), "no_such_method", "no_such_method"),
        (("cases", 0, "expected"), {}, "expects nothing"),
        (("cases", 0, "expected", "m", 0, 0, "data", 0), float("nan"), "not finite"),
        (("cases", 0, "mistakes"), {"no-such-mistake": {}}, "no-such-mistake"),
        (("given", "params"), "words", "no list of layers"),
        (("given", "params"), {"array": "absent"}, "absent"),
        (("given", "params"), {"dtype": "int8", "shape": [2], "data": []}, ""),
        (("given", "params"), {"dtype": "float64", "shape": [2], "data": ["a", "b"]}, ""),
        (("given", "params"), {"dtype": "float64", "shape": [7], "data": [1, 2]}, ""),
    ],
)
def test_a_damaged_case_file_is_refused(here, path, value, says):
    change(here / "x.json", *path, value=value)
    status, _, err = call("run", "reference.conformance.adapters.ours:method", "--cases", "x.json")
    assert status == 2 and "Traceback" not in err and says in err
    assert "x.json is no case file of this kit" in err or "x.json has version" in err


def test_a_minor_version_is_read(tmp_path):
    assert read(change(tmp_path / "x.json", "version", value="1.9"))


def test_superseded_cases_are_left_out_and_ids_are_unique(tmp_path):
    change(tmp_path / "a.json", "cases", 0, "superseded_by", value="other")
    assert "tiny-adam" not in load(tmp_path)
    for name in "bc":
        change(tmp_path / f"{name}.json", "about", value="twice")
    load.cache_clear()
    with pytest.raises(InputError, match="occurs twice"):
        load(tmp_path)


# The judge and the diagnosis ----------------------------------------------------------------------------------


class Bent:
    """Our steps by hand, with some methods changed."""

    def __init__(self, **methods):
        self.__dict__ |= methods

    def __getattr__(self, name):
        return getattr(ours.by_hand, name)


def test_what_depends_on_a_failure_is_blocked():
    wrong, _ = judged(Bent(logits=lambda params, x: 2 * ours.by_hand.logits(params, x)), cases=SMOOTH)
    assert wrong["mixed-logits"][0] == "failed"
    assert wrong["mixed-gradient-cycle"][0] == wrong["mixed-attack"][0] == "blocked"
    assert "mixed-scores" not in wrong and "mixed-gradient-real" not in wrong


def test_a_branch_does_not_block():
    wrong, _ = judged(
        SimpleNamespace(**{"attack": lambda **given: {"trace": 1, "mask": 1}}), cases=[CASES["exact-tie-attack"]]
    )
    assert wrong["exact-tie-attack"][0] == "error"
    assert judged(ours.by_hand, cases=[CASES["exact-tie-attack"], *SMOOTH])[0] == {}


def test_the_image_of_a_failed_attack_may_be_any():
    """And a success that is claimed where there is none is wrong."""
    case = CASES["no-gradient-deepfool"]
    right = flatten(case.expected)
    failed = ~right["success"]
    anything = np.where(failed[:, None], np.nan, right["images"])
    for images, success, status in [(anything, right["success"], "passed"), (anything, ~failed | True, "error")]:
        (result,) = judge([case], lambda c: {"images": images, "success": success}, {}, "float64")  # noqa: B023
        assert result.status == status


@pytest.mark.parametrize("plain", [False, True])
def test_a_trajectory_is_asked_step_by_step(plain):
    """Of an adapter that has none, in Python or in text; one wrong moment of Adam is seen five batches later."""
    case, right = CASES["trajectory-trajectory"], ours.by_hand.training_step

    def asked(step):
        def ask(method, inputs):
            if method != "training_step":
                raise Missing("none")
            state = step(**inputs)
            return Plain(flatten(state)) if plain else state

        return judge([case], calls(ask, "float64"), {}, "float64")[0].status

    def forgetful(**given):
        return right(**given) | {"critic_v": given["state"]["critic_v"]}

    def counted(**given):
        """As from another process: numbers are arrays there, and must come back as the numbers that they were."""
        steps = [given["state"][name] for name in ("params_t", "critic_t", "steps")]
        assert [type(step) for step in steps] == [int] * 3
        return {name: part if isinstance(part, list) else np.asarray(part) for name, part in right(**given).items()}

    assert asked(right) == asked(counted) == "passed" and asked(forgetful) == "failed"
    assert asked(lambda **given: {"params": right(**given)["params"]}) == "skipped"


@pytest.mark.parametrize(
    "bend, says",
    [
        (lambda g: -g, "opposite sign"),
        (lambda g: 0 * g, "0 everywhere: detached?"),
        (lambda g: g[::-1], "the batch is permuted"),
        (lambda g: 8 * g, "got = 8 · expected, and 8 = n"),
        (lambda g: g / 8, "1/n"),
        (lambda g: 1.05 * g, "1 + o"),
        (lambda g: 3.14 * g, "got = 3.14 · expected"),
    ],
)
def test_the_form_of_a_wrong_answer(bend, says):
    adapter = Bent(input_gradient=lambda params, x, labels: bend(ours.by_hand.input_gradient(params, x, labels)))
    _, results = judged(adapter, cases=[CASES["mixed-input-gradient"]])
    diagnose(results, "float64")
    assert says in " ".join(results[0].findings)


def test_where_an_answer_is_wrong():
    def answer(case):
        found = {key: a.copy() for key, a in flatten(case.expected).items()}
        if case.id == "mixed-attack":
            found["trace"][2:, 3] += 1
        else:
            found["critic.b0"][0] += 0.3
        return Plain(found)

    results = judge([CASES["mixed-attack"], CASES["own-gradient-critic"]], answer, {}, "float64")
    diagnose(results, "float64")
    assert [r.findings for r in results][0][1:] == [
        "trace: examples 3 of 0..7 differ",
        "trace: from iteration 3 on, of 5",
    ]
    assert results[1].findings[0].startswith("wrong: critic.b0 ") and "W0" not in results[1].findings[0]


def test_a_factor_of_one_number_needs_a_name():
    losses = [c for c in SMOOTH if c.level == 3]

    def told(factors):
        scale = iter(factors)
        results = judge(
            losses[:2], lambda c: Plain({k: a * next(scale) for k, a in flatten(c.expected).items()}), {}, "float64"
        )
        diagnose(results, "float64")
        return ["got =" in " ".join(r.findings) for r in results]

    assert told([1.37, 1.91]) == [False, False]
    assert told([1.37, 1.37]) == [True, True] and told([8, 1.91]) == [True, False]


def test_a_transposed_square_is_seen():
    case = next(c for c in CASES.values() if c.id == "own-gradient-critic")
    expected = {"critic": [(W.T if W.shape[0] == W.shape[1] else W, b) for W, b in case.expected["critic"]]}
    results = judge([case], lambda c: expected, {}, "float64")
    diagnose(results, "float64")
    assert any("transposed" in finding for finding in results[0].findings)


def test_two_mistakes_in_different_terms_are_both_named():
    def both(case):
        first = case.mistakes.get("cycle-input-attached")
        return first or case.mistakes.get("penalty-one-sided", case.expected)

    results = judge([c for c in SMOOTH if c.level < 5], both, {}, "float64")
    assert set(diagnose(results, "float64")) == {"cycle-input-attached", "penalty-one-sided"}


def test_routes_cut_at_once_are_named_by_their_sum():
    """The gradient without its second order and with a constant indicator, in every case that stores both."""
    cut = {"second-order-term-dropped", "indicator-without-gradient"}

    def answer(case):
        if not cut <= case.mistakes.keys() or case.level != 4:
            return case.expected
        right = flatten(case.expected)
        wrong = [flatten(case.mistakes[name]) for name in sorted(cut)]
        return Plain({key: sum(w[key] for w in wrong) - a for key, a in right.items()})

    results = judge([c for c in SMOOTH if c.level == 4], answer, {}, "float64")
    failed = [r for r in results if r.status == "failed"]
    assert len(failed) == 3
    assert set(diagnose(results, "float64")) == cut and all(set(r.mistakes[0].split(" + ")) == cut for r in failed)


@pytest.mark.parametrize("offset", [1e-8, 1e-6, 1e-4])
def test_a_small_difference_is_no_mistake_that_moves_as_little(offset):
    def nudged(case):
        moved = {key: a + offset * (a.dtype.kind == "f") for key, a in flatten(case.expected).items()}
        return Plain(moved)

    assert diagnose(judge(SMOOTH, nudged, {}, "float64"), "float64") == []


def test_a_name_explains_the_first_difference_or_two():
    """One explained loss among 30 wrong ones, at a higher level than they, is a coincidence."""

    def answer(case):
        if case.id == "defences-loss-margin":
            return next(iter(case.mistakes.values()))
        return Plain({key: 1.5 * a if a.dtype.kind == "f" else a for key, a in flatten(case.expected).items()})

    results = judge([c for c in SMOOTH if c.term in ("cross-entropy", "scores") or c.level == 3], answer, {}, "float64")
    assert diagnose(results, "float64") == []


def test_an_unknown_mistake_is_not_named():
    adapter = Bent(scores=lambda critic, x, noise: ours.by_hand.scores(critic, x, noise) ** 3)
    _, results = judged(adapter, cases=SMOOTH)
    assert diagnose(results, "float64") == []


# The command line ---------------------------------------------------------------------------------------------


def test_run_a_small_adapter(here):
    (here / "small.py").write_text(GOOD)
    status, out, _ = call("run", "small", "--json", "r.json", "--junit", "r.xml", "--html", "r.html", "--timeout", 20)
    assert status == 0 and "small, float64" in out and "noise" not in out
    report = json.loads((here / "r.json").read_text())
    asked = sum(case.call == "logits" for case in CASES.values())
    assert report["counts"]["passed"] == asked and report["counts"]["skipped"] == len(CASES) - asked
    page = (here / "r.html").read_text(encoding="utf-8")
    assert page.count('<tr class="passed">') == asked and "http" not in page
    suite = ElementTree.parse(here / "r.xml").getroot()
    assert len(suite) == len(CASES) == int(suite.get("tests"))


@pytest.mark.parametrize(
    "text, arguments, says",
    [
        ("", ["run", "absent"], "ModuleNotFoundError: No module named 'absent'\n"),
        ("", ["run", "./absent.py"], "there is no such file"),
        ("class Adapter: pass", ["run", "user", "--random", "0"], "--random: 0: give 1 to 1000"),
        ("class Adapter:\n choices = 5", ["run", "./user.py"], "a dict of strings"),
        ("import no_such_library", ["run", "user"], "no_such_library"),
        ("x = 1", ["run", "user"], "no adapter and no Adapter"),
        ("class Adapter:\n choices = {'cycle norm': 'cubic'}", ["run", "user"], "the choices are"),
        ("class Adapter: pass", ["run", "user", "--only", "no-such*"], "no case has such an id"),
        ("class Adapter: pass", ["run", "user", "--timeout", "0"], "positive number of seconds"),
        ("class Adapter: pass", ["run", "user", "--random", "1", "--only", "0"], "leave out --only"),
        ("class Adapter: pass", ["run", "user", "--save", "x.json"], "give --random N too"),
        ("class Adapter: pass", ["run", "user", "--cases", "x.json"], "x.json is no case file"),
        ("", ["run"], "or --command LINE"),
        ("", ["run", "user", "--command", "x"], "or --command LINE"),
        ("", ["run", "--command", "/no/such/program"], "cannot be started"),
        ("", ["explain", "no-such"], "there is no such case"),
        ("", ["check", "."], "holds no answers.json"),
    ],
)
def test_usage_errors(here, text, arguments, says):
    (here / "user.py").write_text(text)
    status, _, err = call(*arguments)
    assert status == 2 and says in err and "Traceback" not in err


@pytest.mark.parametrize(
    "program, arguments, says",
    [
        (measure, ["--only", "no-such"], "no such mistake"),
        (measure, ["--all"], "unrecognized arguments"),
        (generate, ["--seek", "no-such"], "invalid choice"),
        (generate, ["mixed"], "unrecognized arguments"),
    ],
)
def test_usage_errors_of_the_makers(program, arguments, says, capsys):
    assert program.main(arguments) == 2
    assert says in capsys.readouterr().err


def test_nothing_checked(here):
    (here / "empty.py").write_text("class Adapter: pass")
    status, out, _ = call("run", "empty")
    asked = [c for c in load().values() if all(CHOICES[name][0] == value for name, value in c.requires.items())]
    many = sum(case.call == "critic_losses" for case in asked)
    assert status == 3 and many > 10 and f"critic_losses ({many})," in out


def test_why_a_case_is_skipped(here):
    (here / "partial.py").write_text(
        "class Adapter:\n    def logits(self, params, x): raise NotImplementedError\n"
        "    def classifier_losses(self, **given): return {'crossentropy': 1.0}\n"
    )
    _, out, _ = call("run", "partial", "--only", "mixed-logits", "--only", "mixed-loss-cross-entropy")
    assert "logits is not implemented" in out
    assert "classifier_losses returns crossentropy, not cross_entropy" in out


def test_known_failures_are_strict_both_ways(here):
    (here / "wrong.py").write_text(GOOD.replace("return x @ W", "return 2 * x @ W"))
    (here / "small.py").write_text(GOOD)
    for known, adapter, expected, says in [
        ({"mixed-logits": "being mended"}, "wrong", 0, "KNOWN mixed-logits"),
        ({"mixed-logits": "being mended"}, "small", 2, "but it passes"),
        ({"no-such": "x"}, "wrong", 2, "there is no case no-such"),
        ({"mixed-logits": ""}, "wrong", 2, "a reason for each id"),
    ]:
        (here / "known.json").write_text(json.dumps(known))
        status, out, err = call("run", adapter, "--only", "mixed-logits", "--known-failures", "known.json")
        assert status == expected and says in out + err


def test_list_template_explain(here):
    assert call("list")[1].count("\n") == len(CASES) + 1
    listed = call("run", "any", "--list", "--only", "4")[1].splitlines()
    assert len(listed) == sum(c.level == 4 for c in CASES.values())
    _, text, _ = call("template")
    (here / "mine.py").write_text(text)
    compile(text, "mine.py", "exec")
    assert all(
        name in text for name in (*CHOICES, *(m for m in vars(Adapter) if not m.startswith("_"))) if name != "name"
    )
    assert call("run", "mine")[0] == 3
    _, text, _ = call("explain", "mixed-gradient-cycle")
    assert "cycle-input-attached" in text
    code = text.partition("ADAPTER:")[2].replace("ADAPTER", "adapter").replace("\n    ", "\n")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {"adapter": ours.by_hand})
    assert out.getvalue().startswith("cycle.W0 ")


def test_the_guide_s_examples_run_and_name_a_detached_attack(here):
    pytest.importorskip("torch", reason="PyTorch is optional")
    guide = (FOLDER.parent / "README.md").read_text(encoding="utf-8").split("```python\n")
    adapter = "\n".join(part.split("```")[0] for part in guide[1:3])
    terms = """
from reference.conformance.adapters.pytorch import generate, judge
def terms(params, critic, x, y, targets, C, noise):
    z, own, x_hat, y_hat = generate(params, x, targets, C)
    return judge(params, (z, own, BUG, y_hat), x, y, critic, noise)
"""
    asked = ["--only", "logits", "--only", "*-gradient-c*"]
    (here / "mine.py").write_text(adapter + terms.replace("BUG", "x_hat"))
    assert call("run", "mine", *asked)[0] == 0
    (here / "mine.py").write_text(adapter + terms.replace("BUG", "x_hat.detach()"))
    status, out, _ = call("run", "mine", *asked)
    assert status == 1 and "DIAGNOSIS 1: attack detached" in out and "critic.W0, critic.b0, critic.W1" in out


def test_offline(here):
    only = ["--only", "mixed-*", "--only", "absent-class-confidence"]
    assert call("export", "sheet", *only)[0] == 0
    sheet = json.loads((here / "sheet" / "answers.json").read_text())
    inputs, tasks = load_npz(here / "sheet" / "inputs.npz"), json.loads((here / "sheet" / "tasks.json").read_text())
    for id, task in tasks.items():
        for value in task["arguments"].values():
            names = value if isinstance(value, list) else [value]
            assert all(not isinstance(v, str) or v in ("l2", "linf") or v in inputs for v in names)
        assert task["outputs"].keys() == sheet["answers"][id].keys()
    assert call("check", "sheet")[0] == 3

    for id, answer in sheet["answers"].items():
        for name, value in flatten(CASES[id].expected).items():
            answer[name] = value.tolist()
    sheet["choices"] = {"cycle norm": "squared"}
    (here / "sheet" / "answers.json").write_text(json.dumps(sheet))
    assert call("check", "sheet")[0] == 0

    arrays = {
        f"mixed-gradient-cycle/{k}": v
        for k, v in flatten(CASES["mixed-gradient-cycle"].mistakes["cycle-input-attached"]).items()
    }
    np.savez(here / "sheet" / "answers.npz", **arrays)
    status, out, _ = call("check", "sheet")
    assert status == 1 and "DIAGNOSIS 1: cycle input attached" in out and "reference/method/objectives.py, judge" in out

    for change, says in [({"answers": {"no-such": {}}}, "unknown cases"), ({"version": "3.0"}, "version 3.0"),
                         ({"choices": {"x": "y"}}, "no choice"), ({"more": 1}, "unknown fields"),
                         ({"choices": {"cycle norm": []}}, "object of strings"), ({"dtype": "int"}, "or float32"),
                         ({"answers": {"mixed-logits": []}}, "object of objects"),
                         ({"answers": {"mixed-logits": {"logit": 1}}}, "unknown output 'logit'")]:  # fmt: skip
        (here / "sheet" / "answers.json").write_text(json.dumps(sheet | change))
        status, _, err = call("check", "sheet")
        assert status == 2 and says in err
    sheet["answers"]["mixed-logits"]["logits"] = [[1, 2], [3]]
    (here / "sheet" / "answers.json").write_text(json.dumps(sheet))
    status, out, _ = call("check", "sheet")
    assert status == 2 and "rows differ in length" in out


def rebuilt(leaves):
    """{path below an argument's name: array} -> the array, the layers, the list of arrays or the dict that they are."""
    if () in leaves:
        return leaves[()]
    heads = dict.fromkeys(path[0] for path in leaves)
    if heads.keys() >= {"W0", "b0"}:
        return [(leaves[f"W{i}",], leaves[f"b{i}",]) for i in range(len(heads) // 2)]
    parts = {head: rebuilt({path[1:]: a for path, a in leaves.items() if path[0] == head}) for head in heads}
    return [parts[str(i)] for i in range(len(parts))] if "0" in parts else parts


def answered(sheet):
    """The sheet's answers by our steps by hand, from nothing but what is exported."""
    inputs, tasks = load_npz(sheet / "inputs.npz"), json.loads((sheet / "tasks.json").read_text())

    def argument(value):
        if isinstance(value, list):
            return rebuilt({tuple(key.rpartition("/")[2].split(".")[1:]): inputs[key] for key in value})
        return inputs.get(value, value) if isinstance(value, str) else value

    answers = {}
    with np.errstate(all="ignore"):
        for id, task in tasks.items():
            arguments = {name: argument(value) for name, value in task["arguments"].items()}
            found = getattr(ours.by_hand, task["method"])(**arguments)
            found = found if isinstance(found, dict) else {task["method"]: found}
            if "norms" in task["outputs"]:
                found["norms"] = np.linalg.norm(found["images"] - arguments["x"], axis=1)
            answers |= {f"{id}/{name}": a for name, a in flatten(found).items() if name in task["outputs"]}
    return answers


def test_the_sheet_is_enough(here):
    """Answered from what is exported, noise and state too, every case passes."""
    assert call("export", "sheet")[0] == 0
    np.savez(here / "sheet" / "answers.npz", **answered(here / "sheet"))
    assert call("check", "sheet", "--json", "r.json")[0] == 0
    tasks = json.loads((here / "sheet" / "tasks.json").read_text())
    asked = sum(all(CHOICES[name][0] == value for name, value in task["requires"].items()) for task in tasks.values())
    assert json.loads((here / "r.json").read_text())["counts"] == {"passed": asked, "skipped": len(tasks) - asked}


def test_a_sheet_of_random_networks(here):
    """Each seed asks others; right answers pass, and one that is off by 1e-6 fails."""
    inputs = []
    for sheet, seed in (("one", "7"), ("other", "8")):
        assert call("export", sheet, "--random", "1", "--seed", seed)[0] == 0
        inputs.append(next(iter(load_npz(here / sheet / "inputs.npz").values())))
    assert inputs[0].shape != inputs[1].shape or (inputs[0] != inputs[1]).any()
    answers = answered(here / "one")
    np.savez(here / "one" / "answers.npz", **answers)
    assert call("check", "one", "--json", "r.json")[0] == 0
    assert json.loads((here / "r.json").read_text())["counts"]["passed"] > 10
    name = next(name for name in answers if name.endswith("/logits"))
    np.savez(here / "one" / "answers.npz", **answers | {name: answers[name] + 1e-6})
    assert call("check", "one")[0] == 1


def test_the_runner_needs_numpy_and_the_standard_library_only(here):
    """In a process where autograd, SciPy, matplotlib, hypothesis and the rest cannot be imported."""
    (here / "small.py").write_text(GOOD)
    (here / "sitecustomize.py").write_text(
        "import sys\nclass Block:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('autograd', 'scipy', 'matplotlib', 'hypothesis', 'torch', 'jax'):\n"
        "            raise ImportError(f'{name} is not here')\nsys.meta_path.insert(0, Block())\n"
    )
    root = str(FOLDER.parents[2])
    environment = {"PYTHONPATH": f"{here}:{root}", "PATH": "", "OPENBLAS_NUM_THREADS": "1"}

    def python(*arguments):
        return subprocess.run([sys.executable, *arguments], cwd=here, env=environment, capture_output=True, text=True)

    assert "is not here" in python("-c", "import autograd").stderr
    for arguments in (["run", "small"], ["export", "sheet"], ["list"], ["template"], ["explain", "mixed-logits"]):
        done = python("-m", "reference.conformance", *arguments)
        assert done.returncode == 0, done.stderr
    done = python("-m", "reference.conformance", "run", "small", "--random", "1")
    assert done.returncode == 2 and "install autograd and hypothesis" in done.stderr


def run_pytest(here, *arguments):
    """pytest in a folder of its own, with nothing but the plug-in of the kit."""
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parents[2]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "reference.conformance.pytest_plugin", "-q", "-rfs", *arguments]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_cases_as_tests_of_a_suite(here):
    """One that is wrong where there are hidden layers; and a run that does not ask for the kit does not load it."""
    (here / "test_mine.py").write_text("import sys\ndef test_mine():\n    assert 'numpy' not in sys.modules\n")
    (here / "small.py").write_text(GOOD.replace("x @ V + c, 0", "x @ V + c, -1"))
    status, out = run_pytest(here)
    assert status == 0 and "1 passed" in out
    cases = "mixed-logits or depth-zero-logits or mixed-nearest"
    status, out = run_pytest(here, "--adversary-critic", "small.py", "-k", cases)
    assert status == 1 and "1 failed, 1 passed, 2 skipped" in out
    assert "FAILED adversary-critic::mixed-logits - error" in out and "no method: nearest_class" in out
    status, out = run_pytest(here, "--adversary-critic", "absent.py")
    assert status == 4 and "there is no such file" in out


# Random mode --------------------------------------------------------------------------------------------------


def test_random_problems(tmp_path, capsys, monkeypatch):
    """Nothing but what is asked for is left in the working folder."""
    monkeypatch.chdir(tmp_path)
    right = SimpleNamespace(name="by hand", choices={}, ask=local(ours.by_hand))
    assert random_cases.search(right, 2, 0, "float64", None) == 0
    bent = Bent(scores=lambda critic, x, noise: ours.by_hand.scores(critic, x, noise) + 1e-6)
    wrong = SimpleNamespace(name="bent", choices={}, ask=local(bent))
    assert random_cases.search(wrong, 2, 0, "float64", tmp_path / "smallest.json") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["smallest.json"]
    assert "FAILED scores" in capsys.readouterr().out
    assert call("run", "reference.conformance.adapters.ours:method", "--cases", tmp_path / "smallest.json")[0] == 0
    (case, *_) = read(tmp_path / "smallest.json")
    assert judged(ours.method, cases=[case])[0] == {} and judged(bent, cases=[case])[0]
