"""The admin server answers probes, scrapers and people, in plain words, and shows nothing of anybody else's."""

import asyncio
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from connector import admin
from connector.admin import Answer, Outcome
from connector.metrics import Metrics
from connector.operations.status import Status
from connector.settings import AdminSettings

TOKEN = "token-of-the-test-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def status_of_a_daemon() -> Status:
    """One held lane, one full lane, one paused route, trouble with Kafka: a bad day, complete in every field."""
    return {
        "version": "0.1.0",
        "config_hash": "4f1d9c0a7be2",
        "started_at": "2026-11-21T05:00:00Z",
        "now": "2026-11-21T07:13:20Z",
        "state": "running",
        "attention": [
            {
                "title": "orders-bus is held: AccessDeniedException",
                "lines": ["It says: no"],
                "acts": [{"label": "Pause paid-orders", "route": "paid-orders", "what": "pause", "record": None}],
                "grave": True,
            }
        ],
        "ready": {"ok": True, "reason": "joined, 2 partitions"},
        "live": {"ok": True, "reason": "turned 0.1 s ago"},
        "changes": "token",
        "log_level": "info",
        "reload": {
            "at": "2026-11-21T06:00:00Z",
            "outcome": "refused",
            "reason": "shop.yaml:3:9: CFG010 routes[0].mtach",
        },
        "kafka": {
            "group": "orders-connector",
            "joined": True,
            "trouble": [{"code": "_TRANSPORT", "reason": "broker 2 is down", "since": "2026-11-21T07:12:00Z"}],
        },
        "halts": [
            {
                "route": "paid-orders",
                "topic": "shop.orders.v1",
                "partition": 1,
                "offset": 97_000,
                "stage": "TRANSFORMATION",
                "code": "MissingValue",
                "reason": "map.Source: value.channel is missing",
                "since": "2026-11-21T07:12:30Z",
                "todo": "mend the route and reload the config, or skip this record",
            }
        ],
        "partitions": [
            {
                "topic": "shop.orders.v1",
                "partition": 0,
                "position": 120_400,
                "committed": 115_400,
                "committable": 115_400,
                "lag": 9_800,
                "open": 5_000,
                "uncommitted": 5_000,
                "oldest_unsettled_age_s": 131.5,
                "paused": True,
            },
            {
                "topic": "shop.orders.v1",
                "partition": 1,
                "position": 98_000,
                "committed": None,
                "committable": None,
                "lag": None,
                "open": 3,
                "uncommitted": 3,
                "oldest_unsettled_age_s": 0.04,
                "paused": False,
            },
        ],
        "routes": [
            {
                "name": "paid-orders",
                "topics": ["shop.orders.v1"],
                "targets": ["orders-bus"],
                "matched": 180_000,
                "delivered": 171_000,
                "dead_lettered": 12,
                "skipped": 0,
                "retried": 340,
                "paused": None,
            },
            {
                "name": "everything-else",
                "topics": ["shop.orders.v1"],
                "targets": ["audit"],
                "matched": 40_000,
                "delivered": 39_000,
                "dead_lettered": 100,
                "skipped": 4,
                "retried": 0,
                "paused": {
                    "why": "dead_letters",
                    "code": "MissingValue",
                    "reason": "too many dead letters in a row: MissingValue",
                    "since": "2026-11-21T07:10:00Z",
                    "waiting": 12,
                    "todo": "look at the dead letters, mend the route, then let it go on",
                },
            },
        ],
        "targets": [
            {
                "name": "audit",
                "type": "stdout",
                "in_flight": 1,
                "max_in_flight": 16,
                "waiting": 800,
                "open_records": 9_000,
                "open_bytes": 14_000_000,
                "full": True,
                "held": None,
                "failing": {
                    "code": "BrokenPipe",
                    "detail": "nobody reads",
                    "since": "2026-11-21T07:12:10Z",
                    "next_probe_s": 2.5,
                    "entries": 9_000,
                    "topic": "shop.orders.v1",
                    "partition": 1,
                    "offset": 97_001,
                    "route": None,
                    "todo": "see to the service",
                },
                "preflight": {"health": "unknown", "code": "AccessDenied", "detail": "", "at": "2026-11-21T07:13:00Z"},
                "delivered": 39_000,
                "retried": 0,
                "rejected": 100,
                "told": {},
                "last_errors": [],
            },
            {
                "name": "orders-bus",
                "type": "eventbridge",
                "in_flight": 0,
                "max_in_flight": 16,
                "waiting": 4_990,
                "open_records": 5_000,
                "open_bytes": 6_500_000,
                "full": True,
                "held": {
                    "code": "AccessDeniedException",
                    "detail": "not authorized to perform: events:PutEvents <b>on</b> resource orders",
                    "since": "2026-11-21T07:11:10Z",
                    "next_probe_s": 18.4,
                    "entries": 4_990,
                    "topic": "shop.orders.v1",
                    "partition": 0,
                    "offset": 115_400,
                    "route": None,
                    "todo": "give the role events:PutEvents on the bus; the lane goes on by itself",
                },
                "failing": None,
                "preflight": {"health": "ok", "code": "", "detail": "", "at": "2026-11-21T07:13:00Z"},
                "delivered": 171_000,
                "retried": 340,
                "rejected": 12,
                "told": {},
                "last_errors": [{"code": "AccessDeniedException", "count": 9, "last": "2026-11-21T07:13:01Z"}],
            },
        ],
        "dead_letters": {"topic": "orders-connector.dead", "count": 112, "codes": []},
        "limits": {"max_open_records": 20_000, "max_open_bytes": 67_108_864},
        "totals": {
            "consumed": 218_403,
            "unrouted": 31,
            "delivered": 210_000,
            "dead_lettered": 112,
            "skipped": 4,
            "dry_run": 0,
            "retried": 340,
            "open_records": 14_000,
            "open_bytes": 20_500_000,
            "lag": 9_800,
            "oldest_unsettled_age_s": 131.5,
        },
        "history": {
            "every_s": 5.0,
            "delivered_per_s": [120.0, 118.5, 0.0, 0.0],
            "request_s": [0.012, 0.011, None, 30.0],
            "oldest_unsettled_age_s": [0.2, 0.3, 60.0, 131.5],
        },
    }


class Daemon:
    """A daemon's answers, set by the test."""

    def __init__(self) -> None:
        self.is_live = (True, "turned 0.1 s ago")
        self.is_ready = (True, "joined, 2 partitions")
        self.says: Mapping[str, Any] = status_of_a_daemon()
        self.admin = AdminSettings(token=SecretStr(TOKEN))
        self.did: list[tuple[Any, ...]] = []

    def live(self) -> tuple[bool, str]:
        return self.is_live

    def ready(self) -> tuple[bool, str]:
        return self.is_ready

    def status(self) -> Mapping[str, Any]:
        return self.says

    def config(self) -> Mapping[str, Any]:
        return {"hash": "4f1d9c0a7be2", "config": {"kafka": {"group_id": "g"}}}

    def pause(self, route: str) -> Answer:
        return self._do("pause", route)

    def resume(self, route: str) -> Answer:
        return self._do("resume", route)

    def skip(self, route: str, topic: str, partition: int, offset: int) -> Answer:
        return self._do("skip", route, topic, partition, offset)

    def set_level(self, level: str) -> Answer:
        return self._do("log-level", level)

    async def reload(self) -> Answer:
        return self._do("reload", "")

    def _do(self, *what: Any) -> Answer:
        if what[1] == "nowhere":
            return Answer(Outcome.UNKNOWN, "there is no route 'nowhere': the routes are paid-orders")
        self.did.append(what)
        return Answer(Outcome.DONE, "done")


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
async def client(daemon: Daemon, metrics: Metrics) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        admin.serve(daemon, daemon, "127.0.0.1", 0, metrics=metrics) as bound,
        aiohttp.ClientSession(bound.url, timeout=aiohttp.ClientTimeout(10)) as session,
    ):
        yield session


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
@pytest.mark.parametrize(("good", "code", "word"), [(True, 200, "ok"), (False, 503, "not ok")])
async def test_a_probe_answers_with_its_reason(
    client: aiohttp.ClientSession, daemon: Daemon, path: str, good: bool, code: int, word: str
) -> None:
    answers = {"/livez": (not good, "of the other"), "/readyz": (not good, "of the other"), path: (good, "the reason")}
    daemon.is_live, daemon.is_ready = answers["/livez"], answers["/readyz"]
    async with client.get(path) as answer:
        assert answer.status == code
        assert answer.content_type == "text/plain"
        assert await answer.text() == f"{word}: the reason\n"


async def test_status_is_the_state_as_json(client: aiohttp.ClientSession) -> None:
    async with client.get("/status") as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        assert await answer.json() == status_of_a_daemon()


async def test_half_a_surrogate_pair_in_a_services_words_does_not_break_the_status(
    client: aiohttp.ClientSession, daemon: Daemon
) -> None:
    daemon.says = {"detail": "half \ud83d"}
    async with client.get("/status") as answer:
        assert json.loads(await answer.text()) == {"detail": "half \ud83d"}


async def test_metrics_are_prometheus_text(client: aiohttp.ClientSession, metrics: Metrics) -> None:
    metrics.records_consumed.labels(topic="shop.orders.v1").inc(3)
    async with client.get("/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert 'connector_records_consumed_total{topic="shop.orders.v1"} 3.0' in (await answer.text()).splitlines()


async def test_a_scraper_that_asks_for_openmetrics_gets_it(client: aiohttp.ClientSession) -> None:
    asks = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    async with client.get("/metrics", headers=asks) as answer:
        assert answer.content_type == "application/openmetrics-text"
        assert (await answer.text()).endswith("# EOF\n")


async def test_the_page_may_run_its_own_script_and_nothing_else(client: aiohttp.ClientSession) -> None:
    async with client.get("/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        page = await answer.text()
        assert answer.content_type == "text/html"
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.count("<script") == 1
    assert page.count("<style") == 1


async def test_the_page_needs_nothing_from_outside_and_never_reads_text_as_markup(
    client: aiohttp.ClientSession,
) -> None:
    async with client.get("/") as answer:
        page = await answer.text()
    assert re.findall(r"https?://|//[a-z]|@import|url\(|src=", page) == []
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|DOMParser| style=| on\w+=", page) == []
    )


async def test_the_page_knows_every_field_of_the_status_that_it_reads(client: aiohttp.ClientSession) -> None:
    async with client.get("/") as answer:
        page = await answer.text()
    status: Any = status_of_a_daemon()
    pause = next(route["paused"] for route in status["routes"] if route["paused"])
    read = set(re.findall(r"\b(?:s|status)\.(\w+)", page)) - {"classList", "find"}
    assert read <= set(status)
    for letters, known in {
        "t": {*status["targets"][0], *status["totals"]},
        "r": status["routes"][0],
        "p": status["partitions"][0],
        "need": status["attention"][0],
        "halt": status["halts"][0],
        "history": status["history"],
        r"status\.reload": status["reload"],
        r"r\.paused": pause,
        r"t\.preflight": status["targets"][0]["preflight"],
        "room": status["limits"],
    }.items():
        assert set(re.findall(rf"(?<![\w.])(?:{letters})\.(\w+)", page)) <= set(known), letters


@pytest.mark.parametrize("path", ["/nothing", "/livez/", "/static/../status/x", "/%00", "/<script>"])
async def test_an_unknown_path_lists_the_ones_there_are(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path) as answer:
        text = await answer.text()
        assert answer.status == 404
        assert answer.content_type == "text/plain"
    paths = [line.split()[0] for line in text.splitlines()[1:]]
    assert paths == ["/", "/livez", "/readyz", "/metrics", "/status", "/events", "/config", *["POST"] * 5]
    assert "script" not in text


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/status", "/events"])
async def test_head_answers_like_get_without_a_body(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path) as got, client.head(path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == got.headers["Content-Type"]
        assert await answer.read() == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/status", "/events", "/config"])
async def test_what_shows_changes_nothing(client: aiohttp.ClientSession, method: str, path: str) -> None:
    async with client.request(method, path, headers=BEARER) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"
        assert await answer.text() == "This path answers GET, HEAD and nothing else.\n"


CHANGES = {
    "/routes/paid-orders/pause": ("pause", "paid-orders"),
    "/routes/paid-orders/resume": ("resume", "paid-orders"),
    "/routes/paid-orders/skip?topic=shop.orders.v1&partition=0&offset=7": (
        "skip",
        "paid-orders",
        "shop.orders.v1",
        0,
        7,
    ),
    "/log-level?level=debug": ("log-level", "debug"),
    "/reload": ("reload", ""),
}


@pytest.mark.parametrize("path", CHANGES)
async def test_a_change_is_made_by_a_post_with_the_token_and_counted(
    client: aiohttp.ClientSession, daemon: Daemon, metrics: Metrics, path: str
) -> None:
    async with client.post(path, headers=BEARER) as answer:
        assert (answer.status, await answer.text()) == (200, "done\n")
    assert daemon.did == [CHANGES[path]]
    labels = {"action": str(CHANGES[path][0]), "outcome": "done"}
    assert metrics.registry.get_sample_value("connector_admin_changes_total", labels) == 1


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_link_or_an_image_changes_nothing(
    client: aiohttp.ClientSession, daemon: Daemon, path: str, method: str
) -> None:
    async with client.request(method, path, headers=BEARER) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"
    assert daemon.did == []


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": "Bearer \u00fc\u00fc"},
    ],
)
async def test_a_missing_or_wrong_token_is_refused_with_401_and_counted(
    client: aiohttp.ClientSession, daemon: Daemon, metrics: Metrics, shown: dict[str, str]
) -> None:
    async with client.post("/routes/paid-orders/pause", headers=shown) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert TOKEN not in await answer.text()
    assert daemon.did == []
    labels = {"action": "pause", "outcome": "unauthorized"}
    assert metrics.registry.get_sample_value("connector_admin_changes_total", labels) == 1


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1.elsewhere.example"])
async def test_a_page_of_another_origin_changes_nothing_even_with_the_token(
    client: aiohttp.ClientSession, daemon: Daemon, origin: str
) -> None:
    async with client.post("/routes/paid-orders/pause", headers={**BEARER, "Origin": origin}) as answer:
        assert answer.status == 403
    assert daemon.did == []


@pytest.mark.parametrize("path", [*CHANGES, "/config"])
async def test_without_a_token_in_the_config_nobody_may_change_anything(
    client: aiohttp.ClientSession, daemon: Daemon, path: str
) -> None:
    daemon.admin = AdminSettings()
    method = "GET" if path == "/config" else "POST"
    async with client.request(method, path, headers=BEARER) as answer:
        assert answer.status == 403
        assert "token: !file PATH" in await answer.text()
    assert daemon.did == []


async def test_an_unknown_route_is_404_with_the_names(client: aiohttp.ClientSession) -> None:
    async with client.post("/routes/nowhere/pause", headers=BEARER) as answer:
        assert answer.status == 404
        assert await answer.text() == "there is no route 'nowhere': the routes are paid-orders\n"


@pytest.mark.parametrize("query", ["", "?topic=t", "?topic=t&partition=x&offset=1", "?partition=1&offset=1"])
async def test_a_skip_names_one_record(client: aiohttp.ClientSession, daemon: Daemon, query: str) -> None:
    async with client.post(f"/routes/paid-orders/skip{query}", headers=BEARER) as answer:
        assert answer.status == 400
        assert await answer.text() == "skip needs ?topic=NAME&partition=NUMBER&offset=NUMBER\n"
    assert daemon.did == []


async def test_a_body_that_is_too_large_is_413(client: aiohttp.ClientSession, daemon: Daemon) -> None:
    async with client.post("/routes/paid-orders/pause", headers=BEARER, data=b"x" * 100_000) as answer:
        assert answer.status == 413
        assert "16384 bytes at most" in await answer.text()
    assert daemon.did == []


@pytest.mark.parametrize("path", ["/status", "/metrics", "/events"])
async def test_reading_needs_the_token_where_the_config_says_everything(
    client: aiohttp.ClientSession, daemon: Daemon, path: str
) -> None:
    daemon.admin = AdminSettings(token=SecretStr(TOKEN), token_for="everything")
    async with client.get(path) as answer:
        assert answer.status == 401
    async with client.get(path, headers=BEARER) as answer:
        assert answer.status == 200
    for free in ("/", "/livez", "/readyz"):  # the page holds no data, and asks for the token itself
        async with client.get(free) as answer:
            assert answer.status == 200


async def test_the_config_is_shown_to_who_has_the_token(client: aiohttp.ClientSession) -> None:
    async with client.get("/config") as answer:
        assert answer.status == 401
    async with client.get("/config", headers=BEARER) as answer:
        assert await answer.json() == {"hash": "4f1d9c0a7be2", "config": {"kafka": {"group_id": "g"}}}


async def test_events_tell_the_status_again_and_again(client: aiohttp.ClientSession, daemon: Daemon) -> None:
    async with client.get("/events") as answer:
        assert answer.content_type == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        for version in ("0.1.0", "0.2.0"):
            line = await answer.content.readline()
            assert json.loads(line.removeprefix(b"data: "))["version"] == version
            assert await answer.content.readline() == b"\n"
            daemon.says = {**daemon.says, "version": "0.2.0"}


async def test_only_so_many_pages_watch_at_once(client: aiohttp.ClientSession) -> None:
    async with AsyncExitStack() as watching:
        for _ in range(16):
            assert (await watching.enter_async_context(client.get("/events"))).status == 200
        async with client.get("/events") as answer:
            assert answer.status == 503
            assert "/status answers" in await answer.text()


async def test_a_page_that_watches_does_not_keep_the_server_from_ending(daemon: Daemon, metrics: Metrics) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
        async with admin.serve(daemon, daemon, "127.0.0.1", 0, metrics=metrics) as bound:
            answer = await session.get(f"{bound.url}events")
            await answer.content.readline()
        assert await answer.content.read() == b"\n"  # the event that had begun, and then the end
        answer.close()


@pytest.mark.parametrize("path", ["/", "/livez", "/status", "/nothing"])
async def test_no_answer_is_kept_or_shared_with_other_origins(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path, headers={"Origin": "https://elsewhere.example"}) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_state_that_fails_is_an_answer_500_and_the_probes_go_on(
    client: aiohttp.ClientSession, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Mapping[str, Any]:
        raise KeyError("orders-bus")

    daemon.status = broken  # type: ignore[method-assign]  # a state with a mistake in it
    async with client.get("/status") as answer:
        assert answer.status == 500
        assert "orders-bus" not in await answer.text()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    async with client.get("/livez") as answer:
        assert answer.status == 200


async def test_requests_are_not_logged(client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for path in ("/livez", "/nothing"):
        async with client.get(path) as answer:
            await answer.read()
    assert [record.getMessage() for record in caplog.records if "asyncio" not in record.name] == []


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nA\x00: b\r\n\r\n",
    ],
    ids=["tls", "version", "header"],
)
async def test_what_is_not_http_is_refused_and_fills_no_log(
    daemon: Daemon, metrics: Metrics, caplog: pytest.LogCaptureFixture, noise: bytes
) -> None:
    async with admin.serve(daemon, daemon, "127.0.0.1", 0, metrics=metrics) as bound, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(bound.host, bound.port)
        writer.write(noise)
        writer.write_eof()
        assert not (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_taken_port_says_so_and_what_to_do(daemon: Daemon, metrics: Metrics) -> None:
    async with admin.serve(daemon, daemon, "127.0.0.1", 0, metrics=metrics) as bound:
        with pytest.raises(admin.CannotListen) as failed:
            async with admin.serve(daemon, daemon, "127.0.0.1", bound.port, metrics=metrics):
                pass
    assert str(failed.value) == (
        f"admin.listen: cannot listen on 127.0.0.1:{bound.port}: the port is taken. "
        "Stop what listens there, or set another port (0 takes any free one)"
    )


async def test_an_address_of_another_machine_says_so_and_what_to_do(daemon: Daemon, metrics: Metrics) -> None:
    with pytest.raises(admin.CannotListen, match=r"192\.0\.2\.1:8080: this machine has no such address\. Set 127"):
        async with admin.serve(daemon, daemon, "192.0.2.1", 8080, metrics=metrics):
            pass


async def test_after_the_block_nobody_listens_any_more(daemon: Daemon, metrics: Metrics) -> None:
    async with admin.serve(daemon, daemon, "127.0.0.1", 0, metrics=metrics) as bound:
        pass
    with socket.socket() as found:
        assert found.connect_ex((bound.host, bound.port)) != 0


async def test_a_client_that_keeps_its_connection_does_not_hold_up_the_end(daemon: Daemon, metrics: Metrics) -> None:
    async with (
        asyncio.timeout(5),
        aiohttp.ClientSession() as session,
        admin.serve(daemon, daemon, "127.0.0.1", 0, metrics=metrics) as bound,
        session.get(bound.url + "livez") as answer,
    ):
        assert answer.status == 200


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080/"),
        ("0.0.0.0", "http://127.0.0.1:8080/"),  # noqa: S104  # nothing is bound here
        ("::1", "http://[::1]:8080/"),
        ("::", "http://[::1]:8080/"),
    ],
)
def test_the_address_is_one_that_a_browser_on_this_machine_opens(host: str, url: str) -> None:
    assert admin.Bound(host, 8080).url == url
