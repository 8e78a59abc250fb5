"""The page `attack.html`: its paths are the library's, and a browser shows it, by keyboard, in dark, on a phone."""

import json
import re
import shutil
import subprocess
import time

import numpy as np
import pytest

from reference.attacks import high_confidence
from reference.attacks.nearest import nearest_class
from reference.by_hand.model import from_params
from reference.conformance import __main__ as conformance
from reference.data import load
from reference.experiment.tables import NAMES
from reference.experiment.train import train
from reference.lessons import page
from reference.method import critic
from reference.method.generator import unrolled
from reference.method.settings import AdversaryCritic, Training, Undefended

needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs node")

ANSWER = """
import { readFileSync } from "node:fs";
const document = { getElementById: () => ({ textContent: readFileSync(0, "utf8") }) };
SCRIPT
console.log(JSON.stringify(networks.map((network) => data.rows.map((i) => {
  const { label, x } = images[i], target = nearestClass(network, x, label);
  const found = highConfidence(network, x, target, data.C), trained = unrolled(network, x, target, data.C);
  return { target, steps: found.path.length - 1, success: found.success, x: Array.from(found.path.at(-1).x),
           trained: Array.from(trained.path.at(-1).x) };
}))));
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What a demo leaves, of two networks, a few epochs old."""
    folder, training = tmp_path_factory.mktemp("results"), Training(hidden=(32, 24), epochs=3, learning_rate=1e-3)
    data = load(14)
    for name, defence in {"undefended": Undefended(), "critic": AdversaryCritic(hidden=(32,))}.items():
        train(data, defence, training, checkpoint=folder / "checkpoints" / f"{name}-0.npz")
    return folder


@pytest.fixture(scope="module")
def content(results):
    return page.from_results(results)


@needs_node
@pytest.mark.parametrize("which", ["own", "shipped"])
def test_the_pages_paths_are_the_librarys(content, which):
    if which == "shipped":
        if not page.SHIPPED.exists():
            pytest.skip("no shipped networks")
        content = page.shipped()
    C, rows = 0.8, np.arange(20) * len(content.images) // 20
    holds = re.split("^// -+ what is shown", (page.HERE / "attack.js").read_text(encoding="utf-8"), flags=re.M)[0]
    held = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.page(content))[1]
    asked = json.loads(held) | {"rows": rows.tolist(), "C": C}
    x, y = np.round(content.images[rows] * asked["scale"]) / asked["scale"], content.labels[rows]
    run = ["node", "--input-type=module", "-e", ANSWER.replace("SCRIPT", page.script() + holds)]
    done = subprocess.run(run, input=json.dumps(asked), capture_output=True, text=True, check=True)
    for params, answers in zip(content.networks.values(), json.loads(done.stdout), strict=True):
        model = from_params(params)
        expected = high_confidence(model, x, ("true", y), C)
        targets = nearest_class(model, x, y)
        assert [a["target"] for a in answers] == targets.tolist()
        assert [a["success"] for a in answers] == expected.success.tolist()
        assert np.abs(np.array([a["x"] for a in answers]) - expected.last).max() < 1e-9
        trained = unrolled(params, x, targets, np.full(len(x), C))
        assert np.abs(np.array([a["trained"] for a in answers]) - trained).max() < 1e-9


@needs_node
def test_the_pages_javascript_fills_the_kits_answer_sheet(tmp_path):
    assert conformance.main(["export", str(tmp_path)]) == 0
    subprocess.run(["node", str(page.METHOD.with_name("javascript.mjs")), str(tmp_path)], check=True)
    assert conformance.main(["check", str(tmp_path), "--json", str(tmp_path / "report.json")]) == 0
    counts = json.loads((tmp_path / "report.json").read_text())["counts"]
    assert counts.keys() == {"passed", "skipped"} and counts["passed"] > 70


def test_saved_content_comes_back_to_the_bit(content, tmp_path):
    page.save(tmp_path / "networks.npz", content)
    again = page.load(tmp_path / "networks.npz")
    assert list(again.networks) == list(content.networks) and again.made == content.made
    for name, params in content.networks.items():
        for one, other in zip(params, again.networks[name], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert np.array_equal(again.critic[0][0], content.critic[0][0])


def test_the_shipped_networks_are_what_their_record_says():
    record, content = json.loads(page.SHIPPED.with_suffix(".json").read_text(encoding="utf-8")), page.shipped()
    test = load(28, full=True).test
    assert [n["name"] for n in record["networks"]] == list(content.networks)
    for n in record["networks"]:
        assert NAMES[n["name"]] == n["defence"]
        assert [len(b) for _, b in content.networks[n["name"]]] == [*record["training"]["hidden"], 10]
        wrong = from_params(content.networks[n["name"]]).logits(test.x).argmax(axis=1) != test.y
        assert wrong.mean() == pytest.approx(n["test_error"], abs=1e-12)
    rows = page.of_each_class(test.y)
    assert np.allclose(content.images, test.x[rows], atol=1e-7) and np.array_equal(content.labels, test.y[rows])
    assert rows[page.DIGIT] == np.flatnonzero(test.y == 4)[0]  # "the first 4 of the test images"


SEEN = {  # linear RGB as the colour-blind see it: Machado, Oliveira and Fernandes (2009), severity 1
    "all": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.mark.parametrize("scheme, paper", [("light", "#faf9f6"), ("dark", "#16171a")])
def test_the_colours_differ_for_the_colour_blind_and_from_the_paper(scheme, paper):
    text = (page.HERE / "attack.js").read_text(encoding="utf-8")
    assert f"--paper: {paper}" in (page.HERE / "attack.html").read_text(encoding="utf-8")
    found = re.findall("#[0-9a-f]{6}", re.search(rf"ACCENTS = .*?{scheme}: \[(.*?)\]", text, re.DOTALL)[1])
    srgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in [paper, *found]])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    light = linear @ XYZ[1] + 0.05
    assert len(found) == 6 and np.all(np.maximum(light[1:] / light[0], light[0] / light[1:]) >= 3)  # WCAG 1.4.11
    for matrix in SEEN.values():
        x, y, z = np.cbrt(XYZ @ np.clip(np.array(matrix) @ linear[1:].T, 0, 1) / XYZ.sum(axis=1)[:, None])
        lab = np.array([116 * y, 500 * (x - y), 200 * (y - z)])  # CIELAB; none of the colours is nearly black
        apart = np.linalg.norm(lab[:, :, None] - lab[:, None], axis=0)[np.triu_indices(6, 1)]
        assert apart.min() > 9  # 2.3 can just be told apart


def test_nothing_is_loaded_from_anywhere(content):
    text = page.page(content)
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href|import)\s*[=(]?\s*["']?(http|//)""", text)
    assert not re.search(r"\b(fetch|XMLHttpRequest|sendBeacon|WebSocket|eval)\b", text)


@pytest.fixture
def browser(content, tmp_path, chromium):
    def start(address="", content=content, **how):
        path = tmp_path / "attack.html"
        path.write_text(page.page(content), encoding="utf-8")
        return chromium(path.as_uri() + address, **how)

    return start


def text(driver, selector):
    return driver.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def last_step(driver):
    return int(driver.execute_script("return document.getElementById('slider').max"))


def press(driver, *keys):
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def test_the_story_by_keyboard_and_by_address(browser, content):
    from selenium.webdriver import Keys

    driver = browser("#step=0")
    D = critic.scores(content.critic, content.images[[page.DIGIT]], AdversaryCritic().slope)[0]
    shown = re.findall(r"[49]\?\s(\S+\d)", text(driver, ".score").replace("−", "-"))
    assert [float(v) for v in shown] == pytest.approx(D[[4, 9]], abs=0.051)
    assert text(driver, "#title") == "What must change before a network calls this 4 a 9?"
    assert text(driver, ".moved") == "0.0 %"
    press(driver, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert text(driver, "#where") == f"step 1 of {last_step(driver)}" and "step=1" in driver.current_url
    assert text(driver, "#verdict") == ""
    press(driver, Keys.END)
    assert text(driver, "#verdict").startswith("The attack has ended. undefended: taken for 9 after a change of ")
    end = text(driver, "#columns")
    press(driver, Keys.HOME)
    assert text(driver, ".moved") == "0.0 %"  # back to the same start
    address = "#digit=11&target=7&confidence=0.95&attack=training&step=3&network=0&hide=chart,aside"
    driver.execute_script("location.hash = arguments[0]", address)
    assert "calls this 2 a 7" in text(driver, "#title") and text(driver, "#formulas-title") == "undefended, step 3"
    assert not driver.execute_script("return document.getElementById('chart').checkVisibility()")
    driver.execute_script("location.hash = 'step=500'")
    assert text(driver, "#columns") == end


def test_a_number_opens_its_formula_with_the_numbers_in_it(browser, content):
    from selenium.webdriver import Keys

    driver = browser("#step=4&network=1")
    driver.execute_script("document.querySelector('[data-network=\"0\"] .moved').focus()")
    press(driver, Keys.ENTER)
    assert text(driver, "#formulas-title") == "undefended, step 4"
    row = text(driver, "#formulas .lit")
    r, x, percent = map(float, re.search(r"= ([\d.]+) / ([\d.]+) = ([\d.]+) %", row).groups())
    image = content.images[page.DIGIT]
    assert x == pytest.approx(np.linalg.norm(image), abs=5e-3) and percent == pytest.approx(100 * r / x, abs=0.2)
    path = high_confidence(from_params(content.networks["undefended"]), image[None], ("true", np.array([4])), 0.8,
                           targets=np.array([9]), iterations=4)  # fmt: skip
    assert r == pytest.approx(np.linalg.norm(path.last - image), abs=5e-3)


def test_a_phone_shows_all_and_reduced_motion_shows_the_end(browser, content):
    all_six = content._replace(
        networks={name: content.networks.get(name, content.networks["critic"]) for name in NAMES}
    )
    driver = browser(width=360, height=740, reduced=True, dark=True, content=all_six)
    assert text(driver, "#where").strip() == f"step {last_step(driver)} of {last_step(driver)}"
    assert driver.execute_script("return document.documentElement.scrollWidth") == 360
    assert driver.execute_script("return document.body.classList.contains('dark')")
    boxes = """return [...document.querySelectorAll(arguments[0])].map((e) => {
        const range = document.createRange();
        range.selectNodeContents(e);
        const { left, right, top, bottom } = range.getBoundingClientRect();
        return [left, right, top, bottom]; })"""
    texts = driver.execute_script(boxes, ".name, .network .number")
    assert len(texts) == 6 * 3 + 1
    transport = driver.execute_script("return document.getElementById('transport').getBoundingClientRect().top")
    assert all(bottom < transport for *_, bottom in driver.execute_script(boxes, ".name, .moved"))  # before one scrolls
    for i, (left, right, top, bottom) in enumerate(texts):
        assert all(right <= l or r <= left or bottom <= t or b <= top for l, r, t, b in texts[:i])


def test_untouched_the_page_plays_its_story(browser):
    driver = browser("#attack=training&confidence=0.5")
    until = time.monotonic() + 20
    while not text(driver, "#verdict") and time.monotonic() < until:
        time.sleep(0.1)
    assert text(driver, "#where") == f"step {last_step(driver)} of {last_step(driver)}"
    assert text(driver, "#verdict").count("taken for 9") >= 1  # five steps do not always reach it
