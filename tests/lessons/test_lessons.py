"""Every lesson runs without a network, and what it claims holds; its page and its notebook are whole."""

import html
import json
import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from autograd import grad

from reference.errors import InputError
from reference.lessons import __main__ as command
from reference.lessons import build, figures
from reference.lessons.exercises import EXERCISES, find
from reference.method import generator, network, objectives, risk
from reference.method.settings import AdversaryCritic
from reference.method.targets import RunningConfidence

for package in ("markdown_it", "mdit_py_plugins", "latex2mathml", "pygments", "nbformat"):
    pytest.importorskip(package, reason="needs the extra teach: pip install '.[teach]'")

LESSONS = build.lessons()


@pytest.fixture(scope="module", autouse=True)
def nothing_has_run_yet():
    build.run.cache_clear()


def test_the_course_is_whole():
    assert sorted(LESSONS) == list(range(9))
    assert all(build.title(path).startswith(f"{number} · ") for number, path in LESSONS.items())


@pytest.mark.parametrize("number", LESSONS)
def test_a_lesson_runs_without_a_network_and_its_page_loads_nothing(number, monkeypatch):
    def refuse(*_):
        raise AssertionError("a lesson opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    began = time.process_time()
    page = build.to_html(LESSONS[number])  # the lesson's claims are asserts: a false one raises here
    assert time.process_time() - began < 30
    assert not re.search(r"""(src|href)\s*=\s*["']?(http|//)""", page)
    assert "<math" in page
    assert page.count('class="caption"') == page.count('role="img"') == page.count('"…"')  # and not in the code
    assert page.count("<details>") == 3 + ("Paper, authors' code, ours?" in page) and 'role="img"' in page
    assert all(label.strip() for label in re.findall(r'aria-label="([^"]*)"', page))


@pytest.mark.parametrize("number", LESSONS)
def test_no_measured_number_is_typed(number):
    """Every decimal and percentage of a lesson's text is an argument of its code; questions have examples."""
    parts = build.cells(LESSONS[number].read_text(encoding="utf-8"))
    text = "\n".join(cell.text for cell in parts if cell.kind == "markdown")
    text = re.sub(r"<details>.*?</details>|\$.*?\$", "", text, flags=re.DOTALL)
    given = set(re.findall(r"\d+\.\d+", "\n".join(cell.text for cell in parts if cell.kind == "code")))
    typed = re.findall(r"\d+\.\d+", text) + [f"{int(n) / 100:g}" for n in re.findall(r"(\d+) ?%", text)]
    assert set(typed) <= given | ({"0.1"} if number == 0 else set())  # 0.1 says what a ρ means


@pytest.mark.parametrize("number", LESSONS)
def test_a_lesson_gives_no_exercise_away_before_one_asks(number):
    """The lines of every hole's body stand in folded parts alone."""
    page = re.sub(r"<details.*?</details>", "", build.to_html(LESSONS[number]), flags=re.DOTALL)
    seen = {"".join(line.split()) for line in html.unescape(re.sub(r"<[^>]*>", "", page)).splitlines()}
    for exercise in EXERCISES:
        for hole in exercise.holes:
            source = find(hole)
            body = source.text[slice(*source.span)].splitlines()
            assert not {"".join(line.split()) for line in body if len(line.split()) > 3} & seen, hole.name


def test_a_notebook_shows_what_is_asked_and_not_its_solution(capsys):
    build.show(generator.newton_step)
    said = capsys.readouterr().out
    assert "Returns (n, d)" in said and "exercise newton --solution" in said and "return (" not in said
    build.show(risk.robust_risk)  # no exercise asks for it
    assert "return" in capsys.readouterr().out


@pytest.mark.parametrize("number", LESSONS)
def test_a_notebook_holds_the_lessons_cells(number):
    book = json.loads(build.to_notebook(LESSONS[number]))
    assert [(c["cell_type"], "".join(c["source"])) for c in book["cells"]] == [
        (c.kind, c.text) for c in build.cells(LESSONS[number].read_text(encoding="utf-8"))
    ]


def test_the_picture_of_the_data_flow_is_the_tables():
    image = pytest.importorskip("PIL.Image").open(build.HERE / "data_flow.png")
    assert image.text["Description"] == figures.in_words()


def test_a_formula_without_mathml_and_a_figure_without_words_are_refused():
    with pytest.raises(InputError, match="no MathML"):
        build.markdown(r"$\nosuchcommand x$")
    with pytest.raises(InputError, match="description"):
        build.figure(figures.losses_of_D(), " ")


@pytest.mark.parametrize("package", ["pygments", "nbformat", "markdown_it"])
def test_a_package_that_is_missing_costs_one_line(package, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert command.main(["read", "1", "--out", str(tmp_path)]) == 2
    assert re.fullmatch(rf"reference.lessons: no package {package}.*\[teach\].*\n", capsys.readouterr().err)


def test_the_same_figure_gives_the_same_text():
    assert build.svg(figures.losses_of_D()) == build.svg(figures.losses_of_D())


def test_a_false_claim_stops_the_lesson(tmp_path):
    path = tmp_path / "lesson_9.py"
    path.write_text("# %% [markdown]\n# # 9 · wrong\n# %%\nassert 1 == 2\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        build.to_html(path)


def slopes():
    """For each arrow of the data flow that can be cut: does the loss at its end depend on θ through it, by a vjp?"""
    rng = np.random.default_rng(1)
    params, critic = network.init(rng, (6, 12, 3), float), network.init(rng, (6, 12, 3), float)
    x, y = rng.random((30, 6)), rng.integers(0, 3, 30)
    s, running = AdversaryCritic(), RunningConfidence(np.full(3, 0.8), np.full(3, 0.4), 1)
    t = objectives.choose_targets(params, x, s.generator)

    def through(name, index):
        """The slope of the term `name` by the part `index` of what the generator made."""
        made = objectives.generate(params, x, t, running, s.generator)

        def term(part):
            return objectives.judge(
                params, objectives.Attacked(*made[:index], part, *made[index + 1 :]), x, y, critic, None, s
            )[name][1]

        return bool(np.any(grad(term)(made[index])))

    def by_theta(name):
        def term(p):
            return objectives.adversary_critic(p, x, y, t, running, critic, None, s)[name][1]

        return any(np.any(a) for layer in grad(term)(params) for a in layer)

    def by_omega():
        def term(D):
            return objectives.adversary_critic(params, x, y, t, running, D, None, s)["critic"][1]

        return any(np.any(a) for layer in grad(term)(critic) for a in layer)

    def by_theta_of_the_attack(targets):
        """Of the critic's term, with targets that are given or chosen on the way."""

        def term(p):
            chosen = objectives.choose_targets(p, x, s.generator) if targets is None else targets
            return objectives.adversary_critic(p, x, y, chosen, running, critic, None, s)["critic"][1]

        return grad(term)(params)[0][0]

    # x̂ = x + a sum of steps: without a path through the iterates its slope by x is 1.
    by_x = grad(lambda v: np.sum(generator.unrolled(params, v, t, np.full(30, 0.8))))(x)
    return {
        ("attack", "critic term"): through("critic", 2),
        ("attack", "cycle"): through("cycle", 2),
        ("own confidence", "cycle"): through("cycle", 1),
        ("θ", "p(x)"): by_theta("cross_entropy"),
        ("θ", "attack"): by_theta("critic"),  # the critic's term sees θ through the attack alone
        ("θ", "cycle"): by_theta("cycle"),
        ("ω", "critic term"): by_omega(),
        ("targets", "attack"): not np.array_equal(*map(by_theta_of_the_attack, (t, None))),
        ("iterates", "attack"): np.any(by_x - 1),
    }


@pytest.mark.filterwarnings("ignore:Output seems independent of input:UserWarning")  # a cut arrow is what is asserted
def test_the_arrows_of_the_data_flow_are_as_a_vjp_measures_them():
    drawn = {(edge.source, edge.target): edge.flows for edge in figures.FLOW}
    measured = slopes()
    assert measured == {arrow: drawn[arrow] for arrow in measured}
    assert set(drawn) - set(measured) == {("running C", "attack")}
    with pytest.raises((TypeError, ValueError)):  # NumPy's own arrays: whatever depends on θ is refused
        grad(lambda own: RunningConfidence.start(2, float).update(own, np.array([0, 1])).value[0])(np.array([0.6, 0.9]))


def test_the_methods_page_has_the_table_of_the_data_flow():
    page = (build.HERE.parent / "method/README.md").read_text(encoding="utf-8")
    assert figures.table() in page


def test_a_notebook_runs_outside_the_builder():
    book = json.loads(build.to_notebook(LESSONS[1]))
    code = "\n".join("".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code")
    root = build.HERE.parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert "def steepest" in done.stdout and "[figure: Points on two sides" in done.stdout
