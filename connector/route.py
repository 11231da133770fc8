"""The route step: one Record becomes the Events that its routes make of it. Pure; failures are values."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from connector.cloudevents import decode_cloudevent
from connector.decode import DECODERS, Decoder, Unready, decode_headers
from connector.formats.registry import schemas_of
from connector.formats.schemas import Schemas
from connector.mapping import (
    Locate,
    MappingFailed,
    Match,
    Names,
    Problem,
    compile_condition,
    compile_each,
    compile_map,
    compile_match,
)
from connector.model import FIRST_ID, Event, Headers, Record, Undecodable
from connector.settings import RouteSettings, Settings, TopicSettings
from connector.targets import REGISTRY
from connector.targets.contract import Fed, Kind, Target

Policy = Literal["dead_letter", "skip", "hold"]
_STEM: Final = re.compile(rb"([A-Za-z0-9._-]{1,400})/.*", re.DOTALL)
_STRICTEST: Final[tuple[Policy, ...]] = ("hold", "dead_letter", "skip")


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a record could not be decoded."""

    stage: Literal["VALUE_CONVERTER", "KEY_CONVERTER"]
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An event that could not be made: `stage` in Kafka Connect's words, `reason` without a value of the record."""

    event: Event
    stage: Literal["VALUE_CONVERTER", "KEY_CONVERTER", "TRANSFORMATION"]
    code: str
    reason: str
    policy: Policy


@dataclass(slots=True)
class Routed:
    """What became of one record. Nothing in it at all: no route took it (or it is a skipped tombstone).

    `unready` is the schema without which the record cannot be read yet; then nothing else is in it.
    """

    matched: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    tombstone: bool = False
    unready: Unready | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One compiled route."""

    settings: RouteSettings
    match: Match | None
    when: Callable[[Names], bool] | None
    each: Callable[[Names], Sequence[Any]] | None
    map: Callable[[Names], dict[str, Any]]
    topics: tuple[re.Pattern[str], ...]

    @property
    def name(self) -> str:
        """The route's name in the config."""
        return self.settings.name

    def takes(self, topic: str) -> bool:
        """Whether this route reads the topic."""
        return any(pattern.fullmatch(topic) for pattern in self.topics)


class _Way(NamedTuple):
    """How records of one topic go: by which routes, and how they are read.

    `outside` are conditions of which one must hold for any route to take a record, and which can be told before it is
    decoded; None where a route has no such condition.
    """

    routes: tuple[Route, ...]
    fallbacks: tuple[Route, ...]
    format: str
    key_format: str
    tombstones: bool
    outside: tuple[Callable[[Names], bool], ...] | None


class Routes:
    """All routes of a config, in file order.

    Invariant: every matching route runs, up to and including the first `final` one; a `fallback` runs only where no
    other route of the topic matched or failed.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        topic: Callable[[str], TopicSettings],
        id_prefix: str = "",
        schemas: Schemas | None = None,
    ) -> None:
        self.routes: Final = tuple(routes)
        self.by_name: Final = {route.name: route for route in routes}
        self.delays: Final = {route.name: route.settings.delay for route in routes if route.settings.delay}
        self.schemas: Final = schemas
        self._decoders: Mapping[str, Decoder] = {**DECODERS, **(schemas.decoders if schemas is not None else {})}
        self._topic = topic
        self._prefix = id_prefix
        self._of: dict[str, tuple[Route, ...]] = {}
        self._ways: dict[str, _Way] = {}

    def knowing(self, schemas: Schemas | None) -> "Routes":
        """The same routes with the schemas that others have fetched."""
        return Routes(self.routes, self._topic, self._prefix, schemas)

    def of(self, topic: str) -> tuple[Route, ...]:
        """The routes that read this topic."""
        found = self._of.get(topic)
        if found is None:
            found = self._of[topic] = tuple(route for route in self.routes if route.takes(topic))
        return found

    def feeds(self, topic: str, target: str) -> bool:
        """Whether a record of this topic can become an event of this target."""
        return any(target in route.settings.targets for route in self.of(topic))

    def _way(self, topic: str) -> _Way:
        found = self._ways.get(topic)
        if found is None:
            routes, read = self.of(topic), self._topic(topic)
            outside = [route.match.outside for route in routes if route.match is not None]
            told = tuple(each for each in outside if each is not None)
            found = self._ways[topic] = _Way(
                tuple(route for route in routes if not route.settings.fallback),
                tuple(route for route in routes if route.settings.fallback),
                read.format,
                read.key_format,
                read.tombstones != "skip",
                told if len(told) == len(routes) else None,
            )
        return found

    def route(self, record: Record) -> Routed:
        """Make of a record what its routes say. It is decoded only where a route may take it."""
        routed = Routed()
        way = self._way(record.tp.topic)
        if record.value is None and not way.tombstones:
            routed.tombstone = True
            return routed
        names = undecoded(record)
        if way.outside is not None and not any(told(names) for told in way.outside):
            return routed
        unread = self._fill(names, record, way)
        if unread is None:
            self._run_all(way.routes, record, names, routed)
            if not routed.matched and not routed.failures:
                self._run_all(way.fallbacks, record, names, routed)
        elif isinstance(unread, Unready):
            routed.unready = unread
        else:
            routed.failures.append(self._unread(record, unread, self.of(record.tp.topic)))
        return routed

    def read(self, record: Record) -> Names | Unread | Unready:
        """Decode key, headers and value: what conditions and expressions see of a record."""
        names = undecoded(record)
        return self._fill(names, record, self._way(record.tp.topic)) or names

    def _fill(self, names: Names, record: Record, way: _Way) -> Unread | Unready | None:
        """Decode key and value; what stands in the way."""
        names.value = value = self._decoded(record.value, way.format, record.headers)
        if isinstance(value, Undecodable):
            return Unread("VALUE_CONVERTER", value.code, f"the value is {value.reason}")
        names.key = key = self._decoded(record.key, way.key_format, record.headers)
        if isinstance(key, Undecodable):
            return Unread("KEY_CONVERTER", key.code, f"the key is {key.reason}")
        return value if isinstance(value, Unready) else key if isinstance(key, Unready) else None

    def _decoded(self, data: bytes | None, format: str, headers: Headers) -> Any:
        if data is not None:
            return self._decoders[format](data, headers)
        if format == "cloudevents" and any(name.lower().startswith("ce_") for name, _ in headers):
            return decode_cloudevent(None, headers)  # an event without data is no tombstone of nothing
        return None

    def _unread(self, record: Record, unread: Unread, routes: Sequence[Route]) -> Failure:
        """One failure for a record that cannot be read, not one a route; the strictest policy of them holds."""
        policy = min((route.settings.on_error for route in routes), key=_STRICTEST.index)
        event = self._event(record, routes[0].name, "", {}, None)
        return Failure(event, unread.stage, unread.code, unread.reason, policy)

    def _run_all(self, routes: Sequence[Route], record: Record, names: Names, routed: Routed) -> None:
        for route in routes:
            if route.match is not None and not route.match.test(names):
                continue  # asked here and not in `_run`: most routes say no, and a call each is what they cost
            if self._run(route, record, names, routed) and route.settings.final:
                break

    def _run(self, route: Route, record: Record, names: Names, routed: Routed) -> bool:
        """Run a route whose pattern matches; True where it took the record, or failed while it was asked."""
        settings = route.settings
        targets = settings.targets
        try:
            if route.when is not None and not route.when(names):
                return False
            routed.matched.append(route.name)
            items = None if route.each is None else route.each(names)
        except MappingFailed as error:
            event = self._event(record, route.name, targets[0] if len(targets) == 1 else "", {}, None)
            routed.failures.append(_failure(event, error, settings.on_error))
            return True
        if items is None:
            self._make(route, record, names, None, routed)
        else:
            for index, item in enumerate(items):
                names.item, names.index = item, index
                self._make(route, record, names, index, routed)
        return True

    def _make(self, route: Route, record: Record, names: Names, index: int | None, routed: Routed) -> None:
        try:
            fields = route.map(names)
        except MappingFailed as error:
            targets = route.settings.targets
            event = self._event(record, route.name, targets[0] if len(targets) == 1 else "", {}, index)
            routed.failures.append(_failure(event, error, route.settings.on_error))
            return
        for target in route.settings.targets:
            routed.events.append(self._event(record, route.name, target, fields, index))

    def _event(self, record: Record, route: str, target: str, fields: Mapping[str, Any], index: int | None) -> Event:
        tp = record.tp
        stem = (record.headers and first_stem(record)) or f"{self._prefix}{tp.topic}-{tp.partition}-{record.offset}"
        own = f"{stem}/{route}"
        return Event(record, route, target, fields, own if index is None else f"{own}/{index}")

    def unrouted(self, record: Record, policy: Policy) -> Failure:
        """The failure that stands for a record which no route took."""
        event = self._event(record, "", "", {}, None)
        return Failure(event, "TRANSFORMATION", "Unrouted", "no route takes this record", policy)


def undecoded(record: Record) -> Names:
    """What can be seen of a record before it is decoded."""
    tp = record.tp
    return Names(tp.topic, tp.partition, record.offset, record.timestamp_ms, None, decode_headers(record.headers), None)


def first_stem(record: Record) -> str:
    """What the ids of a replayed record begin with, `topic-partition-offset` of its first time; else nothing."""
    for name, value in reversed(record.headers):
        if name == FIRST_ID:
            found = _STEM.fullmatch(value or b"")
            return found[1].decode() if found else ""
    return ""


def _failure(event: Event, error: MappingFailed, policy: Policy) -> Failure:
    return Failure(event, "TRANSFORMATION", error.code, f"{error.where}: {error.reason}", policy)


def feed(targets: Mapping[str, Target], settings: Settings) -> None:
    """Show each target that asks for it the maps of the routes that feed it."""
    for name, target in targets.items():
        if isinstance(target, Fed):
            target.fed_by([route.map for route in settings.routes if name in route.targets])


def compile_routes(
    settings: Settings, locate: Locate, registry: Mapping[str, Kind] = REGISTRY
) -> tuple[Routes | None, list[Problem]]:
    """Compile every route once; None where a problem is an error."""
    report: list[Problem] = []
    routes = [_compile(settings, i, locate, report, registry) for i in range(len(settings.routes))]
    if any(problem.level == "error" for problem in report):
        return None, report
    return Routes(
        [route for route in routes if route], settings.topic, settings.kafka.id_prefix, schemas_of(settings)
    ), report


def _compile(
    settings: Settings, at: int, locate: Locate, report: list[Problem], registry: Mapping[str, Kind]
) -> Route | None:
    route = settings.routes[at]
    path = ("routes", at)
    names = settings.vars
    match = when = each = None
    if route.match is not None:
        match = compile_match(route.match, (*path, "match"), locate, report)
    if route.when is not None:
        when = compile_condition(route.when, (*path, "when"), locate, report, names)
    if route.each is not None:
        each = compile_each(route.each, (*path, "each"), locate, report, names)
    mapped = None
    found: list[Problem] = []
    kinds = {settings.targets[name].type: name for name in route.targets if name in settings.targets}
    for kind in kinds:
        mapped = compile_map(
            route.map,
            (*path, "map"),
            locate,
            found,
            names,
            (registry[kind].map or None) if kind in registry else None,
            each=route.each is not None,
        )
    report.extend(dict.fromkeys(found))  # what is wrong for two kinds of target is said once
    if mapped is None:
        return None
    topics = tuple(re.compile(topic if topic.startswith("^") else re.escape(topic)) for topic in route.topics)
    return Route(route, match, when, each, mapped, topics)
