"""`connector dead-letters` on librdkafka's mock cluster: what is in the topics, and again through the routes, once."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Place
from typer.testing import CliRunner

from connector.app import real_parts
from connector.cli import cli
from connector.loading.load import load
from connector.model import Entry, Event, Record, TopicPartition, Verdict
from connector.sandbox.broker import Broker
from connector.targets.dead_letter import Cause, bury, headers_of

DEAD: Final = "g.dead"
SECONDS: Final = 20.0
CONFIG: Final = """\
kafka: {bootstrap_servers: "%s", group_id: g}
targets:
  screen: {type: stdout}
  other: {type: stdout}
routes:
  - {name: paid, topics: [shop], targets: [screen], map: {total: "${double(value.total)}", at: "${topic}/${offset}"}}
  - {name: rest, topics: [shop], targets: [other], map: {id: "${value.id}"}}
unrouted: dead_letter
dead_letters: {topic: g.dead}
"""


def buried(
    offset: int,
    value: bytes = b'{"id": 1, "total": 5}',
    *,
    route: str = "paid",
    target: str = "screen",
    code: str = "WrongType",
    stage: Any = "TRANSFORMATION",
    at_ms: int = 1_700_000_000_000,
    group: str = "g",
) -> tuple[bytes, list[tuple[str, str | bytes | None]]]:
    """A dead letter as the daemon writes it: value and headers."""
    record = Record(TopicPartition("shop", 0), offset, 1_600_000_000_000, b"k", value, (("own", b"1"),))
    event = Event(record, route, target, {}, f"shop-0-{offset}/{route}")
    return value, list(headers_of(event, Cause(stage, code, "the reason", target, 0, at_ms), group))


class Topic:
    """The dead-letter topic of a broker, and the command on it."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self._servers = broker.bootstrap_servers
        self.config = folder / "shop.yaml"
        self.mend(CONFIG)

    def mend(self, text: str) -> None:
        self.config.write_text(text % self._servers)

    def holds(self, *letters: tuple[bytes, list[tuple[str, str | bytes | None]]], topic: str = DEAD) -> None:
        def write() -> None:
            producer = Producer({"bootstrap.servers": self._servers, "log_level": 0})
            for value, headers in letters:
                producer.produce(topic, value, b"k", partition=0, headers=list(headers), timestamp=1_600_000_000_000)
            assert producer.flush(SECONDS) == 0

        write()

    def run(self, *arguments: str) -> tuple[int, str, str]:
        words = ["dead-letters", arguments[0], str(self.config), *arguments[1:]]
        result = CliRunner().invoke(cli, words, catch_exceptions=False)
        return result.exit_code, result.stdout, result.stderr

    def plain(self, *arguments: str) -> tuple[int, dict[str, Any], list[dict[str, Any]]]:
        """Exit code, what the command says as JSON, and the events that it sent to standard output before."""
        code, out, err = self.run(*arguments, "--json")
        assert not err, err
        lines = out.splitlines()
        sent = [json.loads(line) for line in lines if line.startswith('{"')]
        return code, json.loads("\n".join(line for line in lines if not line.startswith('{"'))), sent


@pytest.fixture
def topic(tmp_path: Path) -> Iterator[Topic]:
    """Commands run a loop of their own and listen to signals, so the test itself is in none."""
    broker = Broker()
    asyncio.run(broker.__aenter__())
    asyncio.run(broker.topics(DEAD, "shop"))
    yield Topic(broker, tmp_path)
    asyncio.run(broker.__aexit__(None, None, None))


def test_list_counts_by_route_target_code_and_age(topic: Topic) -> None:
    topic.holds(
        buried(1), buried(2, at_ms=1_700_000_060_000), buried(3, b"\xff", stage="VALUE_CONVERTER", code="NotJSON")
    )
    code, found, _ = topic.plain("list")
    assert code == 0
    assert [(g["route"], g["target"], g["code"], g["letters"], g["replayed"]) for g in found["groups"]] == [
        ("paid", "screen", "WrongType", 2, 0),
        ("paid", "screen", "NotJSON", 1, 0),
    ]
    assert (found["groups"][0]["oldest"], found["groups"][0]["newest"]) == (1_700_000_000_000, 1_700_000_060_000)
    _, text, _ = topic.run("list", "--each", "--code", "NotJSON")
    assert "g.dead/0/2  shop[0]@3  paid  screen  NotJSON" in text
    assert "1 dead letter, 1 not replayed" in text


def test_show_gives_one_letter_its_error_and_what_would_be_sent_now(topic: Topic) -> None:
    topic.holds(buried(1, at_ms=5_000), buried(2, b'{"total": 7}', at_ms=4_000))
    code, text, _ = topic.run("show")
    assert code == 0
    assert "g.dead/0/1: buried 1970-01-01T00:00:04.000Z" in text
    assert "error   WrongType at TRANSFORMATION" in text
    assert '{"total": 7}' in text
    assert "owed    what route paid makes of it for screen, and nothing else" in text
    assert "→ screen (stdout), id shop-0-2/paid" in text
    assert '"at":"shop/2"' in text
    code, found, _ = topic.plain("show", "--at", "0/0")
    assert (code, found["id"], found["record"]["offset"]) == (0, "shop-0-1/paid", 1)
    code, _, err = topic.run("show", "--at", "elsewhere/0/0")
    assert (code, "is no place of a dead letter" in err) == (2, True)
    code, _, err = topic.run("show", "--at", "0/9")
    assert (code, err) == (1, "no dead letter g.dead/0/9 was found\n")


def test_replay_begins_with_a_dry_run_and_sends_nothing_without_a_yes(topic: Topic) -> None:
    topic.holds(buried(1), buried(2, b'{"total": "?"}'))
    code, out, err = topic.run("replay")
    assert code == 0
    assert "1 letter would be replayed" in out
    assert "1 would be left where they are:\n  1  paid: " in out
    assert err == "nothing was sent: add --yes to send\n"


def test_a_letter_is_sent_once_with_its_first_id_and_only_to_whom_it_was_owed(topic: Topic) -> None:
    topic.holds(buried(1), buried(2, b'{"total": "?"}'), buried(3, route="rest", target="other"))
    code, found, sent = topic.plain("replay", "--route", "paid", "--yes")
    assert code == 1  # one is left
    assert [event["id"] for event in sent] == ["shop-0-1/paid"]
    assert sent[0]["fields"] == {"total": 5.0, "at": "shop/1"}
    assert (found["replayed"], found["not_selected"]) == (1, 1)
    assert [(one["route"], one["letters"]) for one in found["left"]] == [("paid", 1)]

    topic.mend(CONFIG.replace("double(value.total)", "string(value.total)"))
    code, found, sent = topic.plain("replay", "--yes")
    assert code == 0
    assert [event["id"] for event in sent] == ["shop-0-2/paid", "shop-0-3/rest"]
    assert (found["replayed"], found["replayed_before"]) == (2, 1)

    code, found, sent = topic.plain("replay", "--yes")
    assert (code, sent) == (0, [])
    assert (found["replayed"], found["replayed_before"]) == (0, 3)
    code, found, sent = topic.plain("replay", "--yes", "--again", "--route", "rest")
    assert [event["id"] for event in sent] == ["shop-0-3/rest"]
    code, found, _ = topic.plain("list")
    assert sum(group["replayed"] for group in found["groups"]) == 3


def test_a_record_that_could_not_be_read_is_owed_to_every_route(topic: Topic) -> None:
    topic.holds(buried(1, stage="VALUE_CONVERTER", target="", code="NotJSON"))
    _, found, sent = topic.plain("replay", "--yes")
    assert sorted(event["id"] for event in sent) == ["shop-0-1/paid", "shop-0-1/rest"]
    assert found["replayed"] == 1


def test_back_to_the_source_it_goes_as_it_was_under_its_first_id(topic: Topic) -> None:
    topic.holds(buried(7))
    code, found, _ = topic.plain("replay", "--to-source", "--yes")
    assert (code, found["replayed"]) == (0, 1)

    def read() -> Any:
        reader = Consumer({"bootstrap.servers": topic._servers, "group.id": "reader", "log_level": 0})
        reader.assign([Place("shop", 0, 0)])
        message = reader.poll(SECONDS)
        reader.close()
        return message

    message = read()
    assert (message.key(), message.value()) == (b"k", b'{"id": 1, "total": 5}')
    assert message.headers() == [("own", b"1"), ("__connector.errors.id", b"shop-0-7/paid")]
    assert message.timestamp()[1] == 1_600_000_000_000


def test_what_is_no_letter_of_ours_is_left_and_named(topic: Topic) -> None:
    topic.holds((b"{}", []), buried(1, group="another"))
    code, found, sent = topic.plain("replay", "--dry-run")
    assert (code, sent, found["replayed"]) == (0, [], 0)
    assert sorted(found["unreadable"]) == [
        "another connector wrote it: another",
        "it has no error headers: it is no dead letter, or was too large to carry them",
    ]


def test_a_topic_that_is_no_dead_letter_topic_is_refused_with_the_reason(topic: Topic) -> None:
    code, _, err = topic.run("replay", "--topic", "shop", "--yes")
    assert code == 2
    assert "shop is not a dead-letter topic of this config" in err
    assert "the dead-letter topics are g.dead" in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--since", "yesterday"), "yesterday is neither how long ago"),
        (("--until", "2026-01-31T12:00:00"), "nor a time with its zone"),
        (("--rate", "fast"), "needs a rate above zero"),
    ],
)
def test_bad_input_is_refused_in_words(topic: Topic, flags: tuple[str, str], said: str) -> None:
    code, _, err = topic.run("replay", *flags)
    assert code == 2
    assert said in " ".join(err.replace("│", " ").split())


def test_a_broker_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    config = tmp_path / "shop.yaml"
    config.write_text(CONFIG % "127.0.0.1:1")
    result = CliRunner().invoke(cli, ["dead-letters", "list", str(config)], catch_exceptions=False)
    assert result.exit_code == 1
    assert "_TRANSPORT" in result.stderr


async def test_dead_letters_of_another_cluster_are_written_and_read_there(tmp_path: Path) -> None:
    async with Broker() as other:
        await other.topics(DEAD)
        letters = f'{{topic: {DEAD}, kafka: {{bootstrap_servers: "{other.bootstrap_servers}"}}}}'
        config = tmp_path / "shop.yaml"
        config.write_text(CONFIG.replace("{topic: g.dead}", letters) % "127.0.0.1:1")
        settings = load([config], {}).settings
        assert settings is not None
        target = real_parts().dead_letters(settings)
        record = Record(TopicPartition("shop", 0), 5, 1_600_000_000_000, b"k", b"{}", ())
        event = bury(Event(record, "paid", "screen", {}, "shop-0-5/paid"), Cause("TASK_PUT", "C", "m", "screen", 1, 7))
        prepared = target.prepare(event)
        (ack,) = await target.send(
            (Entry(event, prepared.body, prepared.size, prepared.group, prepared.unique, lambda: None),)
        )
        assert ack.verdict is Verdict.DELIVERED
        words = ["dead-letters", "list", str(config), "--each"]
        result = await asyncio.to_thread(CliRunner().invoke, cli, words, catch_exceptions=False)
        assert result.exit_code == 0
        assert "shop[0]@5  paid  screen  C" in result.stdout
