"""What librdkafka is told."""

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from connector.kafka_properties import OWNED_PROPERTIES, MskToken, client_config, producer_config
from connector.settings import KafkaSettings, MskIamAuth


def kafka(**more: Any) -> KafkaSettings:
    return KafkaSettings.model_validate({"bootstrap_servers": "127.0.0.1:1", "group_id": "g", **more})


SASL: dict[str, dict[str, Any]] = {
    "none": {"type": "none"},
    "tls": {"type": "tls"},
    "sasl_plain": {"type": "sasl_plain", "username": "u", "password": "p"},
    "sasl_scram": {"type": "sasl_scram", "username": "u", "password": "p", "tls": False},
    "oauthbearer": {
        "type": "oauthbearer",
        "token_endpoint": "http://127.0.0.1:1/token",
        "client_id": "c",
        "client_secret": "s",
        "scope": "read",
        "extensions": {"logicalCluster": "l", "identityPoolId": "p"},
        "tls": False,
    },
}


@pytest.mark.parametrize("kind", SASL)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_the_client_takes_every_property_that_is_set(kind: str, protocol: str) -> None:
    settings = kafka(auth=SASL[kind], group_protocol=protocol)
    Consumer({**client_config(settings), "log_level": 0}).close()
    assert Producer({**producer_config(settings), "log_level": 0}).close()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", {"security.protocol": "PLAINTEXT"}),
        ("tls", {"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "https"}),
        (
            "sasl_plain",
            {"security.protocol": "SASL_SSL", "sasl.mechanisms": "PLAIN", "sasl.username": "u", "sasl.password": "p"},
        ),
        (
            "sasl_scram",
            {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "SCRAM-SHA-512", "sasl.password": "p"},
        ),
        (
            "oauthbearer",
            {
                "sasl.mechanisms": "OAUTHBEARER",
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.extensions": "logicalCluster=l,identityPoolId=p",
            },
        ),
    ],
)
def test_consumer_and_dead_letter_producer_show_themselves_alike(kind: str, expected: dict[str, str]) -> None:
    settings = kafka(auth=SASL[kind])
    for config in (client_config(settings), producer_config(settings)):
        assert {name: config.get(name) for name in expected} == expected


def test_every_client_knows_whom_the_token_endpoint_is_trusted_by() -> None:
    auth = {**SASL["oauthbearer"], "token_endpoint": "https://127.0.0.1:1/token"}
    for config in (client_config(kafka(auth=auth)), producer_config(kafka(auth=auth))):
        assert Path(config["https.ca.location"]).is_file()
    for config in (client_config(own := kafka(auth={**auth, "token_ca": "mine.pem"})), producer_config(own)):
        assert config["https.ca.location"] == "mine.pem"


def test_certificates_are_passed_on_and_the_host_name_is_checked_unless_told_otherwise() -> None:
    auth = {"type": "tls", "ca": "ca.pem", "certificate": "c.pem", "key": "k.pem", "key_password": "x"}
    config = client_config(kafka(auth={**auth, "verify_hostname": False}))
    assert {name: value for name, value in config.items() if name.startswith("ssl.")} == {
        "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "c.pem",
        "ssl.key.location": "k.pem",
        "ssl.key.password": "x",
        "ssl.endpoint.identification.algorithm": "none",
    }


def test_nothing_is_committed_stored_or_reset_by_the_client_itself() -> None:
    config = client_config(kafka(auto_offset_reset="latest"))
    assert {
        name: config[name]
        for name in ("enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset", "isolation.level")
    } == {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
    }


def test_every_property_that_is_set_for_a_promise_is_refused_to_the_user() -> None:
    free = {"max.partition.fetch.bytes", "fetch.queue.backoff.ms", "topic.metadata.refresh.interval.ms"}
    free |= {"log.connection.close", "linger.ms", "message.timeout.ms", "topic.metadata.propagation.max.ms"}
    ours = set(client_config(kafka())) | set(producer_config(kafka()))
    assert ours - free <= set(OWNED_PROPERTIES)


def test_the_fetch_defaults_keep_many_partitions_moving_and_may_be_changed() -> None:
    config = client_config(kafka())
    assert (config["max.partition.fetch.bytes"], config["queued.max.messages.kbytes"]) == (262144, 16384)
    assert config["fetch.queue.backoff.ms"] == 50
    assert client_config(kafka(properties={"fetch.queue.backoff.ms": "9"}))["fetch.queue.backoff.ms"] == "9"


def test_the_protocol_of_the_brokers_own_assignment_gets_no_strategy() -> None:
    assert client_config(kafka())["partition.assignment.strategy"] == "cooperative-sticky"
    assert "partition.assignment.strategy" not in client_config(kafka(group_protocol="consumer"))


def test_dead_letters_count_only_with_all_replicas_and_may_be_as_large_as_what_is_fetched() -> None:
    config = producer_config(
        kafka(properties={"receive.message.max.bytes": "200000000", "fetch.min.bytes": "5", "socket.timeout.ms": "9"})
    )
    assert (config["acks"], config["enable.idempotence"], config["message.max.bytes"]) == ("all", True, 200_000_000)
    assert (config.get("fetch.min.bytes"), config["socket.timeout.ms"]) == (None, "9")


def test_a_token_that_cannot_be_made_is_said_and_never_raised() -> None:
    said: list[str] = []
    auth = MskIamAuth(type="msk_iam", region="eu-west-1", profile="no-such-profile")
    token, expires = MskToken(auth, said.append, lambda: 1000.0)(None)
    assert (token, expires) == ("unavailable", 1030.0)
    assert said == ["no token for MSK: ProfileNotFound: The config profile (no-such-profile) could not be found"]


def test_a_token_of_msk_is_signed_with_the_credentials_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    said: list[str] = []
    token, expires = MskToken(MskIamAuth(type="msk_iam", region="eu-west-1"), said.append)(None)
    assert said == []
    assert len(token) > 100
    assert expires > 1_700_000_000


def test_a_dead_letter_topic_that_is_gone_is_told_before_a_letter_has_timed_out() -> None:
    config = producer_config(kafka())
    assert config["topic.metadata.propagation.max.ms"] < config["message.timeout.ms"]
