"""The config as frozen models: every key, its unit, its default and what it means. `connector.loading` fills them.

A value that stands here was checked for its own sake; what makes no sense beside another, `loading.checks` finds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, SecretStr, SerializeAsAny, StringConstraints, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from connector.mapping.problem import Locate, Problem
from connector.targets.settings import Closed, Duration, Size, TargetSettings

PATTERN_MARK: Final = "^"
"""A topic that starts with it is a regular expression over the whole name."""


def _joined(value: Any) -> Any:
    return ",".join(value) if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value) else value


def _texts(value: Any) -> Any:
    """Properties are text for librdkafka: 1024 and true are what a person means by "1024" and "true"."""
    if not isinstance(value, dict):
        return value
    return {key: str(leaf).lower() if isinstance(leaf, bool | int) else leaf for key, leaf in value.items()}


def _host_and_port(value: Any) -> Any:
    if isinstance(value, str) and (found := re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\s]*):(\d{1,5})", value)):
        if int(found[2]) <= 65535:
            return value
        raise ValueError("needs a port up to 65535")
    raise ValueError("needs HOST:PORT: write for example 127.0.0.1:8080, or :8080 for every interface")


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
"""Names end in event ids, metrics labels and headers, so they keep to letters, digits, `_`, `.` and `-`."""
VarName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
TopicName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=249)]
Text = Annotated[str, StringConstraints(min_length=1)]
Refusal: TypeAlias = Literal["dead_letter", "skip", "hold"]


class NoAuth(Closed):
    """Plain text, no identity: for a broker on the same machine."""

    type: Literal["none"] = "none"


class TlsKeys(Closed):
    """Certificates of a TLS connection; the system's certificate authorities by default."""

    ca: str | None = Field(None, description="File of the certificate authority (PEM); the system's by default")
    certificate: str | None = Field(None, description="File of the client's certificate (PEM)")
    key: str | None = Field(None, description="File of the client's private key (PEM)")
    key_password: SecretStr | None = Field(None, description="Password of the private key")
    verify_hostname: bool = Field(True, description="Whether the broker's certificate must name its host")


class TlsAuth(TlsKeys):
    """TLS; with `certificate` and `key` the client shows who it is."""

    type: Literal["tls"]


class SaslPlainAuth(TlsKeys):
    """User and password, over TLS unless `tls: false`."""

    type: Literal["sasl_plain"]
    username: Text = Field(description="User name")
    password: SecretStr = Field(description="Password; best as !env NAME or !file PATH")
    tls: bool = Field(True, description="false sends the password in plain text")


class SaslScramAuth(TlsKeys):
    """User and password by challenge and response."""

    type: Literal["sasl_scram"]
    mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("SCRAM-SHA-512", description="Which hash")
    username: Text = Field(description="User name")
    password: SecretStr = Field(description="Password; best as !env NAME or !file PATH")
    tls: bool = Field(True, description="false leaves the connection unencrypted")


class OAuthBearerAuth(TlsKeys):
    """A token of an OpenID Connect provider, by client credentials."""

    type: Literal["oauthbearer"]
    token_endpoint: Annotated[Text, StringConstraints(pattern=r"^https?://[^\s/@]+(/\S*)?$")] = Field(
        description="URL that gives tokens"
    )
    token_ca: str | None = Field(
        None, description="File of the certificate authority of token_endpoint (PEM); the system's by default"
    )
    client_id: Text = Field(description="Client id")
    client_secret: SecretStr = Field(description="Client secret; best as !env NAME or !file PATH")
    scope: str | None = Field(None, description="Scope to ask for")
    extensions: dict[str, str] = Field(default={}, description="SASL extensions, such as logicalCluster")
    tls: bool = Field(True, description="false leaves the connection unencrypted")


class MskIamAuth(TlsKeys):
    """Amazon MSK with IAM, by the usual AWS credentials; needs the extra `msk`."""

    type: Literal["msk_iam"]
    region: Text = Field(description="Region of the cluster, for example eu-west-1", examples=["eu-west-1"])
    role_arn: str | None = Field(None, description="Role to assume first")
    profile: str | None = Field(None, description="Profile of the AWS config files")


Auth = Annotated[
    NoAuth | TlsAuth | SaslPlainAuth | SaslScramAuth | OAuthBearerAuth | MskIamAuth, Field(discriminator="type")
]


class ClusterSettings(Closed):
    """A Kafka cluster, and how to connect to it."""

    bootstrap_servers: Annotated[Text, BeforeValidator(_joined, json_schema_input_type=str | list[str])] = Field(
        description="HOST:PORT of some brokers, as a list or with commas between",
        examples=["broker-1:9092,broker-2:9092", ["broker-1:9092", "broker-2:9092"]],
    )
    client_id: Text = Field("connector", description="What brokers call this client in their logs and quotas")
    auth: Auth = Field(NoAuth(), description="How the connection is secured, and who we are")
    properties: Annotated[
        dict[str, str], BeforeValidator(_texts, json_schema_input_type=dict[str, str | int | bool])
    ] = Field(
        default={},
        repr=False,  # some are secrets
        description="Any other librdkafka property; those the daemon must own are refused",
        examples=[{"fetch.min.bytes": "1024"}],
    )


class KafkaSettings(ClusterSettings):
    """The cluster, the group, and how the one consumer of this process reads."""

    group_id: Text = Field(
        description="Consumer group; replicas of the daemon share it, and the partitions with it",
        examples=["orders-connector"],
    )
    auto_offset_reset: Literal["earliest", "latest", "error"] = Field(
        "earliest", description="Where a group without offsets starts; latest counts for the group's first start only"
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        "classic", description="consumer is KIP-848, where the brokers assign the partitions (Apache Kafka 4.0)"
    )
    id_prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]*$", max_length=100)] = Field(
        "",
        description="Put before redelivery ids, to tell a mirrored or recreated topic from the first one",
        examples=["mirror-"],
    )


class ConfluentRegistrySettings(TlsKeys):
    """A schema registry with Confluent's REST API."""

    type: Literal["confluent"]
    url: Annotated[Text, StringConstraints(pattern=r"^https?://[^\s/@]+(/\S*)?$")] = Field(
        description="Address of the registry, for example https://registry:8081"
    )
    username: Text | None = Field(None, description="User name, or API key")
    password: SecretStr | None = Field(None, description="Password, or API secret; best as !env NAME or !file PATH")
    token: SecretStr | None = Field(None, description="Bearer token, instead of a user and a password")
    request_timeout: Duration = Field(10.0, gt=0, description="Deadline of fetching one schema with its references")


class GlueRegistrySettings(Closed):
    """AWS Glue Schema Registry, by the usual AWS credentials."""

    type: Literal["glue"]
    region: str | None = Field(
        None, pattern=r"^[a-z]{2,}(-[a-z]+)+-\d+$", description="AWS region; AWS_REGION or the profile's by default"
    )
    endpoint_url: str | None = Field(
        None, pattern=r"^https?://[^\s/@]+(/\S*)?$", description="Another address of the service, for local ones"
    )
    profile: str | None = Field(None, min_length=1, description="A profile of the AWS config files")
    role_arn: str | None = Field(
        None, pattern=r"^arn:aws[\w-]*:iam::\d{12}:role/\S+$", description="A role to assume; renewed before it expires"
    )
    external_id: str | None = Field(
        None, min_length=2, max_length=1224, description="What the role's trust policy asks for, with role_arn"
    )
    request_timeout: Duration = Field(10.0, gt=0, description="Deadline of fetching one schema")


RegistrySettings = Annotated[ConfluentRegistrySettings | GlueRegistrySettings, Field(discriminator="type")]


def _format(value: Any) -> Any:
    return "json_schema" if value == "json-schema" else value


Registered: TypeAlias = Literal["avro", "protobuf", "json_schema"]
"""Formats whose schema stands in a registry."""


class TopicSettings(Closed):
    """How the records of a topic are read, where that differs from the default."""

    format: Annotated[Literal["json", "string", "bytes", "cloudevents"] | Registered, BeforeValidator(_format)] = Field(
        "json", description="What a record's value is"
    )
    key_format: Annotated[Literal["string", "json", "bytes"] | Registered, BeforeValidator(_format)] = Field(
        "string", description="What a record's key is"
    )
    tombstones: Literal["skip", "route"] = Field("skip", description="What becomes of a record without a value")


class RouteSettings(Closed):
    """Which records go where, and what is made of them. `defaults.route` is already merged in."""

    name: Name = Field(
        description="Unique; part of every redelivery id, so a new name makes new ids", examples=["paid-orders"]
    )
    topics: tuple[Text, ...] = Field(
        min_length=1,
        description="Topic names; one that starts with ^ is a regular expression over the whole name",
        examples=[["shop.orders.v1", r"^shop\.returns\..*"]],
    )
    match: dict[str, Any] | None = Field(
        None,
        description="EventBridge event pattern over topic, partition, offset, timestamp, key, headers, value",
        examples=[{"headers": {"event-type": [{"prefix": "order."}]}, "value": {"status": ["PAID"]}}],
    )
    when: str | None = Field(
        None, description="A CEL condition, for example value.total > 10", examples=["value.total > 10"]
    )
    each: str | None = Field(
        None,
        description="A CEL list, for example ${value.lines}: one event per element, with item and index",
        examples=["${value.lines}"],
    )
    targets: tuple[Text, ...] = Field(
        min_length=1, description="Names of the targets that get the event", examples=[["orders-bus"]]
    )
    map: dict[str, Any] = Field(
        default={},
        description="The target API's parameters: literals and ${CEL}",
        examples=[{"Source": "com.acme.${value.channel}", "DetailType": "Order ${value.status}"}],
    )
    final: bool = Field(False, description="true ends the search: routes below do not see a record that this one took")
    fallback: bool = Field(False, description="true runs only when no other route of the topic matched")
    on_error: Refusal = Field("dead_letter", description="A record that cannot be decoded, matched, mapped or prepared")
    on_reject: Refusal = Field("dead_letter", description="An event that the service refused for its own sake")
    dead_letter_topic: TopicName | None = Field(
        None, description="Where the dead letters of this route go, instead of dead_letters.topic"
    )
    delay: Duration = Field(
        0.0, description="Hold a record until this long after its timestamp, and after its partition came to us"
    )
    paused: bool = Field(False, description="true: its records wait until an operator resumes it, or a reload does")


class DeadLetterSettings(Closed):
    """The Kafka topic that takes what no target can take."""

    topic: TopicName = Field(description="Must exist; no route may consume it", examples=["orders-connector.dead"])
    max_consecutive: int = Field(
        100, ge=1, description="After this many dead letters in a row a route is held until an operator lets it go on"
    )
    oversize: Literal["hold", "reference"] = Field(
        "hold", description="A dead letter larger than the topic takes: hold, or write topic, partition and offset only"
    )
    kafka: ClusterSettings | None = Field(None, description="Another cluster for them; that of `kafka` by default")


class LimitSettings(Closed):
    """How much may be open (taken, not settled) at once. Room is granted per partition, then in all."""

    max_open_records: int = Field(20_000, ge=1, description="Open records of this process")
    max_open_bytes: Size = Field(64 * 2**20, ge=1, description="Bytes of open records of this process")
    max_open_per_partition: int = Field(5_000, ge=1, description="Open records of one partition")
    max_uncommitted_per_partition: int = Field(
        10_000,
        ge=1,
        description="Records from the committable offset to the last one taken; bounds what a crash repeats",
    )


class AdminSettings(Closed):
    """The page for probes, metrics and people."""

    listen: Annotated[str, BeforeValidator(_host_and_port)] = Field(
        "127.0.0.1:8080", description="HOST:PORT; port 0 takes any free one", examples=["127.0.0.1:8080"]
    )
    ready_when_held: bool = Field(True, description="false turns /readyz to 503 while a lane is held")
    token: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None,
        description="Bearer token (16 characters or more, best as !file PATH) of those who change something; "
        "without one nobody may",
    )
    token_for: Literal["changes", "everything"] = Field(
        "changes", description="everything: also to read /status, /events and /metrics; probes need none"
    )

    @model_validator(mode="after")
    def _token_where_asked(self) -> Self:
        if self.token_for != "changes" and self.token is None:  # noqa: S105 - what the token is for
            raise ValueError("token_for: everything needs a token: add token: !file PATH")
        return self

    @property
    def host(self) -> str:
        """The address to bind, without brackets; every interface where none is given."""
        return self.listen.rpartition(":")[0].strip("[]") or "0.0.0.0"  # noqa: S104 - said by the config, in so many words

    @property
    def port(self) -> int:
        """The port to bind; 0 takes any free one."""
        return int(self.listen.rpartition(":")[2])


class LogSettings(Closed):
    """What is said, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is said")
    format: Literal["json", "console"] = Field("json", description="json for machines, console for people")


THE_RECORD: Final = ""
"""Stands for the record as a whole where `expect` names routes: one that is undecodable, or that no route takes."""


class RecordSettings(Closed):
    """A record as a test writes it: key and value as `topics` has them decoded, or the value's bytes from a file."""

    topic: TopicName | None = Field(None, description="May be left out where all routes read one and the same topic")
    partition: int = Field(0, ge=0, description="Part of the redelivery id")
    offset: int = Field(0, ge=0, description="Part of the redelivery id")
    timestamp: int = Field(0, ge=-1, description="Epoch milliseconds; -1 where the broker gave none")
    key: Any = Field(None, description="Text, or a JSON value where key_format is json")
    headers: dict[str, str | None] = Field(
        default={}, description="Texts by name", examples=[{"event-type": "order.paid"}]
    )
    value: Any = Field(
        None,
        description="A JSON value, or a text where the topic's format says so; a tombstone if out",
        examples=[{"status": "PAID", "total": 12.5}],
    )
    file: Text | None = Field(
        None,
        description="A file with the value's bytes, relative to this one; instead of value",
        examples=["records/order.json"],
    )

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if self.file is not None and "value" in self.model_fields_set:
            raise ValueError("has both value and file: write one of them")
        return self


class EventSettings(Closed):
    """An event as a test expects it: what the route's map makes, times as RFC 3339 text in UTC."""

    equals: dict[str, Any] | None = Field(None, description="The event is this and nothing else")
    contains: dict[str, Any] | None = Field(
        None, description="The event has these keys, and perhaps others", examples=[{"DetailType": "Order PAID"}]
    )
    error: Text | None = Field(
        None, description="The event cannot be made: the code that connector try prints", examples=["MissingField"]
    )

    @model_validator(mode="before")
    @classmethod
    def _one_way(cls, value: Any) -> Any:
        ways = ("equals", "contains", "error")
        if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in ways:
            raise ValueError("needs exactly one of equals, contains and error: write for example {contains: {…}}")
        return value


def _expected(value: Any) -> Any:
    """`nothing`, one event and one error are short ways to write lists."""
    if value == "nothing":
        return {}
    if isinstance(value, dict) and list(value) == ["error"] and value["error"] != "nothing":
        return {THE_RECORD: (value,)} if isinstance(value["error"], str) else value
    if not isinstance(value, dict):
        raise ValueError("needs what each route makes: write nothing, or {ROUTE: [{contains: {…}}]}")
    short = {name: () if events == "nothing" else events for name, events in value.items()}
    return {name: (events,) if isinstance(events, dict) else events for name, events in short.items()}


class TestSettings(Closed):
    """A test of the routes: a record in, the events of each route out. A route that is not named makes none."""

    __test__: ClassVar[bool] = False  # pytest takes a class of this name for a test

    name: Text = Field(description="What is tested, in words")
    record: RecordSettings = Field(description="The record that comes in")
    expect: Annotated[
        dict[str, tuple[EventSettings, ...]],
        BeforeValidator(
            _expected,
            json_schema_input_type=Literal["nothing"]
            | dict[str, Literal["nothing"] | str | EventSettings | tuple[EventSettings, ...]],
        ),
    ] = Field(description="By route, the events it makes: a list, one event, or nothing; {error: CODE} of the record")


class Settings(BaseSettings):
    """The whole config after merging, `defaults`, tags and environment. It reads nothing by itself."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=False,
        hide_input_in_errors=True,
        env_prefix="CONNECTOR_",
        env_nested_delimiter="__",
    )

    version: Literal[1] = Field(1, description="Version of this format")
    vars: dict[VarName, Any] = Field(
        default={}, repr=False, description="Constants for expressions (vars.x) and !sub", examples=[{"stage": "dev"}]
    )
    kafka: KafkaSettings
    topics: dict[Text, TopicSettings] = Field(
        default={}, description="By topic name or ^pattern, what differs from the default"
    )
    schema_registry: RegistrySettings | None = Field(
        None, description="Where the schemas of avro, protobuf and json_schema are"
    )
    targets: dict[Name, SerializeAsAny[TargetSettings]] = Field(description="By name; `type` says which service")
    routes: tuple[RouteSettings, ...] = Field(description="All that match run, in this order")
    unrouted: Literal["skip", "dead_letter", "hold"] = Field(description="Records that no route takes")
    dead_letters: DeadLetterSettings | None = Field(None, description="Needed by every dead_letter policy")
    limits: LimitSettings = LimitSettings()
    commit_interval: Duration = Field(1.0, gt=0, description="How often offsets are committed")
    drain_timeout: Duration = Field(10.0, gt=0, description="How long a rebalance waits for calls in flight")
    shutdown_timeout: Duration = Field(25.0, gt=0, description="How long a stop may take, the last commit included")
    admin: AdminSettings = AdminSettings()
    log: LogSettings = LogSettings()
    tests: tuple[TestSettings, ...] = Field(default=(), description="Tests of routes: a record in, events out")

    def topic(self, name: str) -> TopicSettings:
        """How records of a topic are read: by its name, else by the first pattern of `topics` that takes it."""
        if name in self.topics:
            return self.topics[name]
        for pattern, settings in self.topics.items():
            if pattern.startswith(PATTERN_MARK) and re.fullmatch(pattern, name):
                return settings
        return _AS_USUAL

    def dead_letter_topic(self, route: str) -> str:
        """Where the dead letters of a route go; those of no route (`""`) go to `dead_letters.topic`."""
        own = next((one.dead_letter_topic for one in self.routes if one.name == route), None)
        return own or (self.dead_letters.topic if self.dead_letters is not None else "")

    @property
    def dead_letter_topics(self) -> tuple[str, ...]:
        """Every topic that dead letters go to, `dead_letters.topic` first; none where there are no dead letters."""
        if self.dead_letters is None:
            return ()
        own = (route.dead_letter_topic for route in self.routes if route.dead_letter_topic is not None)
        return tuple(dict.fromkeys((self.dead_letters.topic, *own)))

    @property
    def dead_letter_cluster(self) -> ClusterSettings:
        """The cluster of the dead letters."""
        other = self.dead_letters.kafka if self.dead_letters is not None else None
        return other or self.kafka

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: the environment is grafted onto the files before, so that errors can name it."""
        return (init_settings,)


_AS_USUAL: Final = TopicSettings()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a config: `settings` is None where a problem is an error. Made by `connector.loading.load.load`.

    `locate` finds the place of a value by its path, `texts` are the files as read, by name, for showing a line of them.
    `hash` is the same for the same settings, whatever their secrets are. `draft` is what could be read although there
    are errors, with every route in its place but without topics, so that the mapping's mistakes can be told beside the
    others; it is for nothing else.
    """

    settings: Settings | None = field(repr=False)
    problems: tuple[Problem, ...]
    locate: Locate = field(repr=False)
    hash: str = ""
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    plain: Mapping[str, Any] = field(default_factory=dict, repr=False)
    draft: Settings | None = field(default=None, repr=False)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that forbid a start."""
        return tuple(problem for problem in self.problems if problem.level == "error")

    def masked(self) -> dict[str, Any]:
        """The settings as plain values that may be printed: secrets and what came from files as `***`."""
        return dict(self.plain)
