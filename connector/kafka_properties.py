"""What librdkafka is told: our own properties, the user's, and how the connection is secured; no client is needed.

Names and defaults: CONFIGURATION.md of librdkafka 2.16.
"""

import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:  # the settings are checked against OWNED_PROPERTIES, so they cannot be imported at run time
    from connector.settings import Auth, ClusterSettings, KafkaSettings, MskIamAuth, TlsKeys

Token: TypeAlias = tuple[str, float]
"""A bearer token and when it expires, in epoch seconds."""

_AUTH: Final = "set kafka.auth"
_COMMITS: Final = "take it out: offsets are committed after acknowledgement only, see commit_interval"
_MEMORY: Final = "set limits.max_open_records or limits.max_open_bytes"
_DEAD_LETTERS: Final = "take it out: a dead letter counts only when all in-sync replicas have it"

OWNED_PROPERTIES: Final[Mapping[str, str]] = {
    "bootstrap.servers": "set kafka.bootstrap_servers",
    "metadata.broker.list": "set kafka.bootstrap_servers",
    "client.id": "set kafka.client_id",
    "group.id": "set kafka.group_id",
    "group.protocol": "set kafka.group_protocol",
    "partition.assignment.strategy": "take it out: cooperative-sticky, or set kafka.group_protocol: consumer",
    "auto.offset.reset": "set kafka.auto_offset_reset",
    "enable.auto.commit": _COMMITS,
    "auto.commit.enable": _COMMITS,
    "auto.commit.interval.ms": _COMMITS,
    "enable.auto.offset.store": _COMMITS,
    "offset.store.method": _COMMITS,
    "offset_commit_cb": _COMMITS,
    "on_commit": _COMMITS,
    "enable.partition.eof": "take it out: the end of a partition is no event here",
    "isolation.level": "take it out: read_committed, or aborted records would be delivered",
    "allow.auto.create.topics": "take it out: create the topics, a misspelled one must not appear by itself",
    "topic.blacklist": "list the topics of the routes instead",
    "queued.min.messages": _MEMORY,
    "queued.max.messages.kbytes": _MEMORY,
    "consume.callback.max.messages": _MEMORY,
    "statistics.interval.ms": "take it out: lag and readiness are read from the statistics",
    "log.queue": "set log.level",
    "security.protocol": _AUTH,
    "sasl.mechanism": _AUTH,
    "sasl.mechanisms": _AUTH,
    "sasl.username": _AUTH,
    "sasl.password": _AUTH,
    "sasl.oauthbearer.config": _AUTH,
    "sasl.oauthbearer.method": _AUTH,
    "sasl.oauthbearer.client.id": _AUTH,
    "sasl.oauthbearer.client.secret": _AUTH,
    "sasl.oauthbearer.scope": _AUTH,
    "sasl.oauthbearer.extensions": _AUTH,
    "sasl.oauthbearer.token.endpoint.url": _AUTH,
    "enable.sasl.oauthbearer.unsecure.jwt": _AUTH,
    "oauthbearer_token_refresh_cb": _AUTH,
    "oauth_cb": _AUTH,
    "https.ca.location": "set kafka.auth with token_ca",
    "https.ca.pem": "set kafka.auth with token_ca",
    "ssl.ca.location": _AUTH,
    "ssl.certificate.location": _AUTH,
    "ssl.key.location": _AUTH,
    "ssl.key.password": _AUTH,
    "ssl.endpoint.identification.algorithm": _AUTH,
    "enable.ssl.certificate.verification": "set kafka.auth with the certificate authority in ca",
    "acks": _DEAD_LETTERS,
    "request.required.acks": _DEAD_LETTERS,
    "enable.idempotence": _DEAD_LETTERS,
    "enable.gapless.guarantee": _DEAD_LETTERS,
    "transactional.id": _DEAD_LETTERS,
    "max.in.flight": _DEAD_LETTERS,
    "max.in.flight.requests.per.connection": _DEAD_LETTERS,
    "message.send.max.retries": _DEAD_LETTERS,
    "retries": _DEAD_LETTERS,
    "message.max.bytes": "set receive.message.max.bytes: what can be fetched can be buried",
}
"""librdkafka properties that the daemon's promises rest on, each with what to do instead of setting it."""

_FETCH: Final = {
    # A backlog of many partitions arrives in runs; smaller fetches let more partitions share the window.
    "max.partition.fetch.bytes": 256 * 1024,
    "fetch.queue.backoff.ms": 50,  # with the small queue below, the default of 1000 starves the thread
}
_RECEIVED: Final = 100_000_000  # librdkafka's default of receive.message.max.bytes

_AUTHORITIES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat, Amazon Linux
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS
)

_SHARED: Final = (
    "api.version.",
    "broker.",
    "client.dns.",
    "client.rack",
    "connections.",
    "debug",
    "enable.metrics.push",
    "enable.ssl.",
    "log",
    "metadata.",
    "receive.message.max.bytes",
    "reconnect.",
    "retry.backoff.",
    "sasl.",
    "socket.",
    "ssl.",
    "topic.metadata.",
)
"""Beginnings of the user's properties that concern every client, the dead-letter producer too."""


def client_config(kafka: "KafkaSettings", refused: Callable[[str], None] = lambda reason: None) -> dict[str, Any]:
    """Return the consumer's properties. `refused(reason)` hears of a token that could not be made."""
    config: dict[str, Any] = {
        "topic.metadata.refresh.interval.ms": 60_000,  # how late a new partition is found; 5 minutes by default
        **_FETCH,
        **kafka.properties,
        **_common(kafka, refused),
        "group.id": kafka.group_id,
        "group.protocol": kafka.group_protocol,
        # A partition without a usable offset is told to us, and every reset is made, counted and said by the daemon.
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": False,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "queued.max.messages.kbytes": 16_384,
    }
    if kafka.group_protocol == "classic":  # with KIP-848 the brokers assign, and the client refuses the property
        config["partition.assignment.strategy"] = "cooperative-sticky"
    return config


def producer_config(kafka: "ClusterSettings", refused: Callable[[str], None] = lambda reason: None) -> dict[str, Any]:
    """Return the dead-letter producer's properties: nothing counts before every in-sync replica has it."""
    shared = shared_config(kafka, refused)
    return {
        **shared,
        "acks": "all",
        "enable.idempotence": True,
        "message.max.bytes": int(shared.get("receive.message.max.bytes", _RECEIVED)),
        "linger.ms": 5,
        "message.timeout.ms": 30_000,  # the lane tries again; a later report would only be heard by nobody
        # A topic that is gone is said to be gone, not that time ran out; one that is only new is found by the next try.
        "topic.metadata.propagation.max.ms": 5_000,
    }


def shared_config(kafka: "ClusterSettings", refused: Callable[[str], None] = lambda reason: None) -> dict[str, Any]:
    """Return what concerns every client: where the cluster is, who we are, and the user's own properties of that."""
    shared = {name: value for name, value in kafka.properties.items() if name.startswith(_SHARED)}
    return {**shared, **_common(kafka, refused)}


def _common(kafka: "ClusterSettings", refused: Callable[[str], None]) -> dict[str, Any]:
    return {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": kafka.client_id,
        "log.connection.close": False,  # brokers close idle connections; that is no news
        **auth_config(kafka.auth, refused),
    }


def auth_config(auth: "Auth", refused: Callable[[str], None] = lambda reason: None) -> dict[str, Any]:
    """Return the properties of `kafka.auth`, the same for every client. They hold secrets: never log them."""
    if auth.type == "none":
        return {"security.protocol": "PLAINTEXT"}
    if auth.type == "tls":
        return {"security.protocol": "SSL", **_tls(auth)}
    if auth.type == "msk_iam":
        sasl: dict[str, Any] = {"sasl.mechanisms": "OAUTHBEARER", "oauth_cb": MskToken(auth, refused)}
        return {"security.protocol": "SASL_SSL", **_tls(auth), **sasl}
    if auth.type == "sasl_plain":
        sasl = {"sasl.mechanisms": "PLAIN", "sasl.username": auth.username}
        sasl["sasl.password"] = auth.password.get_secret_value()
    elif auth.type == "sasl_scram":
        sasl = {"sasl.mechanisms": auth.mechanism, "sasl.username": auth.username}
        sasl["sasl.password"] = auth.password.get_secret_value()
    else:
        sasl = {
            "sasl.mechanisms": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": auth.token_endpoint,
            "sasl.oauthbearer.client.id": auth.client_id,
            "sasl.oauthbearer.client.secret": auth.client_secret.get_secret_value(),
        }
        if (authorities := auth.token_ca or _authorities()) is not None:
            sasl["https.ca.location"] = authorities
        if auth.scope is not None:
            sasl["sasl.oauthbearer.scope"] = auth.scope
        if auth.extensions:
            sasl["sasl.oauthbearer.extensions"] = ",".join(f"{key}={value}" for key, value in auth.extensions.items())
    if not auth.tls:
        return {"security.protocol": "SASL_PLAINTEXT", **sasl}
    return {"security.protocol": "SASL_SSL", **_tls(auth), **sasl}


def _authorities() -> str | None:
    """The file of the system's certificate authorities. What asks for tokens inside of the client looks in one place
    only, that of Red Hat's systems, and takes no folder (librdkafka 2.16)."""
    known = (ssl.get_default_verify_paths().cafile, *_AUTHORITIES)
    return next((path for path in known if path is not None and Path(path).is_file()), None)


def _tls(keys: "TlsKeys") -> dict[str, Any]:
    password = None if keys.key_password is None else keys.key_password.get_secret_value()
    given = {
        "ssl.ca.location": keys.ca,
        "ssl.certificate.location": keys.certificate,
        "ssl.key.location": keys.key,
        "ssl.key.password": password,
    }
    return {
        **{name: value for name, value in given.items() if value is not None},
        "ssl.endpoint.identification.algorithm": "https" if keys.verify_hostname else "none",
    }


class MskToken:
    """Makes the tokens of Amazon MSK's IAM authentication whenever the client asks for one.

    Invariant: it never raises, for an exception out of a client callback takes records along. Where no token can be
    made it answers with one that every broker refuses and that is asked for again soon, and says why.
    """

    RETRY: Final = 30.0
    """Seconds that the refused token lasts; the client asks again at four fifths of them."""

    def __init__(
        self, auth: "MskIamAuth", refused: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        """`refused(reason)` hears of a token that could not be made; `clock` tells epoch seconds."""
        self._auth = auth
        self._refused = refused
        self._clock = clock

    def __call__(self, config: str | None) -> Token:
        """Return a token; called by the client in the thread that polls it."""
        try:
            return self._signed()
        except ImportError:
            reason = "kafka.auth msk_iam needs the extra `msk`: pip install 'connector[msk]'"
        except Exception as error:  # noqa: BLE001 - boto raises many kinds, and none may reach the client
            reason = f"no token for MSK: {type(error).__name__}: {error}"
        self._refused(reason)
        return "unavailable", self._clock() + self.RETRY

    def _signed(self) -> Token:
        from aws_msk_iam_sasl_signer import (  # type: ignore[import-untyped]  # it ships no types
            MSKAuthTokenProvider as Signer,
        )

        auth = self._auth
        if auth.role_arn is not None:
            token, expires_ms = Signer.generate_auth_token_from_role_arn(auth.region, auth.role_arn)
        elif auth.profile is not None:
            token, expires_ms = Signer.generate_auth_token_from_profile(auth.region, auth.profile)
        else:
            token, expires_ms = Signer.generate_auth_token(auth.region)
        return str(token), float(expires_ms) / 1000
