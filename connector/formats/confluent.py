"""A schema registry that speaks Confluent's REST API: Confluent's own, Karapace, Redpanda, Apicurio's compatible one.

One request a schema, for the daemon's whole life, so nothing is kept open. Source: Schema Registry API reference,
`GET /schemas/ids/{id}` and `GET /subjects/{subject}/versions/{version}`; error 40403 is "schema not found".
"""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson

from connector.formats.schemas import Unavailable, Unknown, Written
from connector.settings import ConfluentRegistrySettings

_NOT_FOUND: Final = 40403
_LARGEST: Final = 8 * 2**20  # bytes of an answer
_MOST: Final = 200  # references of one schema


class _Refused(Exception):
    """The registry did not give what was asked for."""


class ConfluentRegistry:
    """One registry, by its settings."""

    def __init__(self, settings: ConfluentRegistrySettings) -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/")

    async def fetch(self, schema: Any) -> Written | Unknown | Unavailable:
        """Ask for a schema and all that it refers to."""
        try:
            async with asyncio.timeout(self._settings.request_timeout), self._session() as session:
                answer = await self._get(session, f"/schemas/ids/{int(schema)}")
                if answer is None:
                    return Unknown()
                kind = str(answer.get("schemaType") or "AVRO")
                if kind == "PROTOBUF":
                    answer = await self._get(session, f"/schemas/ids/{int(schema)}?format=serialized") or {}
                references: dict[str, str] = {}
                await self._collect(session, kind, answer, references)
                return Written(kind, _text(answer), references)
        except TimeoutError:
            reason = f"no answer within {self._settings.request_timeout:g} s"
        except _Refused as error:
            reason = str(error)
        except aiohttp.ClientError as error:
            reason = f"{type(error).__name__}: {error}"
        except (AttributeError, KeyError, TypeError):
            reason = "the answer does not have the shape of the API"
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        return Unavailable(f"{self._url}: {reason}")

    def _session(self) -> aiohttp.ClientSession:
        settings = self._settings
        headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if settings.username is not None:
            secret = settings.password.get_secret_value() if settings.password is not None else ""
            pair = f"{settings.username}:{secret}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
        elif settings.token is not None:
            headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        connector = aiohttp.TCPConnector(ssl=_tls(settings)) if self._url.startswith("https:") else None
        return aiohttp.ClientSession(headers=headers, connector=connector, trust_env=True)

    async def _get(self, session: aiohttp.ClientSession, path: str) -> dict[str, Any] | None:
        """An answer, None where the registry says that it has no such schema."""
        async with session.get(self._url + path, allow_redirects=False) as answer:
            body = await _json(answer)
            if answer.status == 200 and isinstance(body, dict):
                return body
            if answer.status == 404 and isinstance(body, dict) and body.get("error_code") == _NOT_FOUND:
                return None
            raise _Refused(f"GET {path} was answered with {answer.status}{_said(body)}")

    async def _collect(
        self, session: aiohttp.ClientSession, kind: str, answer: Mapping[str, Any], found: dict[str, str]
    ) -> None:
        """Fetch what a schema refers to, each before what refers to it."""
        for one in answer.get("references") or ():
            name = str(one["name"])
            if name in found:
                continue
            if len(found) >= _MOST:
                raise _Refused(f"more than {_MOST} references")
            path = f"/subjects/{quote(str(one['subject']), safe='')}/versions/{int(one['version'])}"
            below = await self._get(session, f"{path}?format=serialized" if kind == "PROTOBUF" else path)
            if below is None:
                raise _Refused(f"the schema refers to {name}, which is not there")
            await self._collect(session, kind, below, found)
            found[name] = _text(below)


def _text(answer: Mapping[str, Any]) -> str:
    text = answer.get("schema")
    if not isinstance(text, str):
        raise _Refused("the answer holds no schema")
    return text


async def _json(answer: aiohttp.ClientResponse) -> Any:
    data = await answer.content.read(_LARGEST)
    if not answer.content.at_eof():
        raise _Refused(f"an answer of more than {_LARGEST} bytes")
    try:
        return orjson.loads(data)
    except ValueError:
        return None


def _said(body: Any) -> str:
    message = body.get("message") if isinstance(body, dict) else None
    return f": {' '.join(message.split())[:200]}" if isinstance(message, str) else ""


def _tls(settings: ConfluentRegistrySettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca)
    if settings.certificate is not None:
        password = settings.key_password.get_secret_value() if settings.key_password is not None else None
        context.load_cert_chain(settings.certificate, settings.key, password)
    context.check_hostname = settings.verify_hostname
    return context
