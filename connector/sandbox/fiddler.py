"""A strict Fiddler on loopback, API v3 and v2: projects and models, events, files, jobs, and faults on demand.

What its reference and its own clients (3.14.1, 2.5.4) say, it does: an unknown column is dropped, an update changes
targets and metadata only and is nothing at all where its event is not there yet, a row that does not fit the model
counts as taken and shows nowhere (`violations`). Which of this real servers check before they answer is documented
nowhere; `strict` refuses the whole request instead. Not modelled: how INFER reads texts, limits of bytes, whether an
event sent twice is stored twice (here it is, both times).

    GET    /v3/server-info, /v3/version-compatibility, /v3/projects, /v3/models, /v3/models/{id}, /v3/jobs/{id}
    POST   /v3/events            events or a file; PATCH updates, DELETE deletes
    POST   /v3/files/upload, /v3/files/multipart-init, -upload, -complete
    GET    /v2/server-info, /v2/version-compatibility, /v2/models/{org}:{project}:{model}, /v2/jobs/{id}
    POST   /v2/events/{org}:{project}:{model}/ingest, …/ingest/event
    PUT    /v2/datasets/{org}:{project}/upload; POST …/initialize, …/complete
    …      /_sandbox/            see sandbox/simulator.py; the script bears on what publishes events and files
"""

import asyncio
import csv
import hashlib
import io
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from uuid import UUID, uuid5

import orjson
from aiohttp import BodyPartReader, MultipartReader, web

from connector.sandbox.faults import Fault
from connector.sandbox.simulator import Simulator

ORGANIZATION: Final = "acme"
SERVER_VERSION: Final = "25.2.0"
MAX_EVENTS: Final = 1000
MAX_IDS: Final = 10_000
MESSAGE: Final = (
    "Successfully received the event data. Please allow time for the event ingestion to complete in the Fiddler "
    "platform."
)
_NAMESPACE: Final = UUID("7d4b8f6e-52a1-4f0a-9a55-0f1f3b2c9d10")
_MOMENT: Final = "2023-11-22 16:50:57.705784"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a model: its name, its data type, and what values it may have."""

    name: str
    type: str
    categories: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None

    def takes(self, value: Any) -> bool:
        """Whether a value fits; a text is read as one of CSV would be."""
        if value is None or value == "":
            return True
        try:
            match self.type:
                case "int" | "float":
                    if isinstance(value, bool):
                        return False
                    number = float(value)
                    if self.type == "int" and not number.is_integer():
                        return False
                    return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)
                case "bool":
                    return isinstance(value, bool) or str(value).lower() in ("true", "false")
                case "category":
                    return self.categories is None or str(value) in self.categories
                case "vector":
                    found = json.loads(value) if isinstance(value, str) else value
                    return isinstance(found, list) and all(isinstance(one, int | float) for one in found)
                case _:
                    return isinstance(value, str | int | float)
        except ValueError:
            return False


CHURN: Final = (
    Column("event_id", "str"),
    Column("timestamp", "timestamp"),
    Column("n", "int"),
    Column("text", "str"),
    Column("age", "int", low=0, high=150),
    Column("balance", "float"),
    Column("active", "bool"),
    Column("country", "category", ("DE", "ES", "FR")),
    Column("embedding", "vector"),
    Column("probability", "float", low=0, high=1),
    Column("churned", "category", ("yes", "no")),
    Column("decision", "str"),
    Column("segment", "str"),
)


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model of a project."""

    project: str = "shop"
    name: str = "churn"
    version: str = "v1"
    columns: tuple[Column, ...] = CHURN
    inputs: tuple[str, ...] = ("n", "text", "age", "balance", "active", "country", "embedding")
    outputs: tuple[str, ...] = ("probability",)
    targets: tuple[str, ...] = ("churned",)
    decisions: tuple[str, ...] = ("decision",)
    metadata: tuple[str, ...] = ("segment",)
    id_column: str | None = "event_id"
    time_column: str | None = "timestamp"
    time_format: str | None = None
    group_by: str | None = None

    @property
    def id(self) -> str:
        """Its UUID, the same for the same names."""
        return _uuid("model", self.project, self.name, self.version)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One event that the service took. `index` is its place in the order of arrival, `request` the call it came in.

    `row` is what is left of it once unknown columns, and those that an update cannot change, are dropped (`dropped`);
    `bytes` is what it took of the request or file. `at` is the clock of the simulator.
    """

    index: int
    request: int
    at: float
    api: str
    method: str
    project: str
    model: str
    version: str
    event_id: str | None
    timestamp: str | None
    timestamp_format: str | None
    row: Mapping[str, Any]
    dropped: tuple[str, ...]
    violations: tuple[str, ...]
    fiddler_id: str
    file: str | None
    retry: str | None
    bytes: int


@dataclass(slots=True)
class _File:
    name: str
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    content: bytes | None = None


@dataclass(slots=True)
class _Job:
    """A job tells a state at each look at it, the last one for ever. It has done its work, or will never."""

    id: str
    name: str
    end: str
    states: list[str]
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Stored:
    at: float
    values: dict[str, Any]


class _Refused(Exception):
    """A whole call that the service does not take."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that publishes, read: `publish` does it and gives the reply's data."""

    publish: Callable[[Sequence[Fault]], dict[str, Any]]
    status: int


class Fiddler(Simulator):
    """The simulated service. `vanished` are updates of events that are not there: answered with success, and nothing.

    `stored` maps a model's id to its events by their ids, as they are now; events without an id are in `accepted` only.
    """

    name: ClassVar[str] = "fiddler"
    odd: ClassVar[frozenset[str]] = frozenset({"fail_job", "no_count", "wrong_length"})
    max_body: ClassVar[int] = 256 * 2**20

    def __init__(
        self,
        models: Iterable[Model] = (Model(),),
        *,
        token: str | None = None,
        organization: str = ORGANIZATION,
        strict: bool = False,
        visible_after: float = 0.0,
        knows_repeats: bool = False,
        job_states: Sequence[str] = ("PENDING", "STARTED"),
        **more: Any,
    ) -> None:
        """`token` is the only one that is taken (any, by default), `visible_after` the seconds until an event is there
        for updates, `knows_repeats` whether a body that was taken before gets a 409, `job_states` what a job tells
        before its end, a look each. `more` is what `Simulator` takes: faults, seed, clock.
        """
        super().__init__(**more)
        self.models = {model.id: model for model in models}
        self.organization = organization
        self.files: dict[str, _File] = {}
        self.jobs: dict[str, _Job] = {}
        self.stored: dict[str, dict[str, _Stored]] = {}
        self.violations: list[Accepted] = []
        self._token = token
        self._strict = strict
        self._visible_after = visible_after
        self._knows_repeats = knows_repeats
        self._job_states = tuple(job_states)
        self._bodies: set[str] = set()

    @property
    def state(self) -> Mapping[str, Any]:
        return {
            "models": sorted(f"{model.project}/{model.name}@{model.version}" for model in self.models.values()),
            "violations": len(self.violations),
            "files": [file.name for file in self.files.values()],
            "jobs": {job.id: job.states[0] for job in self.jobs.values()},
        }

    def routes(self) -> Iterable[web.RouteDef]:
        plain, publish = self._plain, self._publishing
        names = "/v2/events/{organization}:{project}:{model}"
        return [
            web.get("/v3/server-info", plain(self._server_info)),
            web.get("/v3/version-compatibility", plain(self._compatible)),
            web.get("/v3/projects", plain(self._projects)),
            web.get("/v3/models", plain(self._find_models)),
            web.get("/v3/models/{id}", plain(self._model)),
            web.get("/v3/jobs/{id}", plain(self._job)),
            web.post("/v3/events", publish(self._events_v3)),
            web.patch("/v3/events", publish(self._events_v3)),
            web.delete("/v3/events", plain(self._delete)),
            web.post("/v3/files/upload", plain(self._upload)),
            web.post("/v3/files/multipart-init", plain(self._init)),
            web.post("/v3/files/multipart-upload", plain(self._part)),
            web.post("/v3/files/multipart-complete", plain(self._complete)),
            web.get("/v2/server-info", plain(self._server_info)),
            web.get("/v2/version-compatibility", plain(self._compatible)),
            web.get("/v2/models/{organization}:{project}:{model}", plain(self._model_v2)),
            web.get("/v2/jobs/{id}", plain(self._job)),
            web.post(f"{names}/ingest/event", publish(self._event_v2)),
            web.post(f"{names}/ingest", publish(self._file_v2)),
            web.put("/v2/datasets/{organization}:{project}/upload", plain(self._upload_v2)),
            web.post("/v2/datasets/{organization}:{project}/initialize", plain(self._initialize_v2)),
            web.post("/v2/datasets/{organization}:{project}/complete", plain(self._complete_v2)),
        ]

    def trim(self, keep: int) -> None:
        """Forget the files, jobs and events too: a label that comes later finds none."""
        super().trim(keep)
        oldest: list[dict[str, Any]] = [self.jobs, self.files, *self.stored.values()]
        for kept in oldest:
            for name in list(kept)[: max(0, len(kept) - keep)]:
                del kept[name]
        del self.violations[: max(0, len(self.violations) - keep)]

    # how a request is answered

    def _plain(
        self, act: Callable[[web.Request, bytes], Awaitable[Mapping[str, Any]]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A request that the script does not bear on."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self.calls += 1
            try:
                data = await act(request, await self._read(request))
            except _Refused as refused:
                return self._refusal(request, refused)
            return _reply(request, data)

        return handle

    def _publishing(
        self, read: Callable[[web.Request, bytes, int], _Call]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A request that takes its share of the script."""

        async def handle(request: web.Request) -> web.StreamResponse:
            number = self.calls
            self.calls += 1
            whole, beside = self.faults.take()
            data: dict[str, Any] = {}
            status = 202
            try:
                body = await self._read(request)
                if whole is None or whole.accepted:
                    digest = hashlib.sha256(request.method.encode() + request.path.encode() + body).hexdigest()
                    if self._knows_repeats and digest in self._bodies:
                        raise _Refused(409, "Conflict", "This request was accepted before.")
                    call = read(request, body, number)
                    before = self.arrived
                    data, status = call.publish(beside), call.status
                    self._bodies.add(digest)
                    self.unanswered[number] = self.arrived - before
            except _Refused as refused:
                return self._refusal(request, refused)
            await asyncio.sleep(sum(line.seconds for line in beside if line.do == "slow"))
            if whole is not None:
                self.outcomes[whole.do] += 1
                return await self._spoiled(whole, request, data, status)
            self.outcomes["published"] += 1
            self.unanswered.pop(number, None)
            return _reply(request, data, status)

        return handle

    async def _spoiled(
        self, fault: Fault, request: web.Request, data: dict[str, Any], status: int
    ) -> web.StreamResponse:
        match fault.do:
            case "throttle":
                headers = {"Retry-After": f"{fault.seconds:g}"} if fault.seconds else {}
                return _error(request, _Refused(429, "TooManyRequests", "Rate limit exceeded."), headers)
            case "expired_token":
                return _error(request, _Refused(401, "Unauthorized", "The token has expired."))
            case "access_denied":
                return _error(request, _Refused(403, "Forbidden", "You may not publish to this model."))
            case "error":
                return _error(request, _Refused(fault.status, fault.code, fault.message))
            case "no_count":
                for key in ("event_ids", "__fiddler_id", "job", "job_uuid"):
                    data.pop(key, None)
            case "wrong_length" if "event_ids" in data:
                ids = data["event_ids"]
                more = [self.identity() for _ in range(fault.by)]
                data["event_ids"] = [*ids, *more] if fault.by > 0 else ids[: len(ids) + fault.by]
        reply = _reply(request, data, status)
        return await self.misbehave(fault, request, reply, {}) or reply

    def _refusal(self, request: web.Request, refused: _Refused) -> web.StreamResponse:
        self.outcomes[refused.reason] += 1
        return _error(request, refused)

    async def _read(self, request: web.Request) -> bytes:
        """The body, of one who may send it; a form is read by who wants it."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token or (self._token is not None and token != self._token):
            raise _Refused(401, "Unauthorized", "The token is missing or not valid.")
        for line in self.faults:
            if line.do == "access_denied" and request.method == "GET":
                raise _Refused(403, "Forbidden", "You may not read this.")
        if request.content_type == "multipart/form-data":
            return b""
        body = await self.body(request)
        if body is None:
            raise _Refused(413, "RequestEntityTooLarge", "The request is too large.")
        return body

    # who and what there is

    async def _server_info(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        if request.path.startswith("/v2") and request.query.get("organization_name") != self.organization:
            raise _Refused(404, "ObjectNotFound", "There is no such organization.")
        return {
            "feature_flags": {},
            "server_version": SERVER_VERSION,
            "organization": {"id": _uuid("organization", self.organization), "name": self.organization},
        }

    async def _compatible(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        if not request.query.get("client_version") or not request.query.get("client_name"):
            raise _Refused(400, "BadRequest", "client_version and client_name are needed.")
        return {}

    async def _projects(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        wanted = _rules(request)
        names = dict.fromkeys(model.project for model in self.models.values())
        return _page(
            [
                {
                    "id": _uuid("project", name),
                    "name": name,
                    "created_at": _MOMENT,
                    "updated_at": _MOMENT,
                    "organization": {"id": _uuid("organization", self.organization), "name": self.organization},
                }
                for name in names
                if wanted.get("name", name) == name
                and wanted.get("id", _uuid("project", name)) == _uuid("project", name)
            ]
        )

    async def _find_models(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        wanted = _rules(request)
        found = [
            model
            for model in self.models.values()
            if wanted.get("name", model.name) == model.name
            and wanted.get("version", model.version) == model.version
            and wanted.get("project_id", _uuid("project", model.project)) == _uuid("project", model.project)
        ]
        if request.query.get("ordering") == "-created_at":
            found.reverse()
        limit = int(request.query.get("limit", "100"))
        return _page([self._model_data(model) for model in found[:limit]], len(found))

    async def _model(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        return self._model_data(self._known(request.match_info["id"]))

    def _known(self, identity: Any) -> Model:
        model = self.models.get(identity) if isinstance(identity, str) else None
        if model is None:
            raise _Refused(404, "ObjectNotFound", "Model not found for the given identifier")
        return model

    def _model_data(self, model: Model) -> dict[str, Any]:
        user = {"id": _uuid("user", "sandbox"), "full_name": "Sandbox", "email": "sandbox@example.com"}
        columns = [
            {
                "id": column.name,
                "name": column.name,
                "data_type": column.type,
                "min": column.low,
                "max": column.high,
                "categories": list(column.categories) if column.categories is not None else None,
                "bins": None,
                "n_dimensions": None,
                "replace_with_nulls": None,
            }
            for column in model.columns
        ]
        return {
            "id": model.id,
            "name": model.name,
            "version": model.version,
            "project": {"id": _uuid("project", model.project), "name": model.project},
            "organization": {"id": _uuid("organization", self.organization), "name": self.organization},
            "input_type": "structured",
            "task": "binary_classification",
            "task_params": {"binary_classification_threshold": 0.5, "group_by": model.group_by, "top_k": None},
            "schema": {"columns": columns, "schema_version": 1},
            "spec": {
                "inputs": list(model.inputs),
                "outputs": list(model.outputs),
                "targets": list(model.targets),
                "decisions": list(model.decisions),
                "metadata": list(model.metadata),
                "custom_features": [],
                "schema_version": 1,
            },
            "description": None,
            "event_id_col": model.id_column,
            "event_ts_col": model.time_column,
            "event_ts_format": model.time_format,
            "xai_params": {"custom_explain_methods": [], "default_explain_method": None},
            "artifact_status": "no_model",
            "artifact_files": [],
            "created_at": _MOMENT,
            "updated_at": _MOMENT,
            "created_by": user,
            "updated_by": user,
            "is_binary_ranking_model": False,
        }

    async def _job(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        job = self.jobs.get(request.match_info["id"])
        if job is None:
            raise _Refused(404, "ObjectNotFound", "There is no such job.")
        state = job.states[0]
        if len(job.states) > 1:
            del job.states[0]
        return {
            "id": job.id,
            "uuid": job.id,
            "name": job.name,
            "status": state,
            "progress": 100 if state == job.end else 0,
            "info": {},
            "error_message": job.error if state == job.end and job.end != "SUCCESS" else None,
            "error_reason": None,
            "extras": {},
        }

    # events

    def _events_v3(self, request: web.Request, body: bytes, number: int) -> _Call:
        tree = _tree(request, body)
        source = tree.get("source")
        if not isinstance(source, dict):
            raise _Refused(400, "BadRequest", "source: is needed.")
        if tree.get("env_type") not in ("PRODUCTION", "PRE_PRODUCTION"):
            raise _Refused(400, "BadRequest", "env_type: must be PRODUCTION or PRE_PRODUCTION.")
        if "model_id" not in tree:
            raise _Refused(400, "BadRequest", "model_id: is needed.")
        model = self._known(tree["model_id"])
        match source.get("type"):
            case "EVENTS":
                events = source.get("events")
                if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
                    raise _Refused(400, "BadRequest", "source.events: must be a list of objects.")
                if not 1 <= len(events) <= MAX_EVENTS:
                    raise _Refused(400, "BadRequest", f"source.events: 1 to {MAX_EVENTS} are taken.")
                return _Call(lambda beside: self._take_events(request, number, model, events, beside), 202)
            case "FILE":
                file = self.files.get(str(source.get("file_id")))
                if file is None or file.content is None:
                    raise _Refused(404, "ObjectNotFound", "There is no such file.")
                return _Call(lambda beside: self._take_file_v3(request, number, model, file, beside), 202)
        raise _Refused(400, "BadRequest", "source.type: must be EVENTS or FILE.")

    def _take_events(
        self, request: web.Request, number: int, model: Model, events: list[dict[str, Any]], beside: Sequence[Fault]
    ) -> dict[str, Any]:
        self._judge(model, events, beside)
        ids = []
        for event in events:
            arrival = _Arrival("v3", request, number, size=len(_compact(event)))
            ids.append(self._take(model, event, arrival, update=request.method == "PATCH"))
        return {"source_type": "EVENTS", "event_ids": ids}

    def _judge(self, model: Model, events: Sequence[Mapping[str, Any]], beside: Sequence[Fault]) -> None:
        """Refuse the whole request because of one of its rows, where the script or strictness says so."""
        for line in beside:
            if line.do == "refuse":
                for index, event in enumerate(events):
                    if line.bears_on(index, event, self.random):
                        raise _Refused(400, line.code, line.message)
        if self._strict:
            for event in events:
                if wrong := _violations(model, event):
                    raise _Refused(400, "BadRequest", f"schema violation in {', '.join(wrong)}")

    def _take(
        self,
        model: Model,
        event: Mapping[str, Any],
        arrival: "_Arrival",
        *,
        update: bool,
        event_id: str | None = None,
        timestamp: str | None = None,
        form: str | None = None,
    ) -> str:
        known = {column.name for column in model.columns}
        kept = known - set(model.inputs) - set(model.outputs) - set(model.decisions) if update else known
        kept |= {name for name in (model.id_column, model.time_column) if name is not None}
        row = {name: value for name, value in event.items() if name in kept}
        if event_id is None and model.id_column is not None and row.get(model.id_column) not in (None, ""):
            event_id = str(row[model.id_column])
        if timestamp is None and model.time_column is not None and row.get(model.time_column) is not None:
            timestamp = str(row[model.time_column])
        taken = Accepted(
            index=self.number(),
            request=arrival.number,
            at=self.clock(),
            api=arrival.api,
            method="PATCH" if update else "POST",
            project=model.project,
            model=model.name,
            version=model.version,
            event_id=event_id,
            timestamp=timestamp,
            timestamp_format=form,
            row=row,
            dropped=tuple(name for name in event if name not in kept),
            violations=tuple(_violations(model, row)),
            fiddler_id=self.identity(),
            file=arrival.file,
            retry=arrival.request.headers.get("X-Fiddler-Client-Retry"),
            bytes=arrival.size,
        )
        events = self.stored.setdefault(model.id, {})
        there = events.get(event_id) if event_id is not None else None
        if update:
            if there is None or taken.at < there.at + self._visible_after:
                self.vanished.append(taken)
                return taken.fiddler_id
            there.values.update(row)
        elif event_id is not None:
            events[event_id] = _Stored(taken.at, dict(row))
        self.accepted.append(taken)
        if taken.violations:
            self.violations.append(taken)
        return taken.fiddler_id

    async def _delete(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        tree = _tree(request, body)
        model = self._known(tree.get("model_id"))
        ids = tree.get("event_ids")
        if (ids is None) == (tree.get("time_range") is None) or (ids is not None and len(ids) > MAX_IDS):
            raise _Refused(400, "BadRequest", f"either time_range or up to {MAX_IDS} event_ids.")
        for identity in ids if ids is not None else list(self.stored.get(model.id, {})):
            self.stored.get(model.id, {}).pop(str(identity), None)
        job = self._new_job("Delete events", _nothing, ())
        return {"job": {"id": job.id, "name": job.name}}

    # files of v3

    async def _upload(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        form = await self._form(request)
        name, content = _file_part(form)
        return self._file_data(self._new_file(name, content))

    async def _init(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        name = _tree(request, body).get("filename")
        if not isinstance(name, str) or not name:
            raise _Refused(400, "BadRequest", "filename: is needed.")
        return self._file_data(self._new_file(name, None))

    async def _part(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        form = await self._form(request)
        file = self.files.get(_text_part(form, "file_id"))
        number = _text_part(form, "part_number")
        if file is None or not number.isdecimal() or int(number) < 1:
            raise _Refused(400, "BadRequest", "file_id and part_number, from 1 on, are needed.")
        part = self.identity()
        file.parts[int(number)] = (part, _file_part(form)[1])
        return {"part_id": part}

    async def _complete(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        tree = _tree(request, body)
        identity = str(tree.get("file_id"))
        file = self.files.get(identity)
        told = tree.get("parts")
        if file is None or not isinstance(told, list):
            raise _Refused(400, "BadRequest", "file_id and parts are needed.")
        if [(part.get("number"), part.get("id")) for part in told] != [
            (n, file.parts[n][0]) for n in sorted(file.parts)
        ]:
            raise _Refused(400, "BadRequest", "parts: are not those that were uploaded.")
        file.content = b"".join(file.parts[number][1] for number in sorted(file.parts))
        return self._file_data(identity)

    async def _form(self, request: web.Request) -> dict[str, tuple[str, bytes]]:
        """The parts of a form by name, with their file names."""
        if request.content_type != "multipart/form-data":
            raise _Refused(400, "BadRequest", "the body must be multipart/form-data.")
        if (request.content_length or 0) > self.max_body:
            raise _Refused(413, "RequestEntityTooLarge", "The request is too large.")
        parts: dict[str, tuple[str, bytes]] = {}
        async for part in MultipartReader(request.headers, request.content):
            if isinstance(part, BodyPartReader):
                parts[part.name or ""] = (part.filename or "", bytes(await part.read()))
        return parts

    def _new_file(self, name: str, content: bytes | None) -> str:
        identity = self.identity()
        self.files[identity] = _File(name, content=content)
        return identity

    def _file_data(self, identity: str) -> Mapping[str, Any]:
        file = self.files[identity]
        user = {"id": _uuid("user", "sandbox"), "full_name": "Sandbox", "email": "sandbox@example.com"}
        kinds = {".parquet": "PARQUET", ".tar.gz": "TAR_GZ"}
        return {
            "id": identity,
            "filename": file.name,
            "status": "INITIATED" if file.content is None else "SUCCESSFUL",
            "type": next((kind for ending, kind in kinds.items() if file.name.endswith(ending)), "CSV"),
            "created_at": _MOMENT,
            "updated_at": _MOMENT,
            "created_by": user,
            "updated_by": user,
        }

    def _take_file_v3(
        self, request: web.Request, number: int, model: Model, file: _File, beside: Sequence[Fault]
    ) -> dict[str, Any]:
        rows = _csv_rows(file)
        update = request.method == "PATCH"

        def take() -> None:
            for row, size in rows:
                self._take(model, row, _Arrival("v3", request, number, file.name, size), update=update)

        job = self._new_job("Publish events", take, beside, [row for row, _ in rows])
        return {"source_type": "FILE", "job": {"id": job.id, "name": job.name}}

    def _new_job(
        self,
        name: str,
        take: Callable[[], None],
        beside: Sequence[Fault],
        rows: Sequence[Mapping[str, Any]] = (),
    ) -> _Job:
        """A job that will end as the script says: a refused row fails all of it."""
        end, error = "SUCCESS", ""
        for line in beside:
            if line.do == "fail_job":
                end, error = line.code, line.message
            elif line.do == "refuse" and any(line.bears_on(n, row, self.random) for n, row in enumerate(rows)):
                end, error = "FAILURE", f"{line.code}: {line.message}"
        job = _Job(self.identity(), name, end, [*self._job_states, end], error)
        self.jobs[job.id] = job
        if end == "SUCCESS":
            take()
        return job

    # v2

    def _named(self, request: web.Request) -> Model:
        told = request.match_info
        if told["organization"] == self.organization:
            for model in self.models.values():
                if (model.project, model.name) == (told["project"], told["model"]):
                    return model
        raise _Refused(404, "ObjectNotFound", "Model not found for the given identifier")

    async def _model_v2(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        model = self._named(request)
        return {"id": 1, "name": model.name, "project_name": model.project, "organization_name": self.organization}

    def _event_v2(self, request: web.Request, body: bytes, number: int) -> _Call:
        model, tree = self._named(request), _tree(request, body)
        event = tree.get("event")
        if not isinstance(event, dict):
            raise _Refused(400, "BadRequest", "event: must be an object.")
        update = tree.get("is_update")
        if update is not None and not isinstance(update, bool):
            raise _Refused(400, "BadRequest", "is_update: must be a boolean.")
        if update and not tree.get("event_id"):
            raise _Refused(400, "BadRequest", "event_id: is needed for an update.")
        for key in ("event_id", "id_field", "event_timestamp"):
            if tree.get(key) is not None and not isinstance(tree[key], str):
                raise _Refused(400, "BadRequest", f"{key}: must be text.")
        form = _form_of(tree)

        def publish(beside: Sequence[Fault]) -> dict[str, Any]:
            self._judge(model, [event], beside)
            identity = self._take(
                model,
                event,
                _Arrival("v2", request, number, size=len(body)),
                update=bool(update),
                event_id=tree.get("event_id"),
                timestamp=tree.get("event_timestamp"),
                form=form,
            )
            return {"status": 202, "message": "Successfully accepted an event", "__fiddler_id": identity}

        return _Call(publish, 202)

    def _file_v2(self, request: web.Request, body: bytes, number: int) -> _Call:
        model, tree = self._named(request), _tree(request, body)
        names = tree.get("file_name")
        by_name = {file.name: file for file in self.files.values() if file.content is not None}
        if not isinstance(names, list) or not names or not all(name in by_name for name in names):
            raise _Refused(400, "BadRequest", "file_name: must list files that were uploaded.")
        if tree.get("upload_type") != "event" or tree.get("file_type") not in (None, ".csv", ".parquet"):
            raise _Refused(400, "BadRequest", "upload_type must be event, file_type .csv, .parquet or null.")
        form = _form_of(tree)
        update, id_field, time_field = bool(tree.get("is_update")), tree.get("id_field"), tree.get("timestamp_field")
        rows = [(row, size, name) for name in names for row, size in _csv_rows(by_name[name])]
        for key in (id_field, time_field, tree.get("group_by")):
            if key is not None and rows and key not in rows[0][0]:
                raise _Refused(400, "BadRequest", f"the file has no column {key}.")

        def take() -> None:
            for row, size, name in rows:
                self._take(
                    model,
                    row,
                    _Arrival("v2", request, number, name, size),
                    update=update,
                    event_id=str(row[id_field]) if id_field is not None and row.get(id_field) else None,
                    timestamp=str(row[time_field]) if time_field is not None and row.get(time_field) else None,
                    form=form,
                )

        def publish(beside: Sequence[Fault]) -> dict[str, Any]:
            job = self._new_job("Publish events batch", take, beside, [row for row, _, _ in rows])
            return {"status": 202, "job_uuid": job.id, "files": names, "message": MESSAGE}

        return _Call(publish, 202)

    async def _upload_v2(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        told = request.query
        if told.get("upload_type") != "event" or not told.get("file_name") or not told.get("resource_identifier"):
            raise _Refused(400, "BadRequest", "upload_type, resource_identifier and file_name are needed.")
        if told.get("multipart_upload") == "False":
            name = self._server_name(told["file_name"])
            self._new_file(name, body)
            return {"status": "SUCCESS", "file_name": name, "message": "Successfully uploaded the file."}
        file = self.files.get(told.get("upload_id", ""))
        number = told.get("part_number", "")
        if file is None or not number.isdecimal():
            raise _Refused(400, "BadRequest", "upload_id and part_number are needed.")
        tag = hashlib.sha256(body).hexdigest()[:32]
        file.parts[int(number)] = (tag, body)
        return {"status": "SUCCESS", "info": {"ETag": tag, "PartNumber": int(number)}}

    async def _initialize_v2(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        tree = _tree(request, body)
        for key in ("resource_identifier", "file_name", "upload_type", "num_cols", "num_rows"):
            if tree.get(key) is None:
                raise _Refused(400, "BadRequest", f"{key}: is needed.")
        name = self._server_name(tree["file_name"])
        return {"upload_id": self._new_file(name, None), "file_name": name}

    async def _complete_v2(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        file = self.files.get(request.query.get("upload_id", ""))
        told = _tree(request, body).get("parts")
        if file is None or not isinstance(told, list):
            raise _Refused(400, "BadRequest", "upload_id and parts are needed.")
        if [(p.get("PartNumber"), p.get("ETag")) for p in told] != [(n, file.parts[n][0]) for n in sorted(file.parts)]:
            raise _Refused(400, "BadRequest", "parts: are not those that were uploaded.")
        file.content = b"".join(file.parts[number][1] for number in sorted(file.parts))
        return {"status": "SUCCESS", "file_name": file.name, "message": "Successfully uploaded the file."}

    def _server_name(self, name: str) -> str:
        """Fiddler puts five letters before the name of an upload."""
        return "".join(self.random.choices("abcdefghijklmnopqrstuvwxyz", k=5)) + f"_{name}"


@dataclass(frozen=True, slots=True)
class _Arrival:
    """How an event came."""

    api: str
    request: web.Request
    number: int
    file: str | None = None
    size: int = 0


def _nothing() -> None:
    return None


def _uuid(*names: str) -> str:
    return str(uuid5(_NAMESPACE, "/".join(names)))


def _violations(model: Model, row: Mapping[str, Any]) -> list[str]:
    return [column.name for column in model.columns if not column.takes(row.get(column.name))]


def _form_of(tree: Mapping[str, Any]) -> str:
    form = tree.get("timestamp_format")
    forms = ("infer", "epoch milliseconds", "epoch seconds", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f%Z %z")
    if form not in forms:
        raise _Refused(400, "BadRequest", f"timestamp_format: must be one of {', '.join(forms)}.")
    return str(form)


def _csv_rows(file: _File) -> list[tuple[dict[str, Any], int]]:
    """The rows of a CSV file with the bytes of each; a file of another kind has none that can be told."""
    if file.content is None or not file.name.endswith(".csv"):
        return []
    try:
        text = file.content.decode()
    except UnicodeDecodeError:
        raise _Refused(400, "BadRequest", "the file is not UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    header = next(reader, None)
    rows: list[tuple[dict[str, Any], int]] = []
    for cells in reader:
        if header is None or len(cells) != len(header):
            raise _Refused(400, "BadRequest", f"line {reader.line_num} has another number of cells than the header.")
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(cells)
        row = {name: cell for name, cell in zip(header, cells, strict=True) if cell != ""}
        rows.append((row, len(out.getvalue().encode())))
    return rows


def _rules(request: web.Request) -> dict[str, str]:
    """What a filter asks for: rules of equality that must all hold."""
    if "filter" not in request.query:
        return {}
    try:
        tree = orjson.loads(request.query["filter"])
        rules = tree["rules"]
        if tree["condition"] != "AND" or any(rule["operator"] != "equal" for rule in rules):
            raise ValueError
        return {rule["field"]: str(rule["value"]) for rule in rules}
    except (KeyError, TypeError, ValueError):
        raise _Refused(400, "BadRequest", "filter: rules with AND and equal are known here.") from None


def _page(items: list[dict[str, Any]], total: int | None = None) -> dict[str, Any]:
    return {
        "page_size": 100,
        "total": len(items) if total is None else total,
        "item_count": len(items),
        "page_count": 1,
        "page_index": 1,
        "offset": 0,
        "items": items,
    }


def _tree(request: web.Request, body: bytes) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise _Refused(415, "UnsupportedMediaType", "Content-Type must be application/json.")
    try:
        tree = orjson.loads(body)
    except ValueError:
        raise _Refused(400, "BadRequest", "the body is not JSON.") from None
    if not isinstance(tree, dict):
        raise _Refused(400, "BadRequest", "the body is not an object.")
    return tree


def _compact(value: Any) -> bytes:
    return orjson.dumps(value)


def _file_part(form: Mapping[str, tuple[str, bytes]]) -> tuple[str, bytes]:
    name, content = form.get("file", ("", b""))
    if not name:
        raise _Refused(400, "BadRequest", "file: is needed, with a filename.")
    return name, content


def _text_part(form: Mapping[str, tuple[str, bytes]], key: str) -> str:
    return form.get(key, ("", b""))[1].decode()


def _version(request: web.Request) -> str:
    return "2.0" if request.path.startswith("/v2") else "3.0"


def _reply(request: web.Request, data: Mapping[str, Any], status: int = 200) -> web.Response:
    kind = "PAGINATED" if "page_count" in data else "NORMAL"
    tree = {"data": data, "api_version": _version(request), "kind": kind}
    return web.Response(status=status, body=orjson.dumps(tree), content_type="application/json")


def _error(request: web.Request, refused: _Refused, headers: Mapping[str, str] | None = None) -> web.Response:
    told = [{"reason": refused.reason, "message": refused.message, "help": ""}]
    error = {"code": refused.status, "message": refused.message, "errors": told}
    tree = {"error": error, "api_version": _version(request), "kind": "ERROR"}
    return web.Response(
        status=refused.status, body=orjson.dumps(tree), headers=headers, content_type="application/json"
    )
