"""TLS and SASL against a real broker's own listeners: who is let in works whole, and who is not says why, once.

The topics are filled and read through the broker's plain listener, by the tests alone; each daemon has only a secured
one. Every way is tried at the same time, each with a topic, a group and a dead-letter topic of its own.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported without saying so
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.certificates import Authority, Certificate
from tests.kafka import broker
from tests.kafka.broker import Broker, Listener
from tests.kafka.cluster import SECONDS, Cluster, Kafka
from tests.kafka.identity import AUDIENCE, CLIENT, ISSUER, Provider
from tests.kafka.process import Daemon, seen
from tests.kafka.stage import Stage, orders, stage
from tests.tunnel import tunnel

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

USER: Final = "connector"
SECRET: Final = "CANARY-right-0b6f"
WRONG: Final = "CANARY-wrong-94e1"
KEY_PASSWORD: Final = "CANARY-key-71aa"
CANARY: Final = "CANARY"
"""Part of every secret here, and of nothing else."""

HELD: Final = "target holds: nothing is lost, nothing is sent until it works again"

_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"
_BEARER: Final = "org.apache.kafka.common.security.oauthbearer.OAuthBearer"


class Secured(NamedTuple):
    """A broker with doors, what stands behind them, and what opens them."""

    cluster: Cluster
    doors: Mapping[str, str]
    authority: Authority
    stranger: Authority
    client: Certificate
    provider: Provider
    server: Certificate


def listeners(authority: Authority, server: Certificate, provider: Provider) -> list[Listener]:
    """TLS that asks for the client's certificate, and SASL over TLS by every mechanism that the config knows."""
    tls = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server.both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.ca),
    }
    sasl = {
        **tls,
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "plain.sasl.jaas.config": f'{_PLAIN} required user_{USER}="{SECRET}";',
        "scram-sha-256.sasl.jaas.config": f"{_SCRAM} required;",
        "scram-sha-512.sasl.jaas.config": f"{_SCRAM} required;",
        "oauthbearer.sasl.jaas.config": f"{_BEARER}LoginModule required;",
        "oauthbearer.sasl.server.callback.handler.class": f"{_BEARER}ValidatorCallbackHandler",
        "oauthbearer.sasl.oauthbearer.jwks.endpoint.url": provider.keys.as_uri(),
        "oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
        "oauthbearer.sasl.oauthbearer.expected.issuer": ISSUER,
    }
    return [Listener("MUTUAL", "SSL", {**tls, "ssl.client.auth": "required"}), Listener("SASL", "SASL_SSL", sasl)]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    if reason := broker.missing():
        pytest.skip(f"{reason} (a given cluster does not help here: these tests need listeners of their own)")
    folder = tmp_path_factory.mktemp("secured")
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    server = authority.issue("broker", "127.0.0.1")
    provider = Provider(folder, SECRET)
    allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={provider.keys.as_uri()}"
    with broker.running(folder, listeners(authority, server, provider), [allowed]) as started:
        yield _opened(started, authority, stranger, server, provider)


def _opened(
    started: Broker, authority: Authority, stranger: Authority, server: Certificate, provider: Provider
) -> Secured:
    cluster = Cluster(started.bootstrap, started)
    for kind in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):  # a request takes a user only once
        wanted = UserScramCredentialUpsertion(USER, ScramCredentialInfo(kind, 4096), SECRET.encode())
        for future in cluster.admin.alter_user_scram_credentials([wanted]).values():
            future.result(SECONDS)
    client = authority.issue("client", password=KEY_PASSWORD)
    return Secured(cluster, started.doors, authority, stranger, client, provider, server)


class Way(NamedTuple):
    """How a daemon tries to get in: by which door, with which `auth`. `says` is what a refusal tells."""

    name: str
    door: str
    auth: Mapping[str, Any]
    host: str = "127.0.0.1"
    says: Sequence[str] = ()


def changes(here: Secured, way: Way) -> dict[str, Any]:
    """The config's `kafka` for this way."""
    port = here.doors[way.door].rpartition(":")[2]
    return {
        "kafka": {
            "bootstrap_servers": f"{way.host}:{port}",
            "auth": dict(way.auth),
            "properties": {"broker.address.family": "v4"},
        },
        "log": {"level": "debug"},
    }


def right(here: Secured) -> list[Way]:
    """Every way that leads in."""
    ca = str(here.authority.ca)
    user = {"username": USER, "password": SECRET, "ca": ca}
    shown = {"certificate": str(here.client.certificate), "key": str(here.client.key), "key_password": KEY_PASSWORD}
    bearer = {"type": "oauthbearer", "token_endpoint": here.provider.url, "client_id": CLIENT, "client_secret": SECRET}
    return [
        Way("tls", "MUTUAL", {"type": "tls", "ca": ca, **shown}),
        Way("plain", "SASL", {"type": "sasl_plain", **user}),
        Way("scram-256", "SASL", {"type": "sasl_scram", "mechanism": "SCRAM-SHA-256", **user}),
        Way("scram-512", "SASL", {"type": "sasl_scram", **user}),
        Way("oauthbearer", "SASL", {**bearer, "ca": ca, "token_ca": ca, "scope": "carry"}),
    ]


def wrong(here: Secured) -> list[Way]:
    """Every way that must not, with what is said of it."""
    ca, strange = str(here.authority.ca), str(here.stranger.ca)
    user = {"username": USER, "password": SECRET, "ca": ca}
    bearer = {"type": "oauthbearer", "token_endpoint": here.provider.url, "client_id": CLIENT, "ca": ca}
    return [
        Way("another authority", "SASL", {"type": "sasl_plain", **user, "ca": strange}, says=("certificate verify",)),
        Way("the system's authorities", "SASL", {"type": "sasl_plain", **user, "ca": None}, says=("certificate",)),
        Way("another host", "SASL", {"type": "sasl_plain", **user}, host="localhost", says=("certificate verify",)),
        Way("no certificate", "MUTUAL", {"type": "tls", "ca": ca}, says=("certificate",)),
        Way(
            "plain", "SASL", {"type": "sasl_plain", **user, "password": WRONG}, says=("authentication", "Invalid user")
        ),
        Way("scram", "SASL", {"type": "sasl_scram", **user, "password": WRONG}, says=("authentication",)),
        Way("oauthbearer", "SASL", {**bearer, "client_secret": WRONG, "token_ca": ca}, says=("invalid_client",)),
        Way("another provider", "SASL", {**bearer, "client_secret": SECRET}, says=("token", "certificate")),
        Way("msk", "SASL", {"type": "msk_iam", "region": "eu-west-1", "ca": ca}, says=("authentication",)),
    ]


@asynccontextmanager
async def played(here: Secured, folder: Path) -> AsyncIterator[Stage]:
    """A stage with a corner of its own."""
    await asyncio.to_thread(folder.mkdir)
    corner = Kafka(here.cluster)
    try:
        async with stage(corner, folder) as made:
            yield made
    finally:
        await asyncio.to_thread(corner.end)


def silent(daemon: Daemon) -> bool:
    """Whether nothing that it said holds a secret."""
    return CANARY not in daemon.text and "eyJ" not in daemon.text


async def gets_in(here: Secured, way: Way, folder: Path) -> None:
    """A daemon on this way delivers what is good, buries what is not, commits, and names no secret."""
    async with played(here, folder) as on:
        daemon = await on.started(changes(here, way))
        written = await on.produce([*orders(20), b"\xffnot JSON"])
        await on.until_at_end()
        assert on.missing(written[:20]) == [], way.name
        assert [letter.value for letter in await on.buried()] == [b"\xffnot JSON"], way.name
        assert await daemon.stop() == 0, way.name
        assert silent(daemon), way.name
        assert daemon.said("kafka trouble") == [], way.name


async def test_every_kind_of_auth_consumes_buries_and_commits_on_a_real_listener(
    secured: Secured, tmp_path: Path
) -> None:
    async with secured.provider.serving(secured.server), asyncio.TaskGroup() as group:
        for way in right(secured):
            group.create_task(gets_in(secured, way, tmp_path / way.name), name=way.name)


async def stays_out(here: Secured, way: Way, folder: Path) -> None:
    """A daemon on this way says why once, is not ready, takes nothing, and goes on trying."""
    to = int(here.doors[way.door].rpartition(":")[2])
    async with played(here, folder) as on, tunnel(to) as knocks:
        daemon = on.start(changes(here._replace(doors={way.door: f"{way.host}:{knocks.port}"}), way))
        await on.produce(3)
        await daemon.says("kafka trouble")
        if way.name != "oauthbearer" and way.name != "another provider":
            await seen(lambda: knocks.count >= 4, what=f"{way.name}: it has tried again")
        words = " ".join(line["reason"] for line in daemon.said("kafka trouble"))
        assert all(part.lower() in words.lower() for part in way.says), (way.name, words)
        assert not await daemon.is_ready(), way.name
        assert await on.committed() == {}, way.name
        assert on.bus.accepted == [], way.name
        codes = [line["code"] for line in daemon.said("kafka trouble")]
        assert len(codes) == len(set(codes)), (way.name, codes)
        assert await daemon.stop() == 0, way.name
        assert silent(daemon), way.name
        print(way.name, codes, words)


async def test_who_is_not_let_in_says_why_once_is_not_ready_and_takes_nothing(secured: Secured, tmp_path: Path) -> None:
    async with secured.provider.serving(secured.server), asyncio.TaskGroup() as group:
        for way in wrong(secured):
            group.create_task(stays_out(secured, way, tmp_path / way.name.replace(" ", "-")), name=way.name)


async def test_dead_letters_of_a_cluster_that_refuses_us_wait_and_so_does_the_commit(
    secured: Secured, tmp_path: Path
) -> None:
    ca = str(secured.authority.ca)
    user = {"type": "sasl_plain", "username": USER, "password": WRONG, "ca": ca}
    async with played(secured, tmp_path / "apart") as on:
        door = {"bootstrap_servers": secured.doors["SASL"], "auth": user}
        apart = {"topic": on.dead, "kafka": door}
        daemon = await on.started({"dead_letters": apart, "log": {"level": "debug"}})
        written = await on.produce([*orders(5), b"\xffnot JSON", *orders(5, first=5)])
        told = await daemon.says(HELD, target="dead_letters")
        await seen(lambda: len(on.taken()) == 10, what="what is good is delivered all the same")
        await on.until_committed(5)
        assert await on.committed() == {written[0].tp: 5}
        assert "Invalid username or password" in json.dumps(told)
        code, words = await on.check_online({"dead_letters": apart})
        assert code != 0
        assert "Authentication failed" in words
        assert CANARY not in words
        assert await daemon.stop() == 0
        assert silent(daemon)
        right = {**apart, "kafka": {**door, "auth": {**user, "password": SECRET}}}
        again = await on.started({"dead_letters": right})
        await on.until_at_end()
        assert [letter.value for letter in await on.buried()] == [b"\xffnot JSON"]
        assert await again.stop() == 0
        assert silent(again)
