"""The page of `connector sandbox` in a real browser: it shows what arrived, and scripts what goes wrong."""

from typing import Any

import aioboto3
import pytest
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError
from selenium.webdriver.support.select import Select

from connector.sandbox.rooms import Rooms
from connector.sandbox.sandbox import Sandbox
from tests.browser.conftest import Browser

pytestmark = pytest.mark.timeout(240)


async def put(url: str, detail: str) -> None:
    session: Any = aioboto3.Session("any", "any", region_name="eu-west-1")  # typed per service name
    config = AioConfig(retries={"total_max_attempts": 1})
    async with session.client("events", endpoint_url=url, config=config) as client:
        await client.put_events(Entries=[{"Source": "shop", "DetailType": "Order", "Detail": detail}])


async def choose(browser: Browser, service: str, what: str) -> None:
    """Choose a fault for a service in its list, and script it."""

    def step() -> None:
        box = browser.driver.find_element("css selector", f"section[aria-label='{service}']")
        Select(box.find_element("tag name", "select")).select_by_visible_text(what)
        box.find_element("css selector", "button[type='submit'], form button:not([type='button'])").click()

    await browser.do(step)


async def test_the_page_shows_what_arrived_and_scripts_what_goes_wrong(browser: Browser) -> None:
    async with Sandbox(Rooms().made(0)) as sandbox:
        await browser.open(sandbox.url)
        await browser.says("eventbridge", "iot_events", "pinpoint", "fiddler", "buses", "default, orders")
        await put(sandbox.url, '{"order": "<b>17</b>"}')
        await browser.says("PutEvents 1", "accepted", "<b>17</b>", of="section[aria-label='eventbridge']")

        await choose(browser, "eventbridge", "throttle 3 requests")
        await browser.says('{"do":"throttle","times":3}', of="section[aria-label='eventbridge']")
        with pytest.raises(ClientError, match="ThrottlingException"):
            await put(sandbox.url, "{}")
        await browser.says('{"do":"throttle","times":2}', "throttle 1", of="section[aria-label='eventbridge']")

        await choose(browser, "pinpoint", "refuse entry 0")
        await browser.says('"code":"500"', of="section[aria-label='pinpoint']")
        assert sandbox.services["pinpoint"].faults.left == [{"do": "refuse", "code": "500", "entry": 0}]
        await browser.shot("sandbox")
        await browser.press("Clear the script")  # the first one's: EventBridge
        await browser.until(lambda: _none_left(sandbox), "an empty script")
        await browser.press("Forget what arrived")
        await browser.says("accepted\n0", of="section[aria-label='eventbridge']")


async def _none_left(sandbox: Sandbox) -> bool:
    return sandbox.services["eventbridge"].faults.left == []


async def test_the_page_says_that_the_sandbox_is_gone(browser: Browser) -> None:
    async with Sandbox(Rooms().made(0)) as sandbox:
        await browser.open(sandbox.url)
        await browser.says("eventbridge")
    await browser.says("The sandbox does not answer")
