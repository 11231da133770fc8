"""A log line is one line, says what happened, and never says a secret or a payload."""

import io
import json
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import structlog

from connector import log
from connector.model import Event, Record, TopicPartition


class Sink:
    """Collects what is logged; `lines()` ends the logging first, so that nothing still waits."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.open: log.Lines | None = None

    def configure(self, format: log.Format = "json", level: log.Level = "debug") -> Any:
        self.open = log.configure(level, format, self.stream)
        return structlog.get_logger("connector.test")

    def lines(self) -> list[str]:
        if self.open is not None:
            self.open.close()
        return self.stream.getvalue().splitlines()

    def fields(self) -> dict[str, Any]:
        (line,) = self.lines()
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture
def sink() -> Iterator[Sink]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    found = Sink()
    yield found
    if found.open is not None:
        found.open.close()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_json_line_has_time_level_logger_event_and_fields_in_this_order(sink: Sink) -> None:
    sink.configure().bind(target="orders-bus").warning("lane held", code="AccessDenied", entries=7)
    fields = sink.fields()
    assert list(fields) == ["timestamp", "level", "logger", "event", "target", "code", "entries"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields.pop("timestamp"))
    assert fields == {
        "level": "warning",
        "logger": "connector.test",
        "event": "lane held",
        "target": "orders-bus",
        "code": "AccessDenied",
        "entries": 7,
    }


def test_a_console_line_reads_as_a_sentence_with_fields(sink: Sink) -> None:
    sink.configure("console").info("batch sent", target="bus", detail="two words", entries=10)
    (line,) = sink.lines()
    assert (
        re.sub(r"^\S+ ", "", line)
        == 'info    batch sent logger=connector.test target=bus detail="two words" entries=10'
    )


def test_below_the_level_nothing_is_written(sink: Sink) -> None:
    logger = sink.configure(level="warning")
    logger.debug("no")
    logger.info("no")
    logger.error("yes")
    assert sink.fields()["event"] == "yes"


HOSTILE = 'x\n2026-01-01 error forged\r\x1b[2J\x9b31m\u2028\u202e\x7f\ud800 "q"'


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("place", ["event", "value", "key", "nested", "exception", "library"])
def test_no_text_can_forge_a_line_or_drive_the_terminal(sink: Sink, format: log.Format, place: str) -> None:
    logger = sink.configure(format)
    if place == "event":
        logger.info(HOSTILE)
    elif place == "value":
        logger.info("said", detail=HOSTILE)
    elif place == "key":
        logger.info("said", **{HOSTILE: 1})
    elif place == "nested":
        logger.info("said", detail={HOSTILE: [HOSTILE]})
    elif place == "exception":
        try:
            raise RuntimeError(HOSTILE)
        except RuntimeError:
            logger.exception("failed")
    else:
        logging.getLogger("aiobotocore").warning(HOSTILE)
    lines = sink.lines()
    assert [line for line in lines[1:] if not line.startswith("    | ")] == []
    assert re.findall("[\x00-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]", "".join(lines)) == []
    if format == "json":
        assert len(lines) == 1


def test_a_json_value_comes_back_as_it_was(sink: Sink) -> None:
    sink.configure().info("said", detail="Zürich\n\x9b\u2028")
    assert sink.fields()["detail"] == "Zürich\n\x9b\u2028"


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "sasl.password",
        "PASSWD",
        "client_secret",
        "token",
        "aws_session_token",
        "Authorization",
        "api_key",
        "x-api-key",
        "aws_secret_access_key",
        "ssl.key.password",
        "private_key",
        "sasl.jaas.config",
        "Set-Cookie",
        "credentials",
    ],
)
@pytest.mark.parametrize("format", ["json", "console"])
def test_the_value_of_a_secret_key_is_masked_wherever_it_stands(sink: Sink, format: log.Format, key: str) -> None:
    sink.configure(format).info("said", **{key: "hunter2"}, settings={"kafka": [{key: ["hunter2"]}]})
    (line,) = sink.lines()
    assert "hunter2" not in line
    assert line.count("***") == 2


@pytest.mark.parametrize("key", ["key", "token_missing", "topic", "keys"])
def test_what_only_tells_of_a_secret_is_not_masked(sink: Sink, key: str) -> None:
    sink.configure().info("said", **{key: True if key == "token_missing" else "orders"})
    assert sink.fields()[key] in (True, "orders")


def test_secrets_inside_of_text_are_masked(sink: Sink) -> None:
    sink.configure().info("said", detail="GET https://bob:hunter2@registry:8081/x with Bearer eyJhbGciOi.J9 failed")
    assert sink.fields()["detail"] == "GET https://***@registry:8081/x with Bearer *** failed"


def test_a_payload_never_reaches_the_log(sink: Sink) -> None:
    record = Record(TopicPartition("orders", 3), 42, 0, b"payload", b"payload", (("h", b"payload"),))
    event = Event(record, "paid", "bus", {"Detail": "payload"}, "orders-3-42/paid")
    sink.configure().info(
        "said", record=record, event_made=event, key=b"payload", tp=record.tp, both=[event, b"payload"]
    )
    fields = sink.fields()
    assert "payload" not in json.dumps(fields)
    assert fields["record"] == "orders[3]@42"
    assert fields["event_made"] == "<Event>"
    assert fields["key"] == "<7 bytes>"
    assert fields["tp"] == "orders[3]"
    assert fields["both"] == ["<Event>", "<7 bytes>"]


class Colour(Enum):
    RED = "red"


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@dataclass
class Deep:
    inside: Any


def nested(depth: int) -> Any:
    return {"a": nested(depth - 1)} if depth else "end"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Colour.RED, "red"),
        (Path("/etc/x"), "/etc/x"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (1 << 20_000, "<integer of 20001 bits>"),
        (Mute(), "<Mute>"),
        (Deep(1), "<Deep>"),
        (OSError(2, "gone"), "FileNotFoundError: [Errno 2] gone"),
        ({1: (2, {3})}, {"1": [2, [3]]}),
        (nested(20), {"a": {"a": {"a": {"a": {"a": {"a": "…"}}}}}}),
        ("x" * 5000, "x" * 4000 + "… (5000 characters)"),
        (range(500), "<range>"),
        (list(range(500)), list(range(100))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_is_logged_in_plain_and_bounded_form(sink: Sink, value: Any, shown: Any) -> None:
    sink.configure().info("said", value=value)
    assert sink.fields()["value"] == shown


def test_an_exception_is_shown_with_its_trace_inside_of_its_line(sink: Sink) -> None:
    logger = sink.configure()
    try:
        raise RuntimeError("the reply has another length")
    except RuntimeError:
        logger.exception("call failed")
    exception = sink.fields()["exception"]
    assert exception.startswith("Traceback (most recent call last):\n")
    assert exception.endswith("\nRuntimeError: the reply has another length")


def test_libraries_are_heard_from_warning_up(sink: Sink) -> None:
    sink.configure()
    library = logging.getLogger("aiobotocore.endpoint")
    library.debug("no")
    library.info("no")
    library.warning("retrying %s at 100%%", "PutEvents")
    fields = sink.fields()
    assert (fields["logger"], fields["level"]) == ("aiobotocore.endpoint", "warning")
    assert fields["event"] == "retrying PutEvents at 100%"


def test_the_kafka_client_repeats_itself_at_debug_alone(sink: Sink) -> None:
    sink.configure(level="info")
    for _ in range(3):
        logging.getLogger("librdkafka").error("Authentication failed")
    logging.getLogger("aiohttp").error("heard")
    assert sink.fields()["event"] == "heard"


def test_a_library_with_a_wrong_format_string_is_heard_all_the_same(sink: Sink) -> None:
    logging.getLogger().handlers.clear()  # pytest's own would choke on it; the fixture puts them back
    sink.configure()
    logging.getLogger("aiohttp").error("%d tries", "many")
    assert sink.fields()["event"] == "%d tries"


def test_warnings_of_python_become_log_lines(sink: Sink) -> None:
    sink.configure()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    fields = sink.fields()
    assert fields["logger"] == "py.warnings"
    assert "old way" in fields["event"]


def test_configuring_again_moves_all_lines_to_the_new_stream(sink: Sink) -> None:
    first = sink.configure()
    first.info("one")
    logging.getLogger("aiohttp").warning("two")
    old, sink.stream = sink.stream, io.StringIO()
    second = sink.configure()
    second.info("three")
    logging.getLogger("aiohttp").warning("four")
    assert [json.loads(line)["event"] for line in sink.lines()] == ["three", "four"]
    assert [json.loads(line)["event"] for line in old.getvalue().splitlines()] == ["one", "two"]


class Stuck(io.StringIO):
    """A reader that reads nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.reached = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.let_go.wait(30)
        return super().write(text)


def test_a_reader_that_does_not_read_stops_nobody_and_is_told_what_it_missed(sink: Sink) -> None:
    sink.stream = stuck = Stuck()
    logger = sink.configure()
    logger.info("first")
    assert stuck.reached.wait(30)
    for number in range(12_000):
        logger.info("more", number=number)
    stuck.let_go.set()
    found = [json.loads(line) for line in sink.lines()]
    assert found[0]["event"] == "first"
    assert [line["number"] for line in found if line["event"] == "more"] == list(range(10_000))
    assert [line["lines"] for line in found if line["event"].startswith("log lines dropped")] == [2_000]


class Broken(io.StringIO):
    def __init__(self, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.error: Callable[[], Exception] | None = error

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error()
        return super().write(text)


@pytest.mark.parametrize("error", [BrokenPipeError, lambda: OSError(28, "no space"), lambda: ValueError("closed")])
def test_a_stream_that_fails_does_not_end_the_logging(sink: Sink, error: Callable[[], Exception]) -> None:
    sink.stream = broken = Broken(error)
    logger = sink.configure()
    logger.info("lost")
    assert sink.open is not None
    sink.open.close()
    broken.error = None
    logger.info("heard")
    assert sink.fields()["event"] == "heard"


def test_a_line_after_the_end_is_still_written(sink: Sink) -> None:
    logger = sink.configure()
    logger.info("one")
    assert sink.open is not None
    sink.open.close()
    logger.info("two")
    assert [json.loads(line)["event"] for line in sink.lines()] == ["one", "two"]


def test_a_stream_of_few_characters_gets_the_others_escaped(sink: Sink) -> None:
    raw = io.BytesIO()
    lines = log.configure("info", "console", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    sink.open = lines
    structlog.get_logger().info("Zürich")
    lines.close()
    assert b"Z\\xfcrich" in raw.getvalue()
