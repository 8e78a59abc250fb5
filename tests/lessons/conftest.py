"""A headless Chromium for the pages; whatever a page complains of fails the test."""

import shutil

import pytest

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")


@pytest.fixture
def chromium(tmp_path):
    """start(url, width, height, dark, reduced) -> a driver that has opened the page."""
    if not (BROWSER and DRIVER):
        pytest.skip("needs Chromium and its driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    from selenium.webdriver.chrome.service import Service

    opened = []

    def start(url, width=1200, height=800, dark=False, reduced=False):
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run"):
            options.add_argument(f"--{argument}")
        options.add_argument(f"--user-data-dir={tmp_path / f'profile{len(opened)}'}")
        driver = webdriver.Chrome(options, Service(DRIVER))
        opened.append(driver)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        motion = [{"name": "prefers-reduced-motion", "value": "reduce" if reduced else "no-preference"}]
        colours = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": motion + colours})
        driver.get(url)
        return driver

    yield start
    complaints = [line for driver in opened for line in driver.get_log("browser")]
    for driver in opened:
        driver.quit()
    assert complaints == []
