"""Route tests: a record in, the events of each route out, held against what the test expects. Sends nothing."""

import base64
import difflib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from connector.dryrun.encode import Unwritable, record_of
from connector.dryrun.tryout import DryRun, Trial, Trouble
from connector.formats.schemas import REGISTRY_FORMATS
from connector.loading.checks import tests_only, usual_topic
from connector.loading.load import compiled, in_order, load
from connector.loading.yaml_source import SUFFIXES, inside, parse
from connector.mapping import Position
from connector.settings import THE_RECORD, EventSettings, Loaded, Settings, TestSettings, TopicSettings


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one test: `diff` are the lines that show the difference, none where it passed."""

    name: str
    where: Position
    diff: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.diff


def beside(paths: Sequence[Path]) -> list[Path]:
    """The files of route tests: `orders_test.yaml` beside `orders.yaml`, every `*_test.yaml` of a directory."""
    found: list[Path] = []
    for path in paths:
        if os.path.isdir(path):  # asks without raising, as does isfile: `load` says what cannot be read
            found += [one for one in inside(path) if one.stem.endswith("_test")]
        elif path.suffix in SUFFIXES:
            names = [path.with_name(f"{path.stem}_test{suffix}") for suffix in SUFFIXES]
            found += [one for one in names if os.path.isfile(one)]
    return [one for one in dict.fromkeys(found) if one not in paths]


def load_with_tests(paths: Sequence[Path], environ: Mapping[str, str]) -> Loaded:
    """A config with the tests beside it, compiled; a test file that holds more than tests is an error."""
    files = beside(paths)
    loaded = compiled(load([*paths, *files], environ))
    tests = [*files, *(path for path in paths if path.stem.endswith("_test"))]
    trees = (parse(str(file), loaded.texts.get(str(file), ""))[0] for file in tests)
    found = [problem for tree in trees if tree is not None for problem in tests_only(tree)]
    if not found:
        return replace(loaded, settings=_decoded(loaded.settings))
    return replace(loaded, problems=in_order([*loaded.problems, *found]), settings=None)


def _decoded(settings: Settings | None) -> Settings | None:
    """The same settings for records as tests write them: what stands in a registry's format is written decoded."""
    if settings is None:
        return None
    topics = {name: topic.model_copy(update=_plain_formats(topic)) for name, topic in settings.topics.items()}
    return settings.model_copy(update={"topics": topics})


def _plain_formats(topic: TopicSettings) -> dict[str, str]:
    formats = {"format": topic.format, "key_format": topic.key_format}
    return {key: "json" if format in REGISTRY_FORMATS else format for key, format in formats.items()}


def run(loaded: Loaded, dry_run: DryRun, clock: Callable[[], float] = time.perf_counter) -> list[Verdict]:
    """Run every test of a config; `clock` tells seconds."""
    verdicts = []
    for index, test in enumerate(dry_run.settings.tests):
        began = clock()
        diff = _diff(test, dry_run, Path(loaded.locate(("tests", index, "record", "file")).file).parent)
        where = loaded.locate(("tests", index, "name"))
        verdicts.append(Verdict(test.name, where, tuple(diff), clock() - began))
    return verdicts


def told(verdict: Verdict) -> str:
    """A verdict for a person."""
    if verdict.passed:
        return f"passed  {verdict.name}"
    return "\n".join([f"FAILED  {verdict.name}", f"  at {verdict.where}", *(f"  {line}" for line in verdict.diff)])


def _diff(test: TestSettings, dry_run: DryRun, folder: Path) -> list[str]:
    settings = dry_run.settings
    topics = list(dict.fromkeys(topic for route in settings.routes for topic in route.topics))
    topic = test.record.topic or usual_topic(topics)
    if topic is None:
        raise ValueError("a config that was checked names the topic of every test")
    try:
        record = record_of(test.record, topic, settings.topic(topic), folder)
    except Unwritable as error:
        return [f"the record cannot be made: {error}"]
    trial = dry_run.of(record)
    made = _made(trial)
    why = {answer.route: f"{answer.outcome}: {answer.why}" for answer in trial.answers if answer.why}
    lines: list[str] = []
    for name in dict.fromkeys((*test.expect, *made)):
        reason = why.get(name) or trial.note or f"the topic {topic} is not one of its topics"
        lines += _difference(name, test.expect.get(name, ()), made.get(name, []), reason)
    return lines


def _made(trial: Trial) -> dict[str, list[Any]]:
    """What each route made: an event's fields, or the Trouble that kept it from being made for some target."""
    made: dict[str, list[Any]] = {}
    if trial.trouble is not None:
        made[THE_RECORD] = [trial.trouble]
    for answer in trial.answers:
        events: dict[str, Any] = {sending.event.id: plain(sending.event.fields) for sending in answer.sendings}
        events |= {trouble.event.id: trouble for trouble in answer.troubles}
        if events:
            made[answer.route] = [events[own] for own in sorted(events, key=_number)]
    return made


def _number(own: str) -> int:
    """The index that `each` has put at the end of an id; ids of one route differ in nothing else."""
    last = own.rpartition("/")[2]
    return int(last) if last.isdigit() else 0


def _difference(name: str, expected: Sequence[EventSettings], made: Sequence[Any], reason: str) -> list[str]:
    """Lines that tell what a route was expected to make from what it made; none where that is the same."""
    title = f"route {name}" if name != THE_RECORD else "the record as a whole"
    if not expected and made:
        return [f"{title}: nothing was expected", *(line for one in made for line in _marked("+", one))]
    if expected and not made:
        said = f"{title}: nothing was made" if name == THE_RECORD else f"{title}: made nothing: {reason}"
        return [said, *(line for one in expected for line in _marked("-", _wanted(one)))]
    lines: list[str] = []
    for index in range(max(len(expected), len(made))):
        event = f"{title}, event {index + 1}" if max(len(expected), len(made)) > 1 else title
        if index >= len(made):
            lines += [f"{event}: not made", *_marked("-", _wanted(expected[index]))]
        elif index >= len(expected):
            lines += [f"{event}: not expected", *_marked("+", made[index])]
        else:
            lines += _compared(event, expected[index], made[index])
    return lines


def _compared(title: str, expected: EventSettings, made: Any) -> list[str]:
    wanted = _wanted(expected)
    if expected.error is not None or isinstance(made, Trouble):
        if isinstance(made, Trouble) and made.code == expected.error:
            return []
        return [f"{title}: - expected, + made", *_marked("-", wanted), *_marked("+", made)]
    found = made if expected.equals is not None else reduced(wanted, made)
    if same(wanted, found):
        return []
    before, after = _lines(wanted), _lines(found)
    diff = [line for line in difflib.unified_diff(before, after, lineterm="", n=3) if not line.startswith(_HEADS)]
    return [f"{title}: - expected, + made", *diff]


_HEADS: Final = ("---", "+++", "@@")


def _wanted(expected: EventSettings) -> Any:
    if expected.error is not None:
        return f"error {expected.error}"
    return expected.equals if expected.equals is not None else expected.contains


def _marked(mark: str, made: Any) -> list[str]:
    return [f"{mark}{line}" for line in _lines(made)]


def _lines(made: Any) -> list[str]:
    if isinstance(made, Trouble):
        field = f"{made.path} " if made.path else ""
        return [f"error {made.code}: {field}{made.reason}"]
    if isinstance(made, str) and made.startswith("error "):
        return [made]
    return json.dumps(made, ensure_ascii=False, indent=2, sort_keys=True, default=str).splitlines()


def plain(value: Any) -> Any:
    """An event's fields as a person writes them in YAML: times as RFC 3339 in UTC, bytes in base64."""
    if isinstance(value, Mapping):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [plain(below) for below in value]
    if isinstance(value, datetime):
        time = value.astimezone(UTC) if value.utcoffset() is not None else value
        whole = "seconds" if not time.microsecond else "milliseconds" if not time.microsecond % 1000 else "microseconds"
        return time.isoformat(timespec=whole).replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value


def same(expected: Any, made: Any) -> bool:
    """Equality of JSON: 1 is 1.0, but true is not 1."""
    if isinstance(expected, bool) or isinstance(made, bool):
        return expected is made
    if isinstance(expected, dict) and isinstance(made, dict):
        return expected.keys() == made.keys() and all(same(expected[key], made[key]) for key in expected)
    if isinstance(expected, list) and isinstance(made, list):
        return len(expected) == len(made) and all(map(same, expected, made))
    return bool(expected == made)


def reduced(expected: Any, made: Any) -> Any:
    """What `contains` looks at: of each map the keys that are expected; lists whole, element by element."""
    if isinstance(expected, dict) and isinstance(made, dict):
        return {key: reduced(expected[key], made[key]) for key in expected if key in made}
    if isinstance(expected, list) and isinstance(made, list):
        return [*(map(reduced, expected, made)), *made[len(expected) :]]
    return made
