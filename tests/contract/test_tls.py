"""Every target over TLS: it sends to nobody whom it cannot trust, and holds, for that is no entry's fault."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import SSLError

from connector.model import Verdict
from connector.sandbox.eventbridge import EventBridge as Sandbox
from connector.targets.aws import Core
from tests.certificates import Authority
from tests.contract.conftest import ADAPTERS, AWS, World
from tests.contract.wire import ready
from tests.tunnel import Tunnel, tunnel

TARGETS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    **{f"{kind} {way}": (kind, {"transport": way}) for kind in AWS for way in ("lean", "sdk")},
    **{kind: (kind, {}) for kind in ADAPTERS if kind.startswith("fiddler")},
}


class Secure(NamedTuple):
    """A target whose service stands behind TLS."""

    world: World
    accepted: list[Any]


@pytest.fixture(params=sorted(TARGETS))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@asynccontextmanager
async def secure(name: str, authority: Authority, host: str = "127.0.0.1", **more: Any) -> AsyncIterator[Secure]:
    """The target of this name and its service behind a certificate for 127.0.0.1."""
    kind, settings = TARGETS[name]
    async with tunnel(certificate=authority.issue("server", "127.0.0.1")) as way:
        url = {"url" if kind.startswith("fiddler") else "endpoint_url": f"https://{host}:{way.port}"}
        async with ADAPTERS[kind].open({**settings, **url, **more}) as world:
            there: Any = world
            way.to = urlsplit(there.sandbox.url).port or 0
            yield Secure(world, there.sandbox.accepted)


async def refused(here: Secure) -> str:
    """What a send says that must hold; nothing may have arrived."""
    (ack,) = await here.world.target.send(ready(here.world.target, here.world.event(1)))
    assert (ack.verdict, ack.code) == (Verdict.HOLD, "CertificateError"), ack
    assert here.accepted == []
    return ack.detail


async def test_a_service_for_which_nobody_vouches_is_held_and_gets_nothing(name: str, tmp_path: Path) -> None:
    async with secure(name, Authority(tmp_path)) as here:
        assert "verify failed" in await refused(here)


async def test_a_certificate_of_another_host_is_held(name: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with secure(name, authority, "localhost", ca=str(authority.ca)) as here:
        assert "localhost" in await refused(here)


async def test_the_authority_of_the_config_is_trusted(name: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with secure(name, authority, ca=str(authority.ca)) as here:
        for number in range(2):  # the lean way is open from the second call on
            (ack,) = await here.world.target.send(ready(here.world.target, here.world.event(number)))
            assert ack.verdict is Verdict.DELIVERED, ack
        assert here.world.arrived() == [0, 1]


async def test_an_authority_whose_file_is_not_there_is_held_and_named(name: str, tmp_path: Path) -> None:
    async with secure(name, Authority(tmp_path), ca=str(tmp_path / "none.pem")) as here:
        (ack,) = await here.world.target.send(ready(here.world.target, here.world.event(1)))
        assert ack.verdict is Verdict.HOLD, ack
        assert "none.pem" in ack.detail


async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP proxy that leads where it is asked to."""
    head = await reader.readuntil(b"\r\n\r\n")
    host, _, port = head.split()[1].decode().rpartition(":")
    assert host == "127.0.0.1"
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await Tunnel(int(port)).lead(reader, writer)


@pytest.mark.parametrize("name", [name for name in sorted(TARGETS) if name.startswith(AWS)])
async def test_behind_a_proxy_nobody_is_trusted_more(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    async with await asyncio.start_server(connect, "127.0.0.1", 0) as proxy:
        for variable in ("NO_PROXY", "no_proxy", "https_proxy"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        async with secure(name, authority) as here:
            assert "verify failed" in await refused(here)
        async with secure(name, authority, ca=str(authority.ca)) as here:
            (ack,) = await here.world.target.send(ready(here.world.target, here.world.event(1)))
            assert ack.verdict is Verdict.DELIVERED, ack


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_what_fetches_credentials_looks_at_the_host_too(host: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with Sandbox() as there, tunnel(urlsplit(there.url).port or 0, authority.issue("s", "127.0.0.1")) as way:
        client = Core().create_client(
            "events",
            region_name="eu-west-1",
            endpoint_url=f"https://{host}:{way.port}",
            verify=str(authority.ca),
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )
        async with client as opened:
            if host == "localhost":
                with pytest.raises(SSLError, match="localhost"):
                    await opened.describe_event_bus(Name="default")
            else:
                assert (await opened.describe_event_bus(Name="default"))["Name"] == "default"
