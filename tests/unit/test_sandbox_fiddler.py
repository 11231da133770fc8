"""The simulated Fiddler: what it refuses, what it drops, and what it keeps."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from connector.sandbox import faults
from connector.sandbox.fiddler import Column, Fiddler, Model

HEADERS = {"Authorization": "Bearer t"}
EVENTS = "/v3/events"
INGEST = "/v2/events/acme:shop:churn/ingest"


class Client:
    """Asks one simulator."""

    def __init__(self, sandbox: Fiddler, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self._session = session

    async def __call__(self, method: str, path: str, tree: Any = None, **more: Any) -> tuple[int, Any]:
        """Status and body of an answer."""
        headers = more.pop("headers", HEADERS)
        url = self.sandbox.url + path
        async with self._session.request(method, url, json=tree, headers=headers, **more) as reply:
            return reply.status, await reply.json()

    async def post(self, *rows: Mapping[str, Any], method: str = "POST", **more: Any) -> tuple[int, Any]:
        """Publish rows with v3."""
        return await self(method, EVENTS, {**body(*rows), **more})


def body(*rows: Any) -> dict[str, Any]:
    source = {"type": "EVENTS", "events": list(rows)}
    return {"source": source, "model_id": Model().id, "env_type": "PRODUCTION", "env_name": None}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Fiddler() as sandbox, aiohttp.ClientSession() as session:
        yield Client(sandbox, session)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic t"}, {"Authorization": "Bearer "}])
async def test_a_request_without_a_token_is_refused(client: Client, headers: Any) -> None:
    for method, path in (("GET", "/v3/server-info"), ("POST", EVENTS), ("GET", "/v2/jobs/x"), ("POST", INGEST)):
        status, told = await client(method, path, headers=headers)
        assert (status, told["kind"], told["error"]["errors"][0]["reason"]) == (401, "ERROR", "Unauthorized")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"source": None}, 400),
        ({"source": {"type": "EVENTS"}}, 400),
        ({"source": {"type": "EVENTS", "events": []}}, 400),
        ({"source": {"type": "EVENTS", "events": [1]}}, 400),
        ({"source": {"type": "EVENTS", "events": [{}] * 1001}}, 400),
        ({"source": {"type": "TABLE"}}, 400),
        ({"source": {"type": "FILE", "file_id": "x"}}, 404),
        ({"env_type": "STAGING"}, 400),
        ({"env_type": None}, 400),
        ({"model_id": "x"}, 404),
        ({"model_id": None}, 404),
    ],
)
async def test_a_body_that_fiddler_does_not_take_is_refused_whole(client: Client, change: Any, status: int) -> None:
    found, told = await client("POST", EVENTS, {**body({"n": 1}), **change})
    assert (found, told["error"]["code"]) == (status, status)
    assert client.sandbox.accepted == []


async def test_a_body_that_is_no_json_or_does_not_say_so_is_refused(client: Client) -> None:
    told = {**HEADERS, "Content-Type": "application/json"}
    assert (await client("POST", EVENTS, data=b"{", headers=told))[0] == 400
    assert (await client("POST", EVENTS, data=b"[]", headers=told))[0] == 400
    assert (await client("POST", EVENTS, data=b"{}", headers={**HEADERS, "Content-Type": "text/plain"}))[0] == 415


async def test_events_get_ids_in_order_and_lose_what_the_model_does_not_have(client: Client) -> None:
    status, told = await client.post({"event_id": "a", "n": 1, "odd": 2}, {"n": "x"})
    assert (status, told["kind"], told["api_version"]) == (202, "NORMAL", "3.0")
    assert told["data"]["event_ids"] == [taken.fiddler_id for taken in client.sandbox.accepted]
    first, second = client.sandbox.accepted
    assert (dict(first.row), first.dropped, first.violations) == ({"event_id": "a", "n": 1}, ("odd",), ())
    assert second.violations == ("n",)
    assert client.sandbox.violations == [second]


async def test_a_strict_one_refuses_a_request_for_one_bad_row() -> None:
    async with Fiddler(strict=True) as sandbox, aiohttp.ClientSession() as session:
        assert (await Client(sandbox, session).post({"n": 1}, {"n": "x"}))[0] == 400
        assert sandbox.accepted == []


async def test_an_update_changes_targets_and_metadata_of_what_is_there_by_then() -> None:
    now = 0.0
    async with Fiddler(visible_after=60, clock=lambda: now) as sandbox, aiohttp.ClientSession() as session:
        client = Client(sandbox, session)
        await client.post({"event_id": "a", "n": 1, "churned": "no"})
        update = {"event_id": "a", "n": 9, "decision": "x", "churned": "yes", "segment": "s"}
        for moment, churned in ((59.0, "no"), (60.0, "yes")):
            now = moment
            assert (await client.post(update, method="PATCH"))[0] == 202
            stored = sandbox.stored[Model().id]["a"].values
            assert (stored["n"], stored["churned"], "decision" in stored) == (1, churned, False)
        assert (len(sandbox.accepted), len(sandbox.vanished)) == (2, 1)


async def test_names_are_found_by_filter_and_the_oldest_version_comes_first() -> None:
    async with (
        Fiddler([Model(version="v1"), Model(version="v2"), Model(project="other")]) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        client = Client(sandbox, session)

        async def found(path: str, **rules: str) -> list[Any]:
            told = [{"field": key, "operator": "equal", "value": value} for key, value in rules.items()]
            query = json.dumps({"condition": "AND", "rules": told})
            status, page = await client("GET", path, params={"filter": query})
            assert (status, page["kind"]) == (200, "PAGINATED")
            items: list[Any] = page["data"]["items"]
            return items

        [project] = await found("/v3/projects", name="shop")
        assert [one["version"] for one in await found("/v3/models", name="churn", project_id=project["id"])] == [
            "v1",
            "v2",
        ]
        assert await found("/v3/projects", name="nobody") == []
        assert len(await found("/v3/models", version="v2")) == 1
        status, _ = await client("GET", "/v3/models", params={"filter": '{"condition":"OR","rules":[]}'})
        assert status == 400


async def test_a_body_that_was_taken_before_is_known_on_request() -> None:
    async with Fiddler(knows_repeats=True) as sandbox, aiohttp.ClientSession() as session:
        client = Client(sandbox, session)
        assert [(await client.post({"n": number}))[0] for number in (1, 1, 2)] == [202, 409, 202]


@pytest.mark.parametrize(
    "change",
    [
        {"event": None},
        {"event_timestamp": 1},
        {"event_id": 7},
        {"is_update": "yes"},
        {"is_update": True, "event_id": None},
        {"timestamp_format": "INFER"},
    ],
)
async def test_v2_refuses_an_event_that_its_clients_could_not_send(client: Client, change: Any) -> None:
    sent = {
        "event": {"n": 1},
        "event_id": "e",
        "id_field": None,
        "is_update": None,
        "event_timestamp": "1",
        "timestamp_format": "infer",
    }
    status, told = await client("POST", f"{INGEST}/event", sent)
    assert (status, told["data"]["message"], told["api_version"]) == (202, "Successfully accepted an event", "2.0")
    assert (await client("POST", f"{INGEST}/event", {**sent, **change}))[0] == 400
    assert (await client("POST", f"{INGEST}/event".replace("churn", "other"), sent))[0] == 404
    assert len(client.sandbox.accepted) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"file_name": []},
        {"file_name": ["nobody.csv"]},
        {"upload_type": "dataset"},
        {"file_type": ".txt"},
        {"id_field": "nobody"},
        {"timestamp_field": "nobody"},
        {"timestamp_format": None},
    ],
)
async def test_v2_refuses_a_file_that_it_cannot_read(client: Client, change: Any) -> None:
    query = {"upload_type": "event", "multipart_upload": "False", "resource_identifier": "churn", "file_name": "x.csv"}
    status, told = await client("PUT", "/v2/datasets/acme:shop/upload", params=query, data=b"event_id,n\na,1\n")
    name = told["data"]["file_name"]
    assert (status, name[5:]) == (200, "_x.csv")
    sent = {"file_name": [name], "upload_type": "event", "file_type": None, "timestamp_format": "infer"}
    assert (await client("POST", INGEST, {**sent, "id_field": "event_id"}))[0] == 202
    assert [taken.event_id for taken in client.sandbox.accepted] == ["a"]
    assert (await client("POST", INGEST, {**sent, **change}))[0] == 400


async def test_a_job_tells_its_states_one_by_one_and_takes_its_rows_only_where_it_succeeds() -> None:
    for script, end, rows in (([], "SUCCESS", 1), ([faults.fail_job(message="no room")], "FAILURE", 0)):
        async with Fiddler(faults=script) as sandbox, aiohttp.ClientSession() as session:
            client = Client(sandbox, session)
            form = aiohttp.FormData()
            form.add_field("file", b"event_id,n\na,1\n", filename="x.csv")
            _, told = await client("POST", "/v3/files/upload", data=form)
            source = {"type": "FILE", "file_id": told["data"]["id"]}
            _, told = await client("POST", EVENTS, {**body(), "source": source})
            path = f"/v3/jobs/{told['data']['job']['id']}"
            states = [(await client("GET", path))[1]["data"]["status"] for _ in range(4)]
            assert states == ["PENDING", "STARTED", end, end]
            assert len(sandbox.accepted) == rows


async def test_a_file_with_ragged_lines_is_refused(client: Client) -> None:
    form = aiohttp.FormData()
    form.add_field("file", b"a,b\n1\n", filename="x.csv")
    _, told = await client("POST", "/v3/files/upload", data=form)
    source = {"type": "FILE", "file_id": told["data"]["id"]}
    assert (await client("POST", EVENTS, {**body(), "source": source}))[0] == 400


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        (Column("c", "int", low=0, high=9), [1, "7", 2.0, None, ""], [True, 1.5, "x", -1, 10]),
        (Column("c", "float"), [1, 1.5, "1e3"], [True, "x"]),
        (Column("c", "bool"), [True, "false", "True"], [1, "yes"]),
        (Column("c", "category", ("a", "b")), ["a", None], ["c", 1]),
        (Column("c", "vector"), [[1, 2.5], "[1]"], [["a"], "1", "["]),
        (Column("c", "str"), ["a", 1], [[1], {"a": 1}]),
    ],
)
def test_a_column_takes_what_is_of_its_type(column: Column, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not column.takes(value)] == []
    assert [value for value in bad if column.takes(value)] == []


async def test_what_arrived_and_how_much_can_be_asked_over_http(client: Client) -> None:
    await client.post({"event_id": "a", "n": 1})
    await client.post({"event_id": "nobody", "churned": "yes"}, method="PATCH")
    _, events = await client("GET", "/_sandbox/events")
    assert [row["row"] for row in events["accepted"]] == [{"event_id": "a", "n": 1}]
    assert [row["event_id"] for row in events["vanished"]] == ["nobody"]
    _, stats = await client("GET", "/_sandbox/stats")
    assert (stats["accepted"], stats["vanished"], stats["models"]) == (1, 1, ["shop/churn@v1"])
