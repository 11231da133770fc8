"""Fiddler: events one by one (`publish: event`) or as files (`publish: batch`), by API v3 or v2.

`prepare` makes rows that know no model, `send` fits them to the model's columns and refuses those that do not fit. An
answer is for the whole call, and these are the verdicts:

| Fiddler says | verdict |
|---|---|
| events: success, with an id for each | DELIVERED |
| file: its job ended with SUCCESS, or with `ack_on: accepted` it was taken | DELIVERED |
| file: its job failed four times | halved until the culprit stands alone, then REJECTED |
| file: its job has not ended within `job_timeout` | RETRY for all |
| success with another number of ids, an unreadable body | RETRY for all |
| 408, 429, 5xx but 501, no reply, no connection | RETRY for all |
| 409 to what was sent before, with an outcome that nobody knows | DELIVERED |
| 400, 413, 422 | halved until the culprit stands alone, then REJECTED |
| a model or project that is not there | HOLD for a name of the config, REJECTED for a computed one |
| 401, 403, 404, 501, a redirect, any other 4xx | HOLD |

`codes:` of the target's settings goes before this table; a code is Fiddler's word (`reason`), or the status.

Sources: fiddler-client 3.14.1, 2.5.4 and 1.8.6; Fiddler's REST reference (events, file-upload, api-guidelines).
"""

import asyncio
import io
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

import aioboto3
import aiohttp
import structlog
from botocore.exceptions import BotoCoreError

from connector.model import (
    Ack,
    Batch,
    BatchRefused,
    Entry,
    Event,
    Health,
    Limits,
    Preflight,
    Prepared,
    Verdict,
)
from connector.targets import aws, strict_json, trace
from connector.targets.aws import COMPUTED, OVERRIDES, UNKNOWN_TRIES, AwsSettings, Refusal, Reply, Service
from connector.targets.contract import Kind
from connector.targets.fiddler_api import DUPLICATE, NOT_FOUND, Api, Models, grant, segment, verdict
from connector.targets.fiddler_files import (
    S3_URI,
    Content,
    Files,
    FilesV2,
    FilesV3,
    Publication,
    ended,
    fetched,
    name_of,
    opened_below,
    relative,
    table,
)
from connector.targets.fiddler_prepare import (
    ID_COLUMN,
    TIME_COLUMN,
    Named,
    columns_v2,
    ingest,
    method,
    prepared,
    show,
)
from connector.targets.fiddler_rows import UNKNOWN_COLUMNS, Destination, Model, Row, Shaped, report, shape
from connector.targets.fiddler_settings import (
    MAP,
    MAX_BYTES,
    MAX_EVENTS,
    TRIES,
    Credentials,
    FiddlerSettings,
    check,
    warn,
)

FRESH: Final = 10.0
"""Seconds for which a model counts as just read, where a column is looked for that it did not have."""

REMEMBERED: Final = 50_000
"""Events remembered as sent with an outcome that nobody knows, for the meaning of a 409."""

DRY_RUN: Final = "dry_run"


class Fiddler:
    """Requests of events, or files. What is delivered was acknowledged by id, or by the end of its job."""

    def __init__(
        self,
        name: str,
        settings: FiddlerSettings,
        *,
        sessions: aws.Sessions = aws.session,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._settings = settings
        self._codes = {code: OVERRIDES[word] for code, word in settings.codes.items()}
        self._api = Api(
            settings.url,
            settings.token.get_secret_value(),
            timeout=settings.request_timeout,
            connections=settings.max_in_flight + 1,  # one more for the preflight
            ca=settings.ca,
        )
        self._models = Models(self._api, clock, settings.schema_refresh)
        self._files: Files = FilesV2(self._api, settings.organization) if settings.organization else FilesV3(self._api)
        self._s3 = Service("s3", _s3_settings(settings), sessions=_with(settings.credentials, sessions))
        self._log = structlog.get_logger("connector.targets.fiddler").bind(target=name)
        self._maps: Sequence[Mapping[str, Any]] = ()
        self._doubtful: OrderedDict[str, None] = OrderedDict()
        self._last_reply: dict[str, Any] = {}
        self._warned: set[Destination] = set()
        most = settings.batch.max_bytes or MAX_BYTES
        entries = settings.batch.max_entries or (MAX_EVENTS if settings.api == "v3" else 1)
        self._limits = Limits(entries, most, most)

    @property
    def limits(self) -> Limits:
        """A thousand events a request with API v3, one with v2; a file's rows; or what `batch` says."""
        return self._limits

    @property
    def told(self) -> Mapping[str, Any]:
        """Fiddler's last answer to a file, as the reference of publish_events_batch has it; nothing before one."""
        return self._last_reply

    def fed_by(self, maps: Sequence[Mapping[str, Any]]) -> None:
        """Learn which models the routes name in so many words: these are held for while they are missing."""
        self._maps = tuple(maps)

    async def __aenter__(self) -> Self:
        """Open the pool of connections; nothing is sent."""
        await self._api.__aenter__()
        await self._s3.__aenter__()
        if self._settings.dry_run:
            self._log.warning("DRY RUN: nothing is sent, and offsets are committed as if it were")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._s3.__aexit__(kind, error, trace)
        await self._api.__aexit__(kind, error, trace)

    def prepare(self, event: Event) -> Prepared:
        """Make a row, or a file's name, that knows no model yet.

        Raises:
            Unpublishable: with the field, the reason and a code of ours.
        """
        return prepared(event, self._settings, self._limits)

    # sending

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Make one request of events, or publish one file and wait for its job.

        Raises:
            BatchRefused: because of a row that the answer does not name.
        """
        with trace.carried(trace.shared(batch)):
            return await self._send(batch)

    async def _send(self, batch: Batch) -> Sequence[Ack]:
        if self._settings.dry_run:
            return await self._dry(batch)
        if isinstance(batch[0].body, Named):
            return [await self._publish_named(entry, entry.body) for entry in batch]
        if self._settings.publish == "batch":
            return await self._publish_rows(batch)
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                return await self._publish_events(batch)
        except TimeoutError:  # of the look-ups and the request together
            wait = f"{self._settings.request_timeout:g} s"
            return [Ack(Verdict.RETRY, "Timeout", f"no reply within {wait}; Fiddler may have taken the events")] * len(
                batch
            )

    async def _publish_events(self, batch: Batch) -> Sequence[Ack]:
        if self._settings.api == "v2":
            return await self._publish_event_v2(batch)
        to = batch[0].body.to
        model = await self._models.of(to)
        if isinstance(model, Refusal):
            return self._unknown(batch, model)
        fitted = await self._fitted(batch, model)
        kept = [(entry, each) for entry, each in zip(batch, fitted, strict=True) if isinstance(each, Shaped)]
        if not kept:
            return [each for each in fitted if isinstance(each, Ack)]
        entries = tuple(entry for entry, _ in kept)
        body = _events([each.values for _, each in kept], model.id)
        known, outcome = await self._asked(entries, method(batch[0].body.update), "/v3/events", body)
        if isinstance(outcome, Refusal):
            if outcome.status == 404:
                self._models.forget(to)
            acks = self._refused(entries, outcome, known=known, halve=len(batch) == 1 or len(entries) > 1)
        else:
            acks = _counted(outcome, kept)
        answers = iter(acks)
        return [each if isinstance(each, Ack) else next(answers) for each in fitted]

    async def _fitted(self, batch: Batch, model: Model) -> list[Shaped | Ack]:
        """Each row in the model's columns; where one has a column more, the model is read anew first."""
        to = batch[0].body.to
        unknown = self._settings.unknown_columns

        def fit(within: Model) -> list[Shaped | Ack]:
            return [shape(entry.body, within, unknown=unknown) for entry in batch]

        fitted = fit(model) if len(batch) <= MAX_EVENTS else await asyncio.to_thread(fit, model)
        if any(_has_strangers(each) for each in fitted):
            newer = await self._models.of(to, newer_than=FRESH)
            if isinstance(newer, Model) and newer != model:
                fitted = await asyncio.to_thread(fit, newer)
        if model.time_column is None and to not in self._warned:
            self._warned.add(to)
            self._log.warning("the model has no event_ts_col: timestamps are dropped", model=str(to))
        return fitted

    async def _publish_event_v2(self, batch: Batch) -> Sequence[Ack]:
        row: Row = batch[0].body
        body = strict_json.encode(ingest(row)).encode()
        known, outcome = await self._asked(batch, "POST", f"{self._base_v2(row.to)}/ingest/event", body)
        if isinstance(outcome, Refusal):
            return self._refused(batch, outcome, known=known)
        identity = outcome.body.get("__fiddler_id")
        if not isinstance(identity, str) or not identity:
            return _unread(batch, "a success without __fiddler_id")
        return [Ack(Verdict.DELIVERED, "", f"event {identity}")]

    def _base_v2(self, to: Destination) -> str:
        organization = self._settings.organization or ""
        return f"/v2/events/{segment(organization)}:{segment(to.project)}:{segment(to.model)}"

    async def _asked(self, batch: Batch, method: str, path: str, body: bytes) -> tuple[bool, Reply | Refusal]:
        """Make a request, and tell whether all of it was sent before with an outcome that nobody knows."""
        known = self._note(batch)
        outcome = await self._api.call(method, path, lambda: io.BytesIO(body))
        self._settle(batch, outcome)
        return known, outcome

    def _note(self, batch: Batch) -> bool:
        """Take note of what is about to be sent; tell whether all of it was sent before and nobody knows what became
        of it. Whatever ends the call from outside leaves the note.
        """
        known = all(entry.event.id in self._doubtful for entry in batch)
        for entry in batch:
            self._doubtful[entry.event.id] = None
            self._doubtful.move_to_end(entry.event.id)
        while len(self._doubtful) > REMEMBERED:
            self._doubtful.popitem(last=False)
        return known

    def _settle(self, batch: Batch, outcome: Reply | Refusal) -> None:
        """Forget what was sent where the answer says what became of it."""
        if isinstance(outcome, Reply) or 400 <= outcome.status < 500:
            for entry in batch:
                self._doubtful.pop(entry.event.id, None)

    def _unknown(self, batch: Batch, refusal: Refusal) -> list[Ack]:
        """What a look-up that brought no model means: it is never the fault of a row, but for a computed name."""
        acks = self._refused(batch, refusal, halve=False)
        if acks[0].verdict is Verdict.REJECTED and refusal.code not in NOT_FOUND:
            acks = [replace(acks[0], verdict=Verdict.HOLD)] * len(batch)
        return acks

    def _refused(self, batch: Batch, refusal: Refusal, *, known: bool = False, halve: bool = True) -> list[Ack]:
        if refusal.status == DUPLICATE and known:
            detail = "Fiddler has it already: an earlier request was taken although its answer was lost (409)"
            return [Ack(Verdict.DELIVERED, "", detail)] * len(batch)
        absent = refusal.code in NOT_FOUND or (refusal.status == 404 and self._settings.api == "v2")
        found = self._codes.get(refusal.code, self._codes.get(str(refusal.status)))
        if found is None:
            found = verdict(refusal)
            if absent and not self._literal(batch[0].body.to):
                found = Verdict.REJECTED
        ack = Ack(found, refusal.code, refusal.message, refusal.retry_after)
        if found is Verdict.REJECTED and halve and not absent:
            raise BatchRefused(ack)
        return [ack] * len(batch)  # a model that is not there is the same for all: halving would find nothing new

    # files

    async def _publish_rows(self, batch: Batch) -> Sequence[Ack]:
        first: Row = batch[0].body
        model: Model | None = None
        fitted: list[Shaped | Ack]
        if self._settings.api == "v3":
            found = await self._models.of(first.to)
            if isinstance(found, Refusal):
                return self._unknown(batch, found)
            model = found
            fitted = await self._fitted(batch, model)
        else:
            fitted = [Shaped(columns_v2(entry.body, self._settings)) for entry in batch]
        kept = [(entry, each) for entry, each in zip(batch, fitted, strict=True) if isinstance(each, Shaped)]
        if not kept:
            return [each for each in fitted if isinstance(each, Ack)]
        entries = tuple(entry for entry, _ in kept)
        rows = [each.values for _, each in kept]
        content = Content.of_bytes(await asyncio.to_thread(table, rows, self._settings.group_by))
        publication = self._publication(first, name_of(entries, first.batch_id), content, model)
        time_field = self._settings.timestamp_field or TIME_COLUMN
        publication = replace(
            publication,
            id_field=self._settings.id_field or ID_COLUMN,
            timestamp_field=time_field if any(time_field in row for row in rows) else None,
        )
        outcome = await self._published(entries, publication)
        if outcome.verdict is Verdict.REJECTED and len(batch) > 1:
            raise BatchRefused(outcome)
        answers = iter(_delivered(outcome, each) for _, each in kept)
        return [each if isinstance(each, Ack) else next(answers) for each in fitted]

    def _publication(self, of: Row | Named, name: str, content: Content, model: Model | None) -> Publication:
        settings = self._settings
        return Publication(
            to=of.to,
            name=name,
            content=content,
            update=of.update,
            batch_id=of.batch_id,
            id_field=settings.id_field,
            timestamp_field=settings.timestamp_field,
            timestamp_format=of.format,
            group_by=settings.group_by,
            model_id=model.id if model is not None else "",
        )

    async def _published(self, batch: Batch, publication: Publication) -> Ack:
        """Publish a file, and again while its job fails; the ack is the same for all of it."""
        reason = ""
        for _ in range(TRIES):
            known = self._note(batch)
            outcome = await self._files.publish(publication)
            if isinstance(outcome, Refusal):
                self._settle(batch, outcome)
                if outcome.status == 404:
                    self._models.forget(publication.to)
                return self._refused(batch, outcome, known=known)[0]
            self._last_reply = outcome.reply()
            self._log.info("file taken", file=publication.name, rows=len(batch), reply=self._last_reply)
            if self._settings.ack_on == "accepted":
                self._settle(batch, Reply({}))
                return Ack(Verdict.DELIVERED, "", f"job {outcome.job} accepted")
            job = await ended(
                self._api, self._files.job_path(outcome.job), self._settings.job_poll, self._settings.job_timeout
            )
            if job is None:
                wait = f"{self._settings.job_timeout:g} s"
                return Ack(Verdict.RETRY, "JobTimeout", f"job {outcome.job} has not ended within {wait}")
            self._settle(batch, Reply({}))
            if job["status"] == "SUCCESS":
                return Ack(Verdict.DELIVERED, "", f"job {outcome.job} succeeded")
            reason = aws.tidy(str(job.get("error_message") or job.get("error_reason") or "without a reason"))
            self._log.warning("job failed", job=outcome.job, status=job["status"], reason=reason, file=publication.name)
            await asyncio.sleep(self._settings.job_poll)
        found = self._codes.get("JobFailed", Verdict.REJECTED)
        return Ack(found, "JobFailed", f"the job failed {TRIES} times: {reason}")

    async def _publish_named(self, entry: Entry, named: Named) -> Ack:
        model: Model | None = None
        if self._settings.api == "v3":
            found = await self._models.of(named.to)
            if isinstance(found, Refusal):
                return self._unknown((entry,), found)[0]
            model = found
            if mismatch := self._mismatch(named.to, model):
                return Ack(Verdict.HOLD, "FieldMismatch", mismatch)
        async with AsyncExitStack() as stack:
            opened = await self._opened(stack, named)
            if isinstance(opened, Ack):
                return opened
            content = Content.of_file(opened)
            if content.size > self._settings.max_file_bytes:
                return _too_large(self._settings.max_file_bytes)
            publication = self._publication(named, named.path.rpartition("/")[2], content, model)
            try:
                return await self._published((entry,), publication)
            except BatchRefused as refused:
                return refused.ack

    async def _opened(self, stack: AsyncExitStack, named: Named) -> int | Ack:
        if named.source == "LOCAL_DISK":
            if absent := self._directory_missing():
                return Ack(Verdict.HOLD, "DirectoryMissing", absent)
            try:
                return stack.enter_context(opened_below(self._settings.directory or "", relative(named.path)))
            except PermissionError:
                return Ack(Verdict.HOLD, "NotPermitted", "a file below `directory` may not be read by this process")
            except OSError as error:
                detail = f"the file cannot be read below `directory`: {error.strerror or 'it is none'}"
                return Ack(Verdict.RETRY, "FileMissing", detail, tries=UNKNOWN_TRIES)
        bucket, key = S3_URI.fullmatch(named.path).groups()  # type: ignore[union-attr]  # prepare has seen to it
        outcome = await self._s3.call("get_object", Bucket=bucket, Key=key)
        if isinstance(outcome, Refusal):
            if outcome.status == 404:
                return Ack(Verdict.RETRY, outcome.code, outcome.message, tries=UNKNOWN_TRIES)
            return Ack(aws.verdict(outcome), outcome.code, f"S3: {outcome.message}", outcome.retry_after)
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                spooled = await fetched(stack, outcome.body["Body"], self._settings.max_file_bytes)
        except TimeoutError:
            return Ack(
                Verdict.RETRY, "Timeout", f"S3: no end of the object within {self._settings.request_timeout:g} s"
            )
        except (BotoCoreError, aiohttp.ClientError, OSError) as error:
            return Ack(Verdict.RETRY, type(error).__name__, "S3: the object breaks off")
        return _too_large(self._settings.max_file_bytes) if spooled is None else spooled

    def _directory_missing(self) -> str:
        """Why no file at all could be read; empty where some could."""
        directory = self._settings.directory
        if directory is None or os.path.isdir(directory):
            return ""
        return f"there is no directory {directory}: mount or create it, or mend `directory`"

    # dry run

    async def _dry(self, batch: Batch) -> Sequence[Ack]:
        """Report what is wrong with each event, and send nothing."""
        body: Row | Named = batch[0].body
        model: Model | None = None
        if self._settings.api == "v3":
            found = await self._models.of(body.to)
            if isinstance(found, Refusal):
                return self._unknown(batch, found)
            model = found
        acks: list[Ack] = []
        for entry in batch:
            findings: list[dict[str, str]] = []
            if isinstance(entry.body, Row) and model is not None:
                shaped = shape(entry.body, model, unknown=self._settings.unknown_columns)
                findings = [finding._asdict() for finding in report(entry.body, model, shaped)]
            self._log.info(
                "dry run: not sent",
                record=str(entry.event.record),
                route=entry.event.route,
                model=str(body.to),
                request=f"{method(body.update)} of {entry.size} bytes",
                violations=findings,
            )
            acks.append(Ack(Verdict.DELIVERED, DRY_RUN, f"{len(findings)} violations"))
        return acks

    # preflight

    async def preflight(self) -> Preflight:
        """Read every model that the config names; say what is missing, and what its routes cannot do with it."""
        destinations = self._destinations()
        if not destinations:
            return await self._server_info()
        missing: list[str] = []
        wrong: list[str] = []
        doubt: Preflight | None = None
        for destination, maps in destinations.items():
            found = await self._look(destination)
            if isinstance(found, Model):
                wrong += self._misuses(destination, found, maps)
            elif found is None:
                continue
            elif found.code in NOT_FOUND or (found.status == 404 and self._settings.api == "v2"):
                missing.append(str(destination))
            elif found.status in (401, 403):
                detail = grant(found, f"the right to read and publish to {destination}")
                return Preflight(Health.MISSING, found.code, detail, (str(destination),))
            else:
                doubt = Preflight(Health.UNKNOWN, found.code, found.message)
                if found.status == 0:  # no reply at all: the others would only cost further deadlines
                    break
        if absent := self._directory_missing():
            wrong.append(absent)
        if missing:
            detail = f"no such model: {', '.join(missing)}; onboard it, or mend project_name and model_name"
            return Preflight(Health.MISSING, "ModelNotFound", detail, tuple(missing))
        if wrong:
            return Preflight(Health.MISSING, "ModelMisused", "; ".join(wrong), tuple(wrong))
        return doubt or Preflight(Health.OK)

    def _destinations(self) -> dict[Destination, list[Mapping[str, Any]]]:
        """The models that the config names in so many words, with the maps that feed them."""
        found: dict[Destination, list[Mapping[str, Any]]] = {}
        for fields in self._maps or ({},):
            names = (
                _literal(fields, ("project_name", "project_id"), self._settings.project),
                _literal(fields, ("model_name", "model_id"), self._settings.model),
                _literal(fields, ("model_version",), self._settings.model_version),
            )
            project, model, version = names
            if project and model and _COMPUTED not in names:
                found.setdefault(Destination(project, model, version), []).append(fields)
        return found

    def _literal(self, to: Destination) -> bool:
        return to in self._destinations()

    async def _look(self, destination: Destination) -> Model | Refusal | None:
        """What Fiddler says of a model: the model itself with API v3, None for one that is there with v2."""
        if self._settings.api == "v3":
            return await self._models.of(destination, newer_than=0.0)
        organization = segment(self._settings.organization or "")
        path = f"/v2/models/{organization}:{segment(destination.project)}:{segment(destination.model)}"
        outcome = await self._api.call("GET", path)
        return outcome if isinstance(outcome, Refusal) else None

    async def _server_info(self) -> Preflight:
        params = {"organization_name": self._settings.organization} if self._settings.organization else None
        outcome = await self._api.call("GET", f"/{self._settings.api}/server-info", params=params)
        if isinstance(outcome, Reply):
            detail = "every model is computed: none can be looked after"
            return Preflight(Health.UNKNOWN, "NoModelNames", detail)
        if outcome.status == 401:
            return Preflight(Health.MISSING, outcome.code, grant(outcome, ""))
        return Preflight(Health.UNKNOWN, outcome.code, grant(outcome, "the right to publish events"))

    def _misuses(self, to: Destination, model: Model, maps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """What the routes do that the model has no place for."""
        if mismatch := self._mismatch(to, model):
            yield mismatch
        for fields in maps:
            update = fields.get("update_event", self._settings.update_event)
            if update is not True:
                continue
            if model.id_column is None:
                yield f"{to} has no event_id_col, so an update cannot find its event"
            event = fields.get("event")
            if isinstance(event, Mapping) and (lost := sorted(model.fixed & event.keys())):
                yield (
                    f"an update of {to} maps {', '.join(lost)}: Fiddler drops inputs, outputs and decisions of an "
                    "update; map targets and metadata only"
                )

    def _mismatch(self, to: Destination, model: Model) -> str:
        """How the settings of files contradict the model; empty where they do not."""
        settings = self._settings
        if settings.group_by is not None and model.group_by is not None and settings.group_by != model.group_by:
            return f"group_by is {settings.group_by}, but {to} groups by {model.group_by}"
        names_files = any("events_path" in fields or "batch_source" in fields for fields in self._maps)
        if names_files:
            for key, wanted, column in (
                ("id_field", settings.id_field, model.id_column),
                ("timestamp_field", settings.timestamp_field, model.time_column),
            ):
                if wanted is not None and wanted != column:
                    return f"{key} is {wanted}, but {to} has {column}: a file that a record names is sent as it is"
        return ""


_COMPUTED: Final = "${}"


def _literal(fields: Mapping[str, Any], keys: Sequence[str], default: str | None) -> str | None:
    """A name as the config has it; `${}` where it is computed from the record."""
    for key in keys:
        value = fields.get(key)
        if isinstance(value, str):
            return _COMPUTED if COMPUTED.search(value) else value.replace("$${", "${")
    return default


def _events(rows: Sequence[Mapping[str, Any]], model_id: str) -> bytes:
    """The body of `/v3/events`."""
    tree = {
        "source": {"type": "EVENTS", "events": rows},
        "model_id": model_id,
        "env_type": "PRODUCTION",
        "env_name": None,
    }
    return strict_json.encode(tree).encode()


def _counted(reply: Reply, kept: Sequence[tuple[Entry, Shaped]]) -> list[Ack]:
    """An ack by position, where there is an id for each event."""
    identities = reply.body.get("event_ids")
    if not isinstance(identities, list) or len(identities) != len(kept):
        found = f"{len(identities)} ids" if isinstance(identities, list) else "no ids"
        return [Ack(Verdict.RETRY, "ProtocolError", f"{found} for {len(kept)} events")] * len(kept)
    return [
        Ack(Verdict.DELIVERED, "", f"event {identity}", warning=shaped.warning)
        for identity, (_, shaped) in zip(identities, kept, strict=True)
    ]


def _delivered(ack: Ack, shaped: Shaped) -> Ack:
    if ack.verdict is not Verdict.DELIVERED or not shaped.warning:
        return ack
    return Ack(ack.verdict, ack.code, ack.detail, warning=shaped.warning)


def _has_strangers(found: Shaped | Ack) -> bool:
    return (found.warning if isinstance(found, Shaped) else found.code) == UNKNOWN_COLUMNS


def _too_large(limit: int) -> Ack:
    return Ack(Verdict.REJECTED, "TooLarge", f"the file has more than {limit} bytes")


def _unread(batch: Batch, why: str) -> list[Ack]:
    return [Ack(Verdict.RETRY, "ProtocolError", why)] * len(batch)


def _with(credentials: Credentials | None, sessions: aws.Sessions) -> aws.Sessions:
    """Sessions with the keys of the settings, or those that find their own."""
    if credentials is None:
        return sessions
    token = credentials.aws_session_token
    return lambda settings: aioboto3.Session(
        credentials.aws_access_key_id,
        credentials.aws_secret_access_key.get_secret_value(),
        token.get_secret_value() if token is not None else None,
        region_name=settings.region,
        botocore_session=aws.Core(),
    )


def _s3_settings(settings: FiddlerSettings) -> AwsSettings:
    return AwsSettings.model_construct(
        type="s3",
        region=settings.s3_region,
        endpoint_url=settings.s3_endpoint_url,
        ca=None,
        request_timeout=settings.request_timeout,
        max_in_flight=settings.max_in_flight,
    )


KIND: Final = Kind(settings=FiddlerSettings, map=MAP, make=Fiddler, check=check, show=show, value="event", warn=warn)
