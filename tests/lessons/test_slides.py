"""The slides: nothing is typed that was measured, each has notes, and a browser shows, pages and prints them."""

import base64
import re

import pytest

from reference.lessons import __main__ as command
from reference.lessons import slides

for package in ("markdown_it", "mdit_py_plugins", "latex2mathml", "pygments", "nbformat"):
    pytest.importorskip(package, reason="needs the extra teach: pip install '.[teach]'")

SOURCES = slides.sources()
CUT_OFF = """return [...document.querySelectorAll(arguments[0])].filter((e) =>
    (e.matches(".slide, .body") || getComputedStyle(e).overflowX !== "visible")
    && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)).map((e) => e.className)"""


def test_every_slide_has_a_title_minutes_and_a_question():
    minutes = [int(re.match(r"(\d+) min\. ", notes)[1]) for _, notes in SOURCES]
    assert 20 <= len(SOURCES) <= 30 and sum(minutes) == 90
    for text, notes in SOURCES:
        assert re.match(r"# \S", text)
        assert re.search(r"^\*\*Ask:\*\* [^?]*(\S[^?]*)?\?", notes, re.MULTILINE)


def test_no_measured_number_is_typed():
    for text, notes in SOURCES:
        typed = re.sub(r"\{\{.*?\}\}|\$.*?\$", "", text + notes, flags=re.DOTALL)
        found = [n for n in re.findall(r"\d+\.\d+|\d+ ?%", typed) if n not in ("0.9", "0.7")]  # the question's example
        assert not found


def test_a_record_that_changes_changes_its_slide(monkeypatch):
    record = slides.record()
    record["over_seeds"]["multi-step"]["strongest"]["critic_less_this"]["mean"] = -0.5
    monkeypatch.setattr(slides, "record", lambda: record)
    assert any("{{rival()}}" in text for text, _ in SOURCES) and "−0.5000" in slides.filled("{{rival()}}")
    monkeypatch.setattr(slides.study, "read", lambda path: {"finding": f"Found {path.stem}. More. And more."})
    assert "Found kinds. More." in slides.filled('{{finding("kinds", 2)}}')


def test_the_built_pages_in_a_browser(tmp_path, chromium):
    """One test, since running all lessons takes a while and each worker would do it again."""
    assert command.main(["slides", "--out", str(tmp_path)]) == 0
    assert command.main(["read", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "slides.html").read_text(encoding="utf-8")
    assert "{{" not in text and "default-src 'none'" in text
    assert not re.search(r"""(src|href)\s*=\s*["']?(http|//)""", text)
    keys_turn_slides_and_every_slide_fits(chromium((tmp_path / "slides.html").as_uri(), width=1280, height=720))
    phone = chromium("about:blank", width=360, height=740)
    for path in sorted(tmp_path.glob("*.html")):
        nothing_is_wider_than_the_screen(phone, path)


def keys_turn_slides_and_every_slide_fits(driver):
    from selenium.webdriver import ActionChains, Keys

    def seen():
        slides = "[...document.querySelectorAll('.slide')]"
        return driver.execute_script(f"return {slides}.filter((s) => s.checkVisibility()).map((s) => s.id)")

    def press(key):
        ActionChains(driver).send_keys(key).perform()

    notes = "return document.querySelector('.now .notes').checkVisibility()"
    for noted in (False, True):
        for number in range(1, len(SOURCES) + 1):
            assert seen() == [f"s{number}"] and driver.current_url.endswith(f"#{number}")
            assert driver.execute_script(notes) == noted
            assert driver.execute_script(CUT_OFF, ".slide.now, .slide.now *") == [], f"slide {number}"
            press(Keys.ARROW_RIGHT)
        assert seen() == [f"s{len(SOURCES)}"]  # the last stays
        press(Keys.HOME)
        press("n")
    printed = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == len(SOURCES)


def nothing_is_wider_than_the_screen(driver, path):
    driver.get(path.as_uri())
    assert driver.execute_script("return document.documentElement.scrollWidth") == 360, path.name
    hidden = driver.execute_script(
        """return [...document.querySelectorAll("main *")].filter((e) => e.scrollWidth > e.clientWidth + 1
           && ["hidden", "clip"].includes(getComputedStyle(e).overflowX)).map((e) => e.outerHTML.slice(0, 60))"""
    )
    assert not hidden, path.name  # what is wider than its box can be scrolled to
