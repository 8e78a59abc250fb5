"""The survey's page in a real browser: answered by keyboard, reloaded, exported, scored; and at a phone's width."""

import json
import shutil

import numpy as np
import pytest
from test_survey import make_small, train_all

from reference.experiment.standin import UNSURE
from reference.studies import scoring, survey

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs Chromium and its driver: apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_small(tmp_path_factory.mktemp("survey"), train_all(tmp_path_factory.mktemp("results")))


@pytest.fixture
def open_page(made, tmp_path):
    """open_page(width, height, phone, page) -> the browser with the page, loaded from its file."""
    opened = []

    def start(width=1200, height=800, phone=False, page=None):
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        # A container has neither a sandbox for root nor a large /dev/shm.
        for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", f"window-size={width},{height}"):
            options.add_argument(f"--{argument}")
        options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
        if phone:
            metrics = {"width": width, "height": height, "pixelRatio": 2, "touch": True, "mobile": True}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        browser = webdriver.Chrome(options, Service(DRIVER))
        opened.append(browser)
        browser.get((page or made / "survey.html").as_uri())
        return browser

    yield start
    for browser in opened:
        complaints = browser.get_log("browser")
        browser.quit()
        assert complaints == []


def press(browser, *keys):
    """Type on the keyboard, to whatever has the focus."""
    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def boxes(browser):
    return browser.find_elements(By.CSS_SELECTOR, "#strip input")


def values(browser):
    return [box.get_property("value") for box in boxes(browser)]


def focused(browser):
    """Which box has the focus."""
    return boxes(browser).index(browser.switch_to.active_element)


def status(browser):
    return browser.find_element(By.ID, "status").text


def where(browser, seconds=20):
    """What the page says of the progress, once it says anything: a page that was loaded anew takes a moment."""
    WebDriverWait(browser, seconds).until(lambda browser: browser.find_element(By.ID, "progress").text)
    return browser.find_element(By.ID, "progress").text.replace("\n", ", ")


def download(folder, seconds=20):
    """The one exported file, once it is whole."""
    return WebDriverWait(folder, seconds).until(lambda folder: list(folder.glob("answers-*.json")))[0]


def test_a_person_answers_by_keyboard_reloads_and_exports(open_page, made, tmp_path):
    key = scoring.read_key(scoring.read(made / "key.json"))
    answers = key.original.copy()
    shown = np.flatnonzero(key.defence != "")
    answers[shown[::3]] = key.taken_for[shown[::3]]
    answers[shown[1]] = UNSURE
    text = "".join("?" if answer == UNSURE else str(answer) for answer in answers)

    browser = open_page()
    assert "voluntary" in browser.find_element(By.ID, "consent").text and not boxes(browser)
    press(browser, Keys.ENTER)
    assert where(browser) == "Strip 1 of 4, 0 of 20 answered" and focused(browser) == 0
    press(browser, *text[:5])
    assert values(browser) == list(text[:5]) and where(browser) == "Strip 1 of 4, 5 of 20 answered"
    press(browser, Keys.ENTER)
    assert where(browser) == "Strip 2 of 4, 5 of 20 answered" and focused(browser) == 0
    press(browser, *text[5:7])
    assert focused(browser) == 2

    browser.refresh()
    assert where(browser) == "Strip 2 of 4, 7 of 20 answered"
    assert values(browser) == [*text[5:7], "", "", ""] and focused(browser) == 2
    page, closed = browser.current_url, browser.current_window_handle
    browser.switch_to.new_window("tab")
    opened = browser.current_window_handle
    browser.switch_to.window(closed)
    browser.close()
    browser.switch_to.window(opened)
    browser.get(page)
    assert where(browser) == "Strip 2 of 4, 7 of 20 answered" and values(browser) == [*text[5:7], "", "", ""]

    press(browser, "x")
    assert "Only digits" in status(browser) and values(browser)[2] == "" and focused(browser) == 2
    press(browser, Keys.ENTER)
    assert "third box is empty" in status(browser) and where(browser).startswith("Strip 2")
    press(browser, Keys.ARROW_LEFT, "8")  # typed over
    assert values(browser)[:2] == [text[5], "8"] and focused(browser) == 2 and status(browser) == ""
    press(browser, Keys.ARROW_LEFT, Keys.BACKSPACE, text[6], *text[7:10])
    assert values(browser) == list(text[5:10]) and focused(browser) == 4
    press(browser, Keys.ARROW_RIGHT)
    assert focused(browser) == 4
    press(browser, Keys.ARROW_UP)
    assert where(browser).startswith("Strip 1") and values(browser) == list(text[:5])
    press(browser, Keys.ARROW_DOWN, Keys.ARROW_DOWN, *text[10:15], Keys.ENTER, *text[15:20], Keys.ENTER)
    assert browser.find_element(By.ID, "end").is_displayed() and not browser.find_element(By.ID, "task").is_displayed()
    browser.refresh()
    press(browser, Keys.ENTER)

    path = download(tmp_path)
    assert path.name in browser.find_element(By.ID, "end").text
    exported = json.loads(path.read_text(encoding="utf-8"))
    assert exported["answers"] == text and path.name == f"answers-{exported['annotator']}.json"
    assert set(exported) == {"kind", "fingerprint", "annotator", "answers"}
    result = scoring.score([path, *made.glob("*.json")])
    assert result["rejected"] == {} and len(result["people"]["annotators"]) == 1
    counts = [entry[kind]["count"] for entry in result["people"]["defences"].values() for kind in ("changed", "unsure")]
    assert sum(counts) == len(shown[::3]) + 1

    browser.find_element(By.ID, "erase").click()
    browser.switch_to.alert.accept()
    assert browser.find_element(By.ID, "consent").is_displayed()
    assert exported["annotator"] not in browser.execute_script("return JSON.stringify(localStorage)")


@pytest.mark.parametrize("width, phone", [(1200, False), (360, True), (320, True)])
def test_it_fits_the_screen_and_says_what_everything_is(open_page, width, phone):
    browser = open_page(width, 740, phone)
    for section in ("consent", "task", "end"):
        if section == "end":
            browser.execute_script("state.answers = '1'.repeat(survey.count); state.strip = STRIPS; show()")
        assert browser.find_element(By.ID, section).is_displayed()
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), section
        controls = [e for e in browser.find_elements(By.CSS_SELECTOR, "button, input") if e.is_displayed()]
        assert controls and all(e.accessible_name and e.size["height"] >= 40 for e in controls)
        assert browser.switch_to.active_element.value_of_css_property("outline-style") == "solid"
        if section == "consent":
            press(browser, Keys.ENTER)
            names = [box.accessible_name for box in boxes(browser)]
            assert names == [f"The {place} digit" for place in ("first", "second", "third", "fourth", "fifth")]
            tops = {box.location["y"] for box in boxes(browser)}
            assert len(tops) == 1, "one strip"
            images = browser.find_elements(By.CSS_SELECTOR, "canvas")
            assert len(images) == 5 and all(image.size["width"] >= 56 for image in images)
            press(browser, "7")  # so that "Back" and what is answered are there to be measured


def test_the_images_are_drawn_as_ink_on_paper(open_page, made):
    """The canvas resembles its own image more than any other of the survey, upside down, mirrored or as a negative."""
    browser = open_page()
    press(browser, Keys.ENTER)
    pixels = np.reshape(browser.execute_script("return Array.from(pixels)"), (20, 14, 14))
    data = "c.getContext('2d').getImageData(0, 0, 256, 256).data"
    script = f"return [...document.querySelectorAll('canvas')].map(c => [...{data}])"
    drawn = np.reshape(browser.execute_script(script), (5, 256, 256, 4))
    assert np.all(drawn[..., 3] == 255)
    middles = (256 * (np.arange(14) + 0.5) / 14).astype(int)
    ink = 255 - drawn[:, middles][:, :, middles, 0]
    turned = np.concatenate([pixels, pixels[:, ::-1], pixels[:, :, ::-1], pixels.transpose(0, 2, 1), 255 - pixels])
    for i, image in enumerate(ink):
        assert np.argmax([np.corrcoef(image.ravel(), other.ravel())[0, 1] for other in turned]) == i


def test_fingers_have_keys_of_their_own(open_page):
    browser = open_page(360, 740, phone=True)
    browser.find_element(By.ID, "agree").click()
    keypad = browser.find_element(By.ID, "keypad")
    assert keypad.is_displayed() and all(box.get_attribute("inputmode") == "none" for box in boxes(browser))
    keys = {button.text: button for button in keypad.find_elements(By.TAG_NAME, "button")}
    assert "".join(keys) == "0123456789?"
    for character in "3?0":
        keys[character].click()
    assert values(browser) == ["3", "?", "0", "", ""] and focused(browser) == 3
    boxes(browser)[1].click()
    keys["9"].click()
    assert values(browser) == ["3", "9", "0", "", ""]
    browser.find_element(By.ID, "next").click()
    assert "fourth box is empty" in status(browser)


def test_a_short_strip_a_browser_that_keeps_nothing_and_what_is_not_ours(open_page, tmp_path):
    page = tmp_path / "seven.html"
    page.write_text(survey.page(np.zeros((7, 196), np.uint8), "mark"), encoding="utf-8")
    browser = open_page(page=page)
    browser.execute_script("localStorage.setItem('survey-mark', JSON.stringify({answers: 'x', strip: 9}))")
    browser.refresh()
    assert browser.find_element(By.ID, "consent").is_displayed()
    press(browser, Keys.ENTER, *"12345", Keys.ENTER)
    assert where(browser) == "Strip 2 of 2, 5 of 7 answered" and len(boxes(browser)) == 2
    browser.execute_script("Storage.prototype.setItem = () => { throw new Error('full') }")
    press(browser, "6")
    assert "keeps no answers" in status(browser)
    press(browser, "7", Keys.ENTER, Keys.ENTER)
    assert json.loads(download(tmp_path).read_text(encoding="utf-8"))["answers"] == "1234567"


def test_two_tabs_hold_the_same_answers(open_page):
    """What one tab answers stands in the other, and is not lost when that answers; nor does what was erased return."""
    browser = open_page()
    press(browser, Keys.ENTER, *"123")
    first, page = browser.current_window_handle, browser.current_url
    browser.switch_to.new_window("tab")
    second = browser.current_window_handle
    browser.get(page)
    press(browser, *"45")
    browser.switch_to.window(first)
    shown(browser, "12345")
    assert "another tab" in status(browser)
    press(browser, Keys.ENTER, *"6")
    browser.switch_to.window(second)
    shown(browser, "6")
    assert where(browser) == "Strip 2 of 4, 6 of 20 answered"
    browser.execute_script("window.confirm = () => true; document.getElementById('erase').click()")
    browser.switch_to.window(first)
    WebDriverWait(browser, 10).until(lambda browser: browser.find_element(By.ID, "consent").is_displayed())
    press(browser, Keys.ENTER)
    assert where(browser) == "Strip 1 of 4, 0 of 20 answered"


def shown(browser, text, seconds=10):
    """Wait until the strip holds `text`."""
    WebDriverWait(browser, seconds).until(lambda browser: "".join(values(browser)) == text)


def test_a_strip_that_is_none_begins_anew(open_page):
    browser = open_page()
    script = "localStorage.setItem(STORE, JSON.stringify({...fresh(), agreed: true, strip: arguments[0]}))"
    for strip in (1.5, "1", [1], None, -1, 5):
        browser.execute_script(script, strip)
        browser.refresh()
        assert browser.find_element(By.ID, "consent").is_displayed()
    press(browser, Keys.ENTER, "7")
    assert values(browser)[0] == "7"


def test_there_is_no_way_back_from_the_first_strip(open_page):
    """A button that does nothing looks so."""
    browser = open_page()
    press(browser, Keys.ENTER)
    back = browser.find_element(By.ID, "back")
    off = [back.value_of_css_property(name) for name in ("color", "border-style", "cursor")]
    press(browser, *"12345", Keys.ENTER)
    assert back.is_enabled()
    assert all(a != back.value_of_css_property(name) for a, name in zip(off, ("color", "border-style", "cursor")))
