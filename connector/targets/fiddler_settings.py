"""The settings of the target `fiddler`, what its `map` may hold, and what `check` finds between the two."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from connector.targets.aws import COMPUTED
from connector.targets.contract import Complaint, Leaf
from connector.targets.fiddler_files import MAX_FILE
from connector.targets.fiddler_rows import FORMATS, Format, is_uuid
from connector.targets.settings import BatchSettings, Closed, Duration, Size, TargetSettings

MAX_EVENTS: Final = 1000
"""Events of one request of API v3 (fiddler-client 3.14.1, STREAM_EVENT_LIMIT); v2 takes one."""

MAX_BYTES: Final = 4 * 2**20
"""Bytes of the events of one request. Fiddler documents no limit; this one keeps requests short."""

MAX_ROWS: Final = 10_000
MAX_ROWS_BYTES: Final = 50_000_000
ROWS_LINGER: Final = "60s"
"""A file is full with so many rows, so many bytes, or when it is this old, unless `batch` says otherwise."""

TRIES: Final = 4
"""How often a file is published whose job fails: once, and three times again."""

NAME: Final = r"[a-z_][a-z0-9_]{1,29}"
"""Name of a model: 2 to 30 of a-z, 0-9 and _, no digit first (reference of publish_event)."""

PROJECT: Final = r"[a-z0-9_][a-z0-9_-]{1,99}"
"""Name of a project, which may have hyphens and begin with a digit (fiddler-client 3.14.1, entities/project.py)."""

_RULES: Final = {
    "project": (re.compile(PROJECT), "2 to 100 of a-z, 0-9, _ and -"),
    "model": (re.compile(NAME), "2 to 30 of a-z, 0-9 and _, no digit first"),
}

_FLAG: Final = Leaf("boolean")
_WORD: Final = Leaf("string")

MAP: Final[Mapping[str, Leaf]] = {
    "project_name": Leaf("string", example="churn_project"),
    "model_name": Leaf("string", example="churn_model"),
    "model_version": Leaf("string", example="v2"),
    "project_id": _WORD,
    "model_id": _WORD,
    "event": Leaf("json", example="${value}"),
    "event_id": Leaf("json", example="${value.id}"),
    "update_event": _FLAG,
    "event_timestamp": Leaf("json", example="${value.at}"),
    "timestamp_format": Leaf("string", example="EPOCH_MILLISECONDS"),
    "casting_type": _FLAG,
    "batch_id": Leaf("string", example="${value.day}"),
    "events_path": Leaf("string", example="${value.path}"),
    "batch_source": Leaf("string", example="${value.path}"),
}

_OF_FILES: Final = (
    *("batch_id", "id_field", "timestamp_field", "data_source", "credentials", "group_by", "directory"),
    *("max_file_bytes", "ack_on", "job_poll", "job_timeout", "s3_region", "s3_endpoint_url"),
)

ProjectName = Annotated[str, Field(pattern=rf"^{PROJECT}$")]
Name = Annotated[str, Field(pattern=rf"^{NAME}$")]
_Text = Annotated[str, Field(min_length=1)]


class Credentials(Closed):
    """Keys for AWS_S3, by the names that Fiddler's client has for them. They never go to Fiddler."""

    aws_access_key_id: _Text = Field(description="Access key")
    aws_secret_access_key: SecretStr = Field(description="Secret key; best as !env NAME or !file PATH")
    aws_session_token: SecretStr | None = Field(None, description="Session token of temporary keys")


class FiddlerSettings(TargetSettings):
    """Where events go and how; parameters of the API that are the same for every event."""

    type: Literal["fiddler"] = "fiddler"
    url: str = Field(
        pattern=r"^https?://[^\s/@?#]+/?$", description="Address of Fiddler, for example https://acme.fiddler.ai"
    )
    token: SecretStr = Field(description="API key; best as !file PATH")
    ca: str | None = Field(
        None,
        min_length=1,
        description="File of the certificate authority (PEM); that of SSL_CERT_FILE, or the system's, by default",
    )
    api: Literal["v3", "v2"] = Field("v3", description="Version of the API; v2 is for servers before 24.4")
    organization: _Text | None = Field(None, description="Organization of the token; for api: v2, which needs it")
    publish: Literal["event", "batch"] = Field(
        "event", description="event: requests of events, as publish_event; batch: files, as publish_events_batch"
    )

    project_name: ProjectName | None = Field(None, description="Project of events whose map names none")
    model_name: Name | None = Field(None, description="Model of events whose map names none")
    model_version: _Text | None = Field(None, description="Version of the model; without one Fiddler takes the oldest")
    project_id: _Text | None = Field(None, description="Deprecated name of project_name; a UUID is used as it is")
    model_id: _Text | None = Field(None, description="Deprecated name of model_name; a UUID is used as it is")

    update_event: bool | None = Field(None, description="true changes events that are there, by event_id or id_field")
    timestamp_format: Format = Field("INFER", description="What event_timestamp or timestamp_field holds")
    casting_type: bool = Field(False, description="true casts values to the data types of the model's columns")
    unknown_columns: Literal["warn", "reject"] = Field(
        "warn", description="What becomes of an event with a column that the model does not have"
    )
    dry_run: bool = Field(
        False, description="true sends nothing and reports what is wrong with each event; commits all the same"
    )
    schema_refresh: Duration = Field(300.0, description="How old what was read of a model may grow")

    batch_id: _Text | None = Field(None, description="Sent with API v2; begins the name of a file")
    id_field: _Text | None = Field(None, description="Field of a row that holds the event's id")
    timestamp_field: _Text | None = Field(None, description="Field of a row that holds the event's time")
    group_by: _Text | None = Field(None, description="Field whose equal values stand together in a file")
    data_source: Literal["DATAFRAME", "LOCAL_DISK", "AWS_S3"] | None = Field(
        None, description="Rows of the topic, or files that records name; by default the map tells"
    )
    directory: _Text | None = Field(None, description="Files of LOCAL_DISK are read below it and nowhere else")
    credentials: Credentials | None = Field(None, description="For AWS_S3; the usual AWS ways by default")
    s3_region: str | None = Field(None, description="Region of AWS_S3; AWS_REGION or the profile's by default")
    s3_endpoint_url: str | None = Field(None, description="Another address of S3, for local ones")
    max_file_bytes: Size = Field(MAX_FILE, gt=0, le=MAX_FILE, description="The largest file that a record may name")
    ack_on: Literal["ingested", "accepted"] = Field(
        "ingested", description="ingested: a file counts when its job has succeeded; accepted: when Fiddler took it"
    )
    job_poll: Duration = Field(6.0, gt=0, description="How often a job is asked how it fares")
    job_timeout: Duration = Field(1800.0, gt=0, description="How long a job may take until its file is sent again")

    @model_validator(mode="before")
    @classmethod
    def _fills_files(cls, tree: Any) -> Any:
        """Files gather longer, are larger and take longer than requests: other defaults for what every target has."""
        if not isinstance(tree, dict) or tree.get("publish") != "batch":
            return tree
        batch = tree.get("batch", {})
        if isinstance(batch, dict):
            defaults = {"max_entries": MAX_ROWS, "max_bytes": f"{MAX_ROWS_BYTES}B", "linger": ROWS_LINGER}
            tree = {**tree, "batch": {**defaults, **batch}}
        return {"max_in_flight": 2, "request_timeout": "120s", **tree}

    @field_validator("token")
    @classmethod
    def _is_one_word(cls, token: SecretStr) -> SecretStr:
        word = token.get_secret_value()
        if not word or not word.isprintable() or " " in word:
            raise ValueError("is empty, or holds a space or a line break: it goes into a header as it is")
        return token

    @field_validator("batch")
    @classmethod
    def _has_room(cls, batch: BatchSettings) -> BatchSettings:
        if batch.max_bytes == 0:
            raise ValueError("max_bytes: a call needs at least a byte")
        return batch

    @field_validator("project_id", "model_id")
    @classmethod
    def _is_a_name(cls, name: str | None, info: ValidationInfo) -> str | None:
        pattern, rule = _RULES[str(info.field_name).partition("_")[0]]
        if name is not None and not pattern.fullmatch(name) and not is_uuid(name):
            raise ValueError(f"is neither a UUID nor a name: {rule}")
        return name

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for name, alias in (("project_name", "project_id"), ("model_name", "model_id")):
            if getattr(self, name) is not None and getattr(self, alias) is not None:
                raise ValueError(f"{name} and {alias} are one thing: keep {name}, {alias} is its deprecated name")
        if (self.api == "v2") != (self.organization is not None):
            raise ValueError(
                "api: v2 needs the organization of the token" if self.api == "v2" else "organization is for api: v2"
            )
        if self.api == "v2":
            for key, wrong in (
                ("casting_type", self.casting_type),
                ("unknown_columns", self.unknown_columns != "warn"),
            ):
                if wrong:
                    raise ValueError(f"{key} needs api: v3, for v2 does not tell the model's columns")
            if self.model_version is not None:
                raise ValueError("model_version needs api: v3: v2 knows no versions")
        most = MAX_EVENTS if self.api == "v3" else 1
        if self.publish == "event":
            if self.batch.max_entries is not None and self.batch.max_entries > most:
                raise ValueError(f"batch.max_entries: API {self.api} takes {most} event{'s' * (most > 1)} a request")
            if odd := [key for key in _OF_FILES if key in self.model_fields_set and getattr(self, key) is not None]:
                raise ValueError(f"{odd[0]} is for publish: batch")
        if self.data_source == "LOCAL_DISK" and self.directory is None:
            raise ValueError("data_source: LOCAL_DISK needs `directory`, below which files are read")
        return self

    @property
    def project(self) -> str | None:
        """The project by its name, old or new."""
        return self.project_name or self.project_id

    @property
    def model(self) -> str | None:
        """The model by its name, old or new."""
        return self.model_name or self.model_id

    @property
    def deadline(self) -> float:
        """Seconds that one `send` may take: a request, or a file with its job as often as it is tried."""
        if self.publish == "event":
            return self.request_timeout
        return TRIES * (self.job_timeout + 10 * self.request_timeout)


def check(settings: FiddlerSettings, fields: Mapping[str, Any]) -> Iterator[Complaint]:
    """What no record could mend."""
    for key, alias in (("project_name", "project_id"), ("model_name", "model_id"), ("events_path", "batch_source")):
        if key in fields and alias in fields:
            yield (alias,), f"and {key} are one thing", f"keep {key}"
    for key, alias, default in (
        ("project_name", "project_id", settings.project),
        ("model_name", "model_id", settings.model),
    ):
        if key not in fields and alias not in fields and default is None:
            yield (), f"says no {key}, and the target has none", f"write {key} in the target, or map it"
        for said in (key, alias):
            name = fields.get(said)
            if not isinstance(name, str) or COMPUTED.search(name) or (said == alias and is_uuid(name)):
                continue
            pattern, rule = _RULES[said.partition("_")[0]]
            if not pattern.fullmatch(name):
                yield (said,), f"is `{name}`, which is no name of Fiddler's", rule
    form = fields.get("timestamp_format")
    if isinstance(form, str) and not COMPUTED.search(form) and form not in FORMATS:
        yield ("timestamp_format",), f"is `{form}`", f"one of {', '.join(FORMATS)}"
    file = next((key for key in ("events_path", "batch_source") if key in fields), None)
    update = fields.get("update_event", settings.update_event)
    if update is True and "event_id" not in fields and settings.id_field is None and file is None:
        yield (), "says update_event: true, and no event_id", "map event_id, by which an update finds its event"
    if settings.publish == "event":
        for key in ("events_path", "batch_source", "batch_id"):
            if key in fields:
                yield (key,), "is for publish: batch", "write publish: batch in the target, or take it out"
        return
    if file is not None and "event" in fields:
        yield ("event",), f"stands beside {file}: a record is a row or names a file", "keep one of them"
    if settings.data_source == "DATAFRAME" and file is not None:
        yield (file,), "names a file, but data_source is DATAFRAME", "take data_source out, or map `event`"
    if settings.data_source in ("LOCAL_DISK", "AWS_S3") and file is None:
        yield (), f"names no file, but data_source is {settings.data_source}", "map events_path"
    path = fields.get(file) if file is not None else None
    local = isinstance(path, str) and not path.startswith(("s3://", "${"))
    if local and settings.directory is None:
        yield (file or "events_path",), "names a file, but the target has no directory", "write directory in the target"


def warn(settings: FiddlerSettings) -> Iterator[Complaint]:
    """What works otherwise than one may think."""
    model = settings.model
    if settings.api == "v3" and settings.model_version is None and model is not None and not is_uuid(model):
        key = "model_name" if settings.model_name else "model_id"
        yield (key,), "has no model_version beside it: Fiddler takes the model's oldest", "add model_version"
    for key, name in (("project_id", "project_name"), ("model_id", "model_name")):
        if getattr(settings, key) is not None and not is_uuid(getattr(settings, key)):
            yield (key,), "is a deprecated name", f"write {name}"
