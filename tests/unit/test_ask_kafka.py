"""`check --online` asks the brokers what is there; it joins no group and always lets go of its client."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from connector.consume import ask_kafka
from tests.flow.world import config


class Client:
    """Knows some topics, or refuses to say."""

    def __init__(self, topics: dict[str, KafkaError | None], refusal: KafkaError | None = None) -> None:
        self.closed = False
        self.hears: Callable[[KafkaError], None] | None = None
        self._topics = topics
        self._refusal = refusal

    def list_topics(self, timeout: float) -> Any:
        if self._refusal is not None:
            raise KafkaException(self._refusal)
        return SimpleNamespace(topics={name: SimpleNamespace(error=error) for name, error in self._topics.items()})

    def poll(self, timeout: float) -> None:
        if self.hears is not None:
            self.hears(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
            self.hears(KafkaError(KafkaError._AUTHENTICATION, "wrong password"))

    def close(self) -> None:
        self.closed = True


def ask(client: Client, *topics: str) -> list[str]:
    route = {"name": "r", "topics": topics, "targets": ["t"], "map": {"value": "${value}"}}
    return asyncio.run(ask_kafka(config(routes=[route]), lambda properties: client))


def test_topics_that_are_there_by_name_or_by_pattern_are_no_complaint() -> None:
    client = Client({"orders": None, "shop.returns.v1": None})
    assert ask(client, "orders", r"^shop\.returns\..*") == []
    assert client.closed


def test_each_topic_that_is_missing_or_hidden_is_named_with_its_route() -> None:
    hidden = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    complaints = ask(Client({"orders": None, "secret": hidden}), "orders", "secret", "gone", "^nothing.*")
    assert complaints == [
        f"kafka: routes[0].topics: no topic {topic} that we may see: create it, or grant Describe"
        for topic in ("secret", "gone", "^nothing.*")
    ]


def test_brokers_that_cannot_be_asked_are_named_with_the_reason() -> None:
    client = Client({}, KafkaError(KafkaError._TRANSPORT, "no route to host"))
    assert ask(client, "orders") == ["kafka: localhost:1 cannot be asked: _TRANSPORT no route to host"]
    assert client.closed


def test_a_broker_that_refuses_us_is_told_of_in_its_own_words() -> None:
    client = Client({}, KafkaError(KafkaError._TRANSPORT, "Failed to get metadata"))

    def made(properties: dict[str, Any]) -> Client:
        client.hears = properties["error_cb"]
        return client

    (words,) = asyncio.run(ask_kafka(config(), made))
    assert words.endswith("cannot be asked: _AUTHENTICATION wrong password")
    assert client.closed


def test_a_client_that_cannot_be_made_is_a_complaint() -> None:
    def made(properties: dict[str, Any]) -> Client:
        raise KafkaException(KafkaError(KafkaError._INVALID_ARG, "ssl.ca.location failed: no such file"))

    assert asyncio.run(ask_kafka(config(), made)) == [
        "kafka: no client can be made: ssl.ca.location failed: no such file"
    ]
