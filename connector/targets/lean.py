"""The lean way of an AWS call: what the SDK sent the first time goes again, with another body and signed anew.

The first call of a kind travels through aioboto3, and its last word before the socket (the `before-send` event) gives
URL, headers, region and signing name. So endpoints, rule sets, environment variables and the SDK's own handlers decide
what they always decided, once. A request that is anything but a plain SigV4 one (SigV4a of a global endpoint, a
checksum, a compressed body, a header that is not in `KNOWN`) is never repeated: its kind stays with the SDK.

Credentials are the session's, renewed by it; the signature is of botocore's own signer; the socket is the client's
own, with its proxies and certificates; a refusal and a reply that is not plain are read by botocore's own parser.
"""

import hmac
import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeAlias

import orjson
from botocore.auth import EMPTY_SHA256_HASH, SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import get_current_datetime
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

Kind: TypeAlias = tuple[str, str]
"""Operation, and what of its parameters stands in the URL."""

KINDS: Final = 100
"""Kinds of which the request is kept: an ApplicationId that is computed from records may have any number of values."""

FRESH: Final = frozenset({"authorization", "content-length", "host", "x-amz-date", "x-amz-security-token"})
"""Headers that are made anew for each call."""

TELEMETRY: Final = frozenset({"amz-sdk-invocation-id", "amz-sdk-request"})
"""What the SDK says of its own retries, of which there are none."""

KNOWN: Final = FRESH | TELEMETRY | {"content-type", "user-agent", "x-amz-target"}

_SIGNED: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request,")
_KIND: ContextVar[Kind | None] = ContextVar("kind", default=None)


def _entries(parameters: Mapping[str, Any]) -> tuple[str, bytes] | None:
    return ("", orjson.dumps(parameters)) if parameters.keys() == {"Entries"} else None


def _messages(parameters: Mapping[str, Any]) -> tuple[str, bytes] | None:
    if parameters.keys() != {"messages"}:
        return None
    messages = [{**each, "payload": b64encode(each["payload"]).decode()} for each in parameters["messages"]]
    return "", json.dumps({"messages": messages}).encode()


def _batch_item(parameters: Mapping[str, Any]) -> tuple[str, bytes] | None:
    if parameters.keys() != {"ApplicationId", "EventsRequest"}:
        return None
    return parameters["ApplicationId"], json.dumps(parameters["EventsRequest"]).encode()


BODIES: Final[Mapping[tuple[str, str], Callable[[Mapping[str, Any]], tuple[str, bytes] | None]]] = {
    ("events", "put_events"): _entries,
    ("iotevents-data", "batch_put_message"): _messages,
    ("pinpoint", "put_events"): _batch_item,
}
"""By service and operation: what stands in the URL, and the body; None for parameters that are unusual. Where the
service counts the bytes of the body they are the SDK's own, where it does not orjson writes them."""


class Answer(NamedTuple):
    """A success as it was written: HTTP status, headers by their small names, the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Pattern:
    """A request that may be repeated."""

    method: str
    url: str
    headers: Mapping[str, str]
    region: str
    service: str


class Seal:
    """The signature of requests of one pattern, one day and one set of credentials.

    Botocore's signer writes out an empty request first. What it writes (the canonical request, the scope, the names of
    the signed headers) holds for all of them but for two places: the time, and the hash of the body. So a signature is
    two hashes and one HMAC, where the signer takes half the CPU of a call to write the same text again.
    """

    def __init__(self, pattern: Pattern, frozen: Any, now: datetime) -> None:
        self._frozen = frozen
        self._day = f"{now:%Y%m%d}"
        signer = SigV4Auth(frozen, pattern.service, pattern.region)
        sample = AWSRequest(pattern.method, pattern.url, headers=pattern.headers)
        sample.headers["X-Amz-Date"] = time = f"{now:{SIGV4_TIMESTAMP}}"
        if frozen.token:
            sample.headers["X-Amz-Security-Token"] = frozen.token
        sample.context["timestamp"] = time
        written = signer.canonical_request(sample).removesuffix(EMPTY_SHA256_HASH)
        self._before, _, self._after = written.partition(f"x-amz-date:{time}")
        self._scope = signer.credential_scope(sample)
        names = signer.signed_headers(signer.headers_to_sign(sample))
        self._claim = f"AWS4-HMAC-SHA256 Credential={signer.scope(sample)}, SignedHeaders={names}, Signature="
        key = f"AWS4{frozen.secret_key}".encode()
        for part in self._scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = key
        self._headers = dict(sample.headers)

    def fits(self, frozen: Any, now: datetime) -> bool:
        """Whether these credentials may sign with it on this day."""
        return bool(frozen == self._frozen) and f"{now:%Y%m%d}" == self._day

    def sign(self, body: bytes, now: datetime) -> dict[str, str]:
        """The headers of a request with this body."""
        time = f"{now:{SIGV4_TIMESTAMP}}"
        written = f"{self._before}x-amz-date:{time}{self._after}{sha256(body).hexdigest()}"
        asked = f"AWS4-HMAC-SHA256\n{time}\n{self._scope}\n{sha256(written.encode()).hexdigest()}"
        signature = hmac.digest(self._key, asked.encode(), "sha256").hex()
        return {**self._headers, "X-Amz-Date": time, "Authorization": self._claim + signature}


@dataclass(slots=True)
class _Request:
    """As much of a prepared request as the client's HTTP session asks for."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    stream_output: bool = False


class Lean:
    """Calls of one open client that need not go through it.

    Invariant: nothing is sent that the client has not sent first, but for the body, the date, the token and the
    signature over them.
    """

    def __init__(
        self, service: str, client: Any, credentials: Any, now: Callable[[], datetime] = get_current_datetime
    ) -> None:
        """`client` is an open aiobotocore client, `credentials` what its session signs with (None: nothing)."""
        self._service = service
        self._client = client
        self._credentials = credentials
        self._now = now
        self._patterns: dict[Kind, Pattern] = {}
        self._seals: dict[Kind, Seal] = {}
        client.meta.events.register("before-send", self._learn)

    async def call(self, operation: str, parameters: Mapping[str, Any]) -> Answer | None:
        """Make the call; None where it was not made, because this kind has to go through the client.

        Raises:
            ClientError: the service refused.
            BotoCoreError: as the client itself would raise for want of a connection, a reply or credentials.
        """
        make = BODIES.get((self._service, operation))
        try:
            made = make(parameters) if make is not None else None
        except TypeError:  # half of a surrogate pair, or a type that only botocore's serializer knows
            made = None
        kind = None if made is None else (operation, made[0])
        pattern = self._patterns.get(kind) if kind is not None else None
        if made is None or kind is None or pattern is None or self._credentials is None:
            _KIND.set(kind)  # in the context of this task alone: the handler runs in it
            return None
        body = made[1]
        frozen = await self._credentials.get_frozen_credentials()
        now = self._now()
        seal = self._seals.get(kind)
        if seal is None or not seal.fits(frozen, now):
            seal = self._seals[kind] = Seal(pattern, frozen, now)
        session = self._client._endpoint.http_session
        reply = await session.send(_Request(pattern.method, pattern.url, seal.sign(body, now), body))
        answer = Answer(reply.status_code, reply.headers, await reply.content)
        if answer.status >= 300:
            raise ClientError(self.parse(operation, answer), self._client.meta.method_to_api_mapping[operation])
        return answer

    def parse(self, operation: str, answer: Answer) -> Any:
        """What the client would have made of this answer."""
        model = self._client.meta.service_model
        shape = model.operation_model(self._client.meta.method_to_api_mapping[operation]).output_shape
        raw = {"status_code": answer.status, "headers": answer.headers, "body": answer.body}
        return create_parser(model.resolved_protocol).parse(raw, shape)

    def _learn(self, request: Any, event_name: str, **_: Any) -> None:
        kind = _KIND.get()
        if kind is None or not event_name.endswith(f".{self._client.meta.method_to_api_mapping[kind[0]]}"):
            return
        headers = {name: _text(value) for name, value in request.headers.items()}
        signed = _SIGNED.match(next((value for name, value in headers.items() if name.lower() == "authorization"), ""))
        plain = all(name.lower() in KNOWN for name in headers)
        if signed is not None and plain and len(self._patterns) < KINDS:
            kept = {name: value for name, value in headers.items() if name.lower() not in FRESH | TELEMETRY}
            self._patterns[kind] = Pattern(request.method, request.url, kept, signed[1], signed[2])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
