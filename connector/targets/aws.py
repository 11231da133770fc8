"""What AWS targets share: one call that signs, sends, reads and classifies.

A target says `await service.call("put_events", Entries=[...])` and gets a Reply or a Refusal, both plain values; how
the request travels (today aioboto3) can change here without touching a target. Retries of the SDK are off: the lane
owns them. A call that ends without a reply may have been accepted, so it is never an acknowledgement.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession, get_session
from botocore.credentials import CredentialProvider
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    DataNotFoundError,
    MissingDependencyException,
    NoCredentialsError,
    ParamValidationError,
    SSLError,
)
from botocore.handlers import (  # type: ignore[attr-defined]  # the stubs leave it out
    enable_millisecond_timestamp_precision,
)
from botocore.httpsession import get_cert_path
from botocore.parsers import ResponseParserError
from pydantic import Field, ValidationInfo, field_validator

from connector.model import Event, Unpublishable, Verdict
from connector.targets import strict_json
from connector.targets.lean import Lean
from connector.targets.settings import TargetSettings

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for a TCP and TLS handshake, inside the deadline of the call."""

LONGEST_PAUSE: Final = 3600.0
"""Seconds; a Retry-After above it is cut to it."""

UNKNOWN_TRIES: Final = 5
"""Calls that an entry with a code nobody knows is worth; then it counts as rejected."""

CULPRIT: Final = frozenset({"ParamValidationError", "ValidationError", "ValidationException"})
"""The call is refused because of an entry that the reply does not name. So is any reply of status 413."""

UNTRUSTED: Final = "CertificateError"
"""Our word for a server whose certificate is of no authority that we trust, has ended, or names another host. Nothing
was sent to it, and it takes a person to mend it."""

OVERRIDES: Final = {"retry": Verdict.RETRY, "reject": Verdict.REJECTED, "hold": Verdict.HOLD}
"""The words of `codes` in a target's settings."""

COMPUTED: Final = re.compile(r"(?<!\$)\$\{")
"""Finds an expression in a leaf of `map`; a leaf without one is the same for every record."""

_YEAR_1: Final = -62_135_596_800_000
_YEAR_10000: Final = 253_402_300_800_000
"""Epoch milliseconds. Producers that stamp records in microseconds get past it; their records count as without time."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)

for _noisy in ("aiobotocore", "botocore", "boto3"):
    # At DEBUG they write whole requests with payload and security token.
    logging.getLogger(_noisy).setLevel(logging.INFO)

CODES: Final[Mapping[str, Verdict]] = {
    # The service or the way to it is out of order: it passes.
    **dict.fromkeys(
        (
            "BandwidthLimitExceeded",
            "InternalError",
            "InternalException",
            "InternalFailure",
            "InternalFailureException",
            "InternalServerError",
            "PriorRequestNotComplete",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestTimeout",
            "RequestTimeoutException",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "SlowDown",
            "ThrottledException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
            # No reply: these are names of ours (Timeout, ProtocolError) and of botocore.
            "ConnectTimeoutError",
            "ConnectionClosedError",
            "EndpointConnectionError",
            "HTTPClientError",
            "IncompleteReadError",
            "ProtocolError",
            "ProxyConnectionError",
            "ReadTimeoutError",
            "ResponseStreamingError",
            "SSLError",
            "Timeout",
        ),
        Verdict.RETRY,
    ),
    # We are refused, not an entry: someone must mend it, and no entry may suffer until then.
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "AuthFailure",
            UNTRUSTED,
            "CredentialRetrievalError",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "MissingDependencyException",
            "NoCredentialsError",
            "NoRegionError",
            "NotAuthorized",
            "OptInRequired",
            "PartialCredentialsError",
            "ProfileNotFound",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "UnknownOperation",
            "UnknownOperationException",
            "UnrecognizedClientException",
        ),
        Verdict.HOLD,
    ),
}
"""What a refusal of the whole call means, for every AWS service; a target's own table goes before it.
Source: "Common Errors" of the API references, and the exceptions of botocore."""

STALE: Final = frozenset(
    {
        "AuthFailure",
        "CredentialRetrievalError",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NoCredentialsError",
        "PartialCredentialsError",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""After these the next call looks for credentials anew: botocore would keep the refused ones until their expiry."""


class AwsSettings(TargetSettings):
    """What every AWS target has. What is left out comes from the usual AWS variables, profiles and roles."""

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
    ca: str | None = Field(
        None,
        min_length=1,
        description="File of the certificate authority (PEM); that of AWS_CA_BUNDLE, or the SDK's own, by default",
    )
    transport: Literal["lean", "sdk"] = Field(
        "lean",
        description="How calls travel: lean repeats what the AWS SDK sent first, at a fraction of its CPU; sdk is the"
        " SDK alone",
    )

    @field_validator("external_id")
    @classmethod
    def _goes_with_a_role(cls, external_id: str | None, info: ValidationInfo) -> str | None:
        if external_id is not None and info.data.get("role_arn", "") is None:
            raise ValueError("is only used with role_arn: set role_arn, or leave external_id out")
        return external_id


@dataclass(frozen=True, slots=True)
class Reply:
    """The service answered with success; `body` is what could be read of it, perhaps nothing at all."""

    body: Mapping[str, Any]
    request_id: str = ""
    status: int = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """The call as a whole did not succeed.

    `code` is the service's word, or botocore's name of the failure, or `Timeout` or `ProtocolError`. `status` is the
    HTTP status, 0 where there was no reply. `retry_after` is in seconds, 0 where nothing was asked for. `message` never
    holds a payload.
    """

    code: str
    message: str
    request_id: str = ""
    status: int = 0
    retry_after: float = 0.0


_UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    ResponseParserError,
    TypeError,
    ValueError,
)
"""What botocore's parsers raise on a reply that does not have the shape of the model."""

Outcome: TypeAlias = Reply | Refusal
Sessions: TypeAlias = Callable[[AwsSettings], aioboto3.Session]


def verdict(refusal: Refusal) -> Verdict:
    """Say what a refused call means where the target knows no better: by code, else by HTTP status, else HOLD."""
    if known := CODES.get(refusal.code):
        return known
    return Verdict.RETRY if refusal.status >= 500 or refusal.status in (408, 429) else Verdict.HOLD


def crt_missing(find: Callable[[str], object] = find_spec) -> str:
    """What to tell someone who asks for SigV4a without the extra that signs it; empty where it is there."""
    return "" if find("awscrt") else "needs the extra `crt` for its signature: pip install 'connector[crt]'"


def model_missing(service: str, last: str, loader: Any = None) -> str:
    """What to tell someone whose botocore does not know a service that AWS ended; empty where it does.

    `last` names the last botocore that knew it. A model in a folder of AWS_DATA_PATH, or in ~/.aws/models, counts too.
    """
    try:
        (loader or get_session().get_component("data_loader")).list_api_versions(service, "service-2")
    except DataNotFoundError:
        where = f"{service}/<version>/service-2.json in a folder of AWS_DATA_PATH"
        return f"needs botocore's model of {service}, which this botocore lacks; {last}: install that, or put {where}"
    return ""


def session(settings: AwsSettings) -> aioboto3.Session:
    """A session with the settings' region, profile and role, and the usual AWS credential chain behind it."""
    core = _core(settings)
    if settings.role_arn is not None:
        resolver = core.get_component("credential_provider")
        resolver.providers.insert(0, AssumedRole(_core(settings), settings.role_arn, settings.external_id))
    return aioboto3.Session(botocore_session=core)


class Checked(AIOHTTPSession):
    """Connections of aiobotocore that look at whom they talk to.

    Its own take any host that shows any certificate of a trusted authority, and behind a proxy any certificate at all
    (aiobotocore 2.25): it builds the context as botocore does for urllib3, which looks at host names itself, and hands
    it to aiohttp, which does not.
    """

    def _create_connector(self, proxy_url: str | None) -> aiohttp.TCPConnector:
        own: Any = self  # the stubs leave out what is private
        context: ssl.SSLContext = own._get_ssl_context()
        context.check_hostname = True
        if own._cert_file:
            context.load_cert_chain(own._cert_file, own._key_file)
        context.load_verify_locations(get_cert_path(own._verify or True))
        return aiohttp.TCPConnector(limit=own._max_pool_connections, ssl=context, **own._connector_args)


class Core(AioSession):
    """A session all of whose clients are `Checked`: those that fetch credentials (roles, web identities) too."""

    def create_client(self, *args: Any, config: Any = None, **keys: Any) -> Any:
        """A client, as aiobotocore makes it."""
        config = AioConfig() if config is None else config
        config.http_session_cls = Checked
        make: Any = super().create_client
        return make(*args, config=config, **keys)


def _core(settings: AwsSettings) -> AioSession:
    core = Core()
    # botocore itself reads AWS_DEFAULT_REGION alone; AWS's other SDKs, and what runs pods and tasks, say AWS_REGION.
    core.session_var_map["region"] = ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)
    for name, value in (("profile", settings.profile), ("region", settings.region)):
        if value is not None:
            core.set_config_variable(name, value)
    return core


class AssumedRole(CredentialProvider):
    """Credentials of a role, renewed in time. The source's own credentials are renewed too, by its own chain.

    A bare `sts.assume_role` gives credentials that end after an hour (boto/boto3#443).
    """

    METHOD = "connector-assumed-role"

    def __init__(self, source: AioSession, role_arn: str, external_id: str | None) -> None:
        super().__init__()
        self._source = source
        self._role_arn = role_arn
        self._extra = {"RoleSessionName": "connector"} | ({"ExternalId": external_id} if external_id else {})

    async def load(self) -> AioDeferredRefreshableCredentials:
        """Nothing is asked of STS here: the first signature does."""
        credentials = await self._source.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        fetcher = AioAssumeRoleCredentialFetcher(
            client_creator=self._sts,
            source_credentials=credentials,
            role_arn=self._role_arn,
            extra_args=self._extra,
            cache={},
        )
        return AioDeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")

    def _sts(self, name: str, **keys: Any) -> Any:
        source: Any = self._source  # typed per service name, of which any may come
        return source.create_client(name, config=_config(CONNECT_TIMEOUT, 1), **keys)


def _config(timeout: float, connections: int) -> AioConfig:
    return AioConfig(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=min(timeout, CONNECT_TIMEOUT),
        read_timeout=timeout + 1,  # the deadline around the call is the one that counts
        max_pool_connections=connections,
        http_session_cls=Checked,
    )


@dataclass(slots=True, eq=False)
class _Line:
    """An open client and how many calls are on it. Closed only when none is."""

    client: Any
    stack: AsyncExitStack
    lean: Lean | None = None
    calls: int = 0

    async def call(self, operation: str, parameters: Mapping[str, Any], *, as_written: bool) -> "Reply":
        """Make the call, the lean way where that is open and asked for."""
        if self.lean is not None and (answer := await self.lean.call(operation, parameters)) is not None:
            if as_written:
                body = strict_json.parse(answer.body)
                return Reply(body, answer.headers.get("x-amzn-requestid", ""), answer.status)
            return _reply(self.lean.parse(operation, answer), as_written=False)
        return _reply(await getattr(self.client, operation)(**parameters), as_written=as_written)


class Service:
    """One AWS service behind one call. It opens at the first call, and again after its credentials were refused.

    `call` answers with a value whatever happens on the way, within `request_timeout`; only cancellation passes through.
    """

    def __init__(
        self, name: str, settings: AwsSettings, *, sessions: Sessions = session, as_written: bool = False
    ) -> None:
        """`as_written` gives replies as the JSON object of the wire instead of botocore's reading of it.

        botocore reads `{}` where the model has a list as an empty list, and stumbles over a number where the model has
        a structure. A target that takes silence or a bare number for an answer must see what was really written.
        """
        self._name = name
        self._settings = settings
        self._sessions = sessions
        self._as_written = as_written
        self._line: _Line | None = None
        self._worn: list[_Line] = []
        self._opening: asyncio.Event | None = None
        self._closed = True

    async def __aenter__(self) -> Self:
        """Do nothing yet: missing credentials must hold a lane, not end the process."""
        self._closed = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every client."""
        self._closed = True
        lines, self._line, self._worn = [*self._worn, *([self._line] if self._line else [])], None, []
        for line in lines:
            await line.stack.aclose()

    async def call(self, operation: str, /, **parameters: Any) -> Outcome:
        """Make one attempt at one operation (botocore's name of it, `put_events`) and read what came of it."""
        if self._closed:
            raise RuntimeError(f"{self._name}.{operation} called outside of `async with`")
        if self._line is None and self._settings.ca is not None and (reason := unreadable(self._settings.ca)):
            return Refusal(UNTRUSTED, reason)
        line = None
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                line = await self._opened()
                line.calls += 1
                try:
                    return await line.call(operation, parameters, as_written=self._as_written)
                finally:
                    line.calls -= 1
        except TimeoutError:
            wait = f"{self._settings.request_timeout:g} s"
            refusal = Refusal("Timeout", f"no reply within {wait}; the service may have taken the request")
        except ClientError as error:
            refusal = _refusal(error, line.client.meta.method_to_api_mapping[operation] if line else operation)
        except BotoCoreError as error:
            refusal = _failure(error)
        except _UNREADABLE as error:
            if line is None:
                refusal = Refusal("InvalidEndpointConfigurationError", tidy(str(error)))
            else:
                refusal = Refusal("ProtocolError", f"the reply cannot be read ({type(error).__name__})")
        except RuntimeError as error:  # aiobotocore's word for credentials that are renewed and still expired
            refusal = Refusal("CredentialRetrievalError", tidy(str(error)))
        except OSError as error:  # a token file or a credential process that is not there
            refusal = Refusal("CredentialRetrievalError", tidy(f"{error.strerror}: {error.filename}"))
        if refusal.code in STALE and line is not None and line is self._line:
            self._line = None
            self._worn.append(line)
        return refusal

    async def _opened(self) -> _Line:
        """The open client. One call opens it, the others wait; if it fails, the next of them tries."""
        while self._line is None:
            if self._opening is not None:
                await self._opening.wait()
                continue
            self._opening = asyncio.Event()
            try:
                self._line = await self._open()
            finally:
                self._opening.set()
                self._opening = None
        return self._line

    async def _open(self) -> _Line:
        idle = [line for line in self._worn if not line.calls]
        self._worn = [line for line in self._worn if line.calls]
        for line in idle:
            await line.stack.aclose()
        session: Any = self._sessions(self._settings)  # typed per service name, of which any may come
        session.events.register("creating-serializer", enable_millisecond_timestamp_precision)
        connections = self._settings.max_in_flight + 1  # one more for the preflight
        stack = AsyncExitStack()
        client = await stack.enter_async_context(
            session.client(
                self._name,
                endpoint_url=self._settings.endpoint_url,
                verify=self._settings.ca,
                config=_config(self._settings.request_timeout, connections),
            )
        )
        if self._as_written:
            client.meta.events.register("before-parse", _keep)
        lean = None
        if self._settings.transport == "lean":
            lean = Lean(self._name, client, await session.get_credentials())
        return _Line(client, stack, lean)


def unreadable(ca: str | None) -> str:
    """Why a file of certificate authorities is of no use; empty where it is."""
    try:
        ssl.create_default_context(cafile=ca)
    except OSError as error:  # what is no certificate is one, too
        return tidy(f"ca {ca}: {error.strerror or error}")
    return ""


def tidy(message: str) -> str:
    """One short line for a log or a header, without what a validation message repeats of the request."""
    line = " ".join(message.split())
    if line.startswith("<"):
        return "an HTML page instead of a reply"
    line = re.sub(r"Value '.*' at '", "Value '…' at '", line)
    return line if len(line) <= 300 else f"{line[:300]}…"


_WRITTEN: Final = "connector-as-written"


def _keep(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Put the body of a success aside, out of reach of botocore's parser; errors go their usual way."""
    if response_dict["status_code"] < 300:
        customized_response_dict[_WRITTEN], response_dict["body"] = response_dict["body"], b""


def _reply(parsed: Any, *, as_written: bool) -> Reply:
    body = dict(parsed) if isinstance(parsed, Mapping) else {}
    metadata = body.pop("ResponseMetadata", {})
    if as_written:
        body = strict_json.parse(body[_WRITTEN])
    return Reply(body, str(metadata.get("RequestId", "")), int(metadata.get("HTTPStatusCode", 0)))


def _refusal(error: ClientError, operation: str) -> Refusal:
    said = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    refusal = Refusal(
        code=str(said.get("Code") or "Unknown")[:100],
        message=tidy(str(said.get("Message") or "")),
        request_id=str(metadata.get("RequestId", "")),
        status=int(metadata.get("HTTPStatusCode", 0)),
        retry_after=retry_after(metadata.get("HTTPHeaders", {})),
    )
    if error.operation_name == operation or verdict(refusal) is Verdict.RETRY:
        return refusal
    # Another call refused us, AssumeRole as a rule. Its ValidationError must not look like a fault of our entries.
    told = f"{error.operation_name}: {refusal.code}: {refusal.message}"
    return Refusal("CredentialRetrievalError", told, refusal.request_id, refusal.status)


def _failure(error: BotoCoreError) -> Refusal:
    code = type(error).__name__
    if isinstance(error, ParamValidationError):  # its text repeats the parameters
        return Refusal(code, "the request does not have the types of the API")
    if isinstance(error, MissingDependencyException):
        return Refusal(code, crt_missing(lambda _: None))
    if isinstance(error, SSLError) and isinstance(error.kwargs.get("error"), ssl.SSLCertVerificationError):
        code = UNTRUSTED
    return Refusal(code, tidy(str(error)))


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After header in either form of RFC 9110; a date counts from the reply's own Date."""
    asked = headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,9}(\.\d+)?", asked):
        return min(float(asked), LONGEST_PAUSE)
    try:
        pause = (parsedate_to_datetime(asked) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (TypeError, ValueError):
        return 0.0
    return min(max(pause, 0.0), LONGEST_PAUSE)


def text(value: Any, path: str, longest: int | None = None) -> str:
    """A text of a map, of so many characters at most.

    Raises:
        Unpublishable: WrongType, TooLong or NotUTF8.
    """
    if not isinstance(value, str):
        raise wrong_type(path, "text", value)
    if longest is not None and len(value) > longest:
        raise Unpublishable(f"has {len(value)} characters, {longest} are allowed", path, "TooLong")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unpublishable("holds text that is not valid Unicode", path, "NotUTF8") from None
    return value


def literals(maps: Iterable[Mapping[str, Any]], key: str) -> tuple[str, ...]:
    """What maps of routes say under a key in so many words, and hence for every record."""
    said = (fields.get(key) for fields in maps)
    return tuple(word.replace("$${", "${") for word in said if isinstance(word, str) and not COMPUTED.search(word))


def wrong_type(path: str, wanted: str, value: Any) -> Unpublishable:
    """What to raise for a value of another type; it names the type and not the value."""
    return Unpublishable(f"must be {wanted}, not {type(value).__name__}", path, "WrongType")


def epoch_ms(value: Any, path: str) -> int:
    """Milliseconds since 1970 of an aware datetime or of RFC 3339 text; what is finer is cut.

    Raises:
        Unpublishable: WrongType, or BadTime for a text that is none, a time without a zone or out of the calendar.
    """
    if isinstance(value, str):
        written = value.upper()
        if not _RFC3339.fullmatch(written):
            raise Unpublishable("is not an RFC 3339 time such as 2026-01-31T23:59:59.123Z", path, "BadTime")
        try:
            value = datetime.fromisoformat(written)
        except ValueError:
            raise Unpublishable("is not a time of the calendar", path, "BadTime") from None
    if not isinstance(value, datetime):
        raise wrong_type(path, "a time or RFC 3339 text", value)
    if value.utcoffset() is None:
        raise Unpublishable("has no time zone", path, "BadTime")
    since = value - _EPOCH
    milliseconds = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    if not _YEAR_1 <= milliseconds < _YEAR_10000:
        raise Unpublishable("is not a time of the calendar", path, "BadTime")
    return milliseconds


def record_ms(event: Event) -> int | None:
    """The timestamp of the event's record in epoch milliseconds, None where it has none of the calendar."""
    timestamp = event.record.timestamp_ms
    return timestamp if 0 <= timestamp < _YEAR_10000 else None
