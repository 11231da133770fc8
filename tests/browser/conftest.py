"""One headless Chromium for all pages, and what a test does with it.

Needs Chromium with its driver and selenium (`make browser` brings both). CONNECTOR_SHOTS=DIR keeps screenshots.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PATIENCE: Final = 90.0  # seconds; only a page that is broken takes so long, however busy the machine is
SHOTS: Final = os.environ.get("CONNECTOR_SHOTS")


class Browser:
    """One window, driven from a thread: the daemon lives in this process's loop."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    async def do(self, step: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.to_thread(step, *args)

    async def open(self, url: str) -> None:
        await self.do(self.driver.get, url)

    async def text(self, of: str = "body") -> str:
        return str(await self.do(self._text, of))

    def _text(self, of: str) -> str:
        for _ in range(20):
            try:
                return str(self.driver.find_element(By.CSS_SELECTOR, of).text)
            except StaleElementReferenceException:
                continue  # the page has drawn itself anew meanwhile
        raise AssertionError(f"{of} never stood still")

    async def run(self, script: str) -> Any:
        return await self.do(self.driver.execute_script, script)

    async def press(self, button: str) -> None:
        """Click a button by its words, as soon as it is there."""
        found = f"[...document.querySelectorAll('button')].find(b => b.textContent === '{button}' && !b.hidden)"
        await self.until(lambda: self.run(f"return Boolean({found})"), f"a button {button!r}")
        await self.run(f"{found}.click()")

    async def says(self, *words: str, of: str = "body") -> str:
        """Wait until all the words stand in a part of the page; return its text."""

        async def there() -> bool:
            text = await self.text(of)
            return all(word in text for word in words)

        try:
            await self.until(there, " and ".join(map(repr, words)))
        except TimeoutError as error:
            raise AssertionError(f"{error}; it says:\n{await self.text(of)}") from None
        return await self.text(of)

    async def until(self, true: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not await true():
            if time.monotonic() > end:
                raise TimeoutError(f"the page never showed {what}")
            await asyncio.sleep(0.1)

    async def shot(self, name: str) -> None:
        if SHOTS is not None:
            await self.do(self.driver.save_screenshot, str(Path(SHOTS) / f"{name}.png"))

    async def confirm(self, token: str) -> None:
        """Fill in the dialog and send it, with the keyboard alone."""
        await self.until(lambda: self.run("return document.getElementById('ask').open"), "its dialog")
        field = await self.do(self.driver.find_element, By.ID, "token")
        await self.do(field.clear)
        await self.do(field.send_keys, token, Keys.ENTER)


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=1280,1500"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.set_page_load_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser(driver: webdriver.Chrome) -> Browser:
    return Browser(driver)
