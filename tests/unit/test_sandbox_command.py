"""`connector sandbox`: every service behind one address, its page, its config, and how it starts and stops."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any, Final

import aioboto3
import aiohttp
import pytest
from aiobotocore.config import AioConfig
from typer.testing import CliRunner

from connector.cli import cli
from connector.loading.load import compiled, load
from connector.model import Health
from connector.sandbox.demo import shipped
from connector.sandbox.rooms import SAMPLES, Rooms, furnish
from connector.sandbox.sandbox import Sandbox
from connector.targets import REGISTRY
from tests.contract.wire import session

DEADLINE: Final = 60.0
PAGE: Final = Path(__file__).parents[2] / "docs" / "sandbox.md"
ENTRY = {"Source": "com.acme", "DetailType": "Order", "Detail": '{"a":1}'}
MESSAGE = {"messageId": "m", "inputName": "orders", "payload": b"{}"}
EVENTS: dict[str, Any] = {"BatchItem": {"e": {"Endpoint": {}, "Events": {}}}}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(Rooms().made(7)) as started:
        yield started


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def client(service: str, url: str) -> Any:
    session: Any = aioboto3.Session("any", "any", region_name="eu-west-1")  # typed per service name
    return session.client(service, endpoint_url=url, config=AioConfig(retries={"total_max_attempts": 1}))


async def send_one_to_each(url: str) -> None:
    async with client("events", url) as events:
        await events.put_events(Entries=[ENTRY])
    async with client("iotevents-data", url) as data:
        await data.batch_put_message(messages=[MESSAGE])
    async with client("pinpoint", url) as pinpoint:
        await pinpoint.put_events(ApplicationId="shop", EventsRequest=EVENTS)


async def overview(http: aiohttp.ClientSession, sandbox: Sandbox, query: str = "") -> Any:
    async with http.get(f"{sandbox.url}/_sandbox/{query}") as reply:
        assert reply.content_type == "application/json"
        return (await reply.json())["services"]


async def test_every_service_listens_at_one_address_and_keeps_a_log_of_its_own(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    await send_one_to_each(sandbox.url)
    for name in ("eventbridge", "iot_events", "pinpoint"):
        async with http.get(f"{sandbox.url}/_sandbox/{name}/events") as reply:
            assert [row["index"] for row in (await reply.json())["accepted"]] == [0]
        async with http.get(f"{sandbox.url}/_sandbox/{name}/stats") as reply:
            assert (await reply.json())["calls"] == 1


async def test_the_overview_shows_the_latest_first_and_cuts_long_texts(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    async with client("events", sandbox.url) as events:
        for number in range(3):
            detail = json.dumps({"n": number, "long": "x" * 2000})
            await events.put_events(
                Entries=[{**ENTRY, "Detail": detail, "EventBusName": "gone" if number else "default"}]
            )
    told = (await overview(http, sandbox, "?latest=2"))["eventbridge"]
    assert [(row["index"], row["took"]) for row in told["latest"]] == [(2, "vanished"), (1, "vanished")]
    assert told["latest"][0]["detail"].endswith("… (2020 in all)")
    assert told["stats"]["buses"] == ["default", "orders"]
    async with http.get(f"{sandbox.url}/_sandbox/?latest=all") as reply:
        assert reply.status == 400


async def test_faults_are_scripted_for_one_service_and_shown_until_they_are_used(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    script = f"{sandbox.url}/_sandbox/pinpoint/faults"
    async with http.post(script, json=[{"do": "throttle", "times": 2}, {"do": "slow", "seconds": 0.01}]) as reply:
        assert reply.status == 204
    async with client("pinpoint", sandbox.url) as pinpoint:
        with pytest.raises(pinpoint.exceptions.TooManyRequestsException):
            await pinpoint.put_events(ApplicationId="shop", EventsRequest=EVENTS)
    told = await overview(http, sandbox)
    assert told["pinpoint"]["faults"] == [{"do": "throttle"}]
    assert told["eventbridge"]["faults"] == []
    async with http.get(script) as reply:
        assert await reply.json() == [{"do": "throttle"}]
    async with http.delete(script) as reply:
        assert reply.status == 204
    await send_one_to_each(sandbox.url)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("eventbridge", {"do": "throttle", "times": "3"}, "times: must be a whole number, or null for every request"),
        ("eventbridge", {"do": "throttle", "times": True}, "times: must be a whole number"),
        ("eventbridge", {"do": "html", "status": 99}, "status: is none of HTTP's"),
        ("eventbridge", {"do": "slow", "seconds": -1}, "seconds: must not be negative"),
        ("eventbridge", {"do": "refuse", "probability": 2}, "probability: is not from 0 to 1"),
        ("eventbridge", {"times": 3}, "do: is missing"),
        ("eventbridge", {"do": "refuse", "when": "always"}, "unknown: when"),
        ("eventbridge", {"do": "bare"}, "eventbridge has no 'bare'"),
        ("iot_events", {"do": "wrong_count"}, "iot_events has no 'wrong_count'; of that kind it has no_count"),
        ("pinpoint", {"do": "fail_job"}, "pinpoint has no 'fail_job'"),
        ("pinpoint", {"do": "refuse", "code": "InternalFailure"}, 'fails with a status, such as "400"'),
    ],
    ids=str,
)
async def test_a_fault_that_cannot_be_is_refused_with_what_could(
    sandbox: Sandbox, http: aiohttp.ClientSession, name: str, line: Any, words: str
) -> None:
    async with http.post(f"{sandbox.url}/_sandbox/{name}/faults", json=line) as reply:
        assert reply.status == 400
        assert words in await reply.text()
    assert list(sandbox.services[name].faults) == []


async def test_what_arrived_is_forgotten_on_request_and_numbers_go_on(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    await send_one_to_each(sandbox.url)
    async with http.delete(f"{sandbox.url}/_sandbox/eventbridge/events") as reply:
        assert reply.status == 204
    async with client("events", sandbox.url) as events:
        await events.put_events(Entries=[ENTRY])
    told = await overview(http, sandbox)
    assert [row["index"] for row in told["eventbridge"]["latest"]] == [1]
    assert [row["index"] for row in told["pinpoint"]["latest"]] == [0]


async def test_a_browser_gets_a_page_that_may_only_run_itself(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{sandbox.url}/", headers={"Accept": "text/html,*/*"}) as reply:
        html = await reply.text()
        assert reply.url.path == "/_sandbox/"
        assert reply.content_type == "text/html"
        assert "default-src 'none'; script-src 'sha256-" in reply.headers["Content-Security-Policy"]
    assert "connector sandbox" in html
    assert not re.search(r"https?://", html)  # it is whole in itself


async def test_a_path_that_no_service_has_is_answered_with_those_that_there_are(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    async with http.put(f"{sandbox.url}/v1/events") as reply:
        assert reply.status == 404
        text = await reply.text()
    assert "No simulated service listens at PUT /v1/events" in text
    assert "POST /inputs/messages" in text


def test_a_file_says_what_exists_and_what_goes_wrong(tmp_path: Path) -> None:
    file = tmp_path / "rooms.yaml"
    file.write_text(
        "eventbridge: {buses: [default, audit], max_bytes: 256KiB}\n"
        "iot_events: {inputs: [temperature], max_message_bytes: 10KiB, max_batch_bytes: 10KiB}\n"
        "fiddler:\n"
        "  models: [{project: shop, name: returns, version: v2, columns: {id: str, n: int}, event_id_col: id}]\n"
        "pinpoint:\n"
        "  applications: [one, two]\n"
        '  faults: [{do: throttle, times: 3}, {do: refuse, entry: 1, code: "400"}]\n'
    )
    rooms = furnish(file, {}).rooms
    assert rooms is not None
    services = rooms.made(7)
    assert services["eventbridge"].state == {"buses": ["audit", "default"]}
    assert services["iot_events"].state == {"inputs": ["temperature"]}
    assert services["fiddler"].state["models"] == ["shop/returns@v2"]
    assert services["pinpoint"].faults.left == [
        {"do": "throttle", "times": 3},
        {"do": "refuse", "entry": 1, "code": "400"},
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("eventbridge: {busses: [a]}\n", "rooms.yaml:1:15: CFG010 unknown key `busses`"),
        ("iot_event: {}\n", "did you mean `iot_events`?"),
        ("eventbridge: {max_bytes: 9}\n", "needs a unit"),
        ("pinpoint:\n  faults:\n    - {do: dance}\n", "rooms.yaml:3:7: CFG012"),
        ("pinpoint:\n  faults:\n    - {do: dance}\n", "is no fault of pinpoint: do: 'dance' is none of"),
        ("eventbridge: [\n", "CFG002"),
        ("fiddler: {models: [{project: p, name: n, columns: {a: number}}]}\n", "CFG014"),
    ],
)
def test_a_mistake_in_the_file_ends_with_78_and_its_place(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "rooms.yaml"
    file.write_text(text)
    result = CliRunner().invoke(cli, ["sandbox", str(file)], catch_exceptions=False)
    assert result.exit_code == 78
    assert words in result.stderr


def test_a_file_that_is_not_there_ends_with_78(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["sandbox", str(tmp_path / "none.yaml")], catch_exceptions=False)
    assert result.exit_code == 78
    assert "cannot be read" in result.stderr


def test_the_file_of_the_docs_is_sound(tmp_path: Path) -> None:
    [text] = re.findall(r"^```yaml sandbox\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    file = tmp_path / "sandbox.yaml"
    file.write_text(text)
    furnished = furnish(file, {})
    assert furnished.loaded.problems == ()
    assert furnished.rooms is not None
    assert set(furnished.rooms.model_fields_set) == set(Rooms.model_fields)


def test_every_service_has_a_sample_target_and_a_room() -> None:
    services = Rooms().made(0)
    assert set(SAMPLES) == set(services)
    assert all(name == service.name for name, service in services.items())


@contextmanager
def taken() -> Iterator[int]:
    with socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_taken_port_ends_with_1_and_says_what_to_do() -> None:
    with taken() as port:
        result = CliRunner().invoke(cli, ["sandbox", "--port", str(port)], catch_exceptions=False)
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}: the port is taken; take another with --port" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_is_takes_events_and_ends_with_0_when_told_to(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "connector", "sandbox", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            assert process.stdout is not None
            said = (await process.stdout.readuntil(b"curl ")).decode()
            said += (await process.stdout.readline()).decode()
            found = re.search(r"eventbridge +(http://127\.0\.0\.1:\d+)\n", said)
            assert found is not None
            await send_one_to_each(found[1])
            process.send_signal(number)
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, errors) == (0, b"")
    targets = said[said.index("targets:\n") : said.index("\n\nWhat is to go wrong next")]
    assert targets.count(found[1]) == len(SAMPLES)
    assert mistakes(targets, tmp_path) == []


def mistakes(targets: str, folder: Path) -> list[str]:
    """What `check` says of a config with these targets. Only their routes are missing, and those are no mistake."""
    file = folder / "connector.yaml"
    file.write_text(
        f"version: 1\nkafka: {{bootstrap_servers: localhost:1, group_id: g}}\n{targets}\n"
        "routes: [{name: r, topics: [t], targets: [eventbridge], map: {Source: s, DetailType: d}}]\n"
        "unrouted: skip\ndead_letters: {topic: dead}\n"
    )
    return [str(problem) for problem in compiled(load([file], {})).errors]


async def test_everything_that_the_config_for_all_services_names_is_there_by_default(sandbox: Sandbox) -> None:
    variables = ("AWS_ENDPOINT_URL_EVENTBRIDGE", "IOT_EVENTS_URL", "PINPOINT_URL", "FIDDLER_URL")
    settings = load([shipped("everything.yaml")], dict.fromkeys(variables, sandbox.url)).settings
    assert settings is not None
    for name, target in settings.targets.items():
        own = target.model_copy(update={"endpoint_url": sandbox.url}) if name == "orders-bus" else target
        make: Any = REGISTRY[target.type].make
        async with make(name, own, sessions=session) as made:
            found = await made.preflight()
        assert (name, found.health, found.detail) == (name, Health.OK, "")
