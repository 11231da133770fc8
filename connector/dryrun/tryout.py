"""A dry run: what the routes make of one record, and what each target would send of it, or why not. Sends nothing.

What matched and what failed is the daemon's own `Routes.route`; only the reasons are found here, on top of it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from connector.formats.registry import fetched_now
from connector.mapping import Locate, MappingFailed, Match, Names, Path, Position, compile_condition
from connector.mapping.lex import Mistake
from connector.mapping.parse import parse
from connector.mapping.place import Place
from connector.mapping.tree import Logic
from connector.model import Event, Limits, Record, Unpublishable
from connector.route import Failure, Route, Routed, Routes, compile_routes, undecoded
from connector.settings import Loaded, Settings
from connector.targets import REGISTRY
from connector.targets.contract import Kind


@dataclass(frozen=True, slots=True)
class Sending:
    """An event as its target would send it. `body` is text or JSON values that stand for the exact bytes."""

    event: Event
    kind: str
    body: Any
    size: int
    limits: Limits
    group: str = ""
    unique: str | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an event cannot be made, and what the config says about it. `path` is a field of the target's API."""

    event: Event
    code: str
    reason: str
    policy: str
    path: str = ""


Outcome = Literal["matched", "failed", "no match", "not asked"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one route says of the record. `why` is the first condition that failed, without a value of the record."""

    route: str
    outcome: Outcome
    why: str = ""
    where: Position | None = None
    sendings: tuple[Sending, ...] = ()
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """All of it: the answers of the topic's routes in file order, what is wrong with the record as a whole, a note."""

    record: Record
    answers: tuple[Answer, ...]
    trouble: Trouble | None = None
    note: str = ""

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Everything that keeps an event from being made."""
        whole = () if self.trouble is None else (self.trouble,)
        return (*whole, *(trouble for answer in self.answers for trouble in answer.troubles))

    @property
    def handled(self) -> bool:
        """Whether every event could be made, or the record was let go by a rule of the config."""
        return not self.troubles


Part = tuple[str, Position, Callable[[Names], bool]]


class DryRun:
    """The routes and targets of a config, never opened: `prepare` is all that a target is asked."""

    def __init__(
        self, settings: Settings, routes: Routes, locate: Locate, kinds: Mapping[str, Kind] = REGISTRY
    ) -> None:
        self.settings: Final = settings
        self.routes: Final = routes
        self._locate = locate
        self._kinds = {name: kinds[target.type] for name, target in settings.targets.items()}
        self._targets = {name: self._kinds[name].make(name, target) for name, target in settings.targets.items()}
        self._place = {route.name: index for index, route in enumerate(settings.routes)}
        self._parts: dict[str, tuple[Part, ...]] = {}

    @classmethod
    def of_config(cls, loaded: Loaded) -> Self:
        """Of a config without errors."""
        if loaded.settings is None:
            raise ValueError("a config with errors cannot be tried")
        routes, problems = compile_routes(loaded.settings, loaded.locate)
        if routes is None:
            raise ValueError("\n".join(str(problem) for problem in problems))
        return cls(loaded.settings, routes, loaded.locate)

    def of(self, record: Record) -> Trial:
        """Try one record. Where its schema is not here, the registry is asked for it."""
        unavailable = fetched_now(self.routes.schemas, lambda: self.routes.route(record).unready)
        if unavailable:
            failure = self.routes.unrouted(record, "hold")
            return Trial(record, (), Trouble(failure.event, "SchemaUnavailable", unavailable, "wait"))
        routed = self.routes.route(record)
        if routed.tombstone:
            note = f"a tombstone: topics.{record.tp.topic}.tombstones is skip, so nothing is made of it"
            return Trial(record, (), note=note)
        whole = next((failure for failure in routed.failures if failure.stage != "TRANSFORMATION"), None)
        if whole is not None:
            return Trial(record, (), _trouble(whole))
        answers = tuple(self._answers(record, routed))
        if routed.matched or routed.failures:
            return Trial(record, answers)
        policy = self.settings.unrouted
        if policy == "skip":
            return Trial(record, answers, note="no route takes this record; unrouted is skip, so it is let go")
        return Trial(record, answers, _trouble(self.routes.unrouted(record, policy)))

    def _answers(self, record: Record, routed: Routed) -> Iterator[Answer]:
        read = self.routes.read(record)
        # it was routed all the same: no route wants it, whatever its value is
        names = read if isinstance(read, Names) else undecoded(record)
        failed = {failure.event.route: failure for failure in routed.failures}
        took = {*routed.matched, *failed}
        last = ""
        for route in self.routes.of(record.tp.topic):
            if last:
                yield Answer(route.name, "not asked", f"`{last}` took the record and is final")
            elif route.name in routed.matched:
                yield self._made(route, routed)
            elif route.name in failed:
                failure = failed[route.name]
                yield Answer(route.name, "failed", "a condition failed", troubles=(_trouble(failure),))
            elif route.settings.fallback and took:
                yield Answer(route.name, "not asked", "it is a fallback, and another route took the record")
            else:
                why, where = self._why(route, names)
                yield Answer(route.name, "no match", why, where)
            if route.settings.final and route.name in took:
                last = route.name

    def _why(self, route: Route, names: Names) -> tuple[str, Position | None]:
        """The first condition of a route that does not hold."""
        path: Path = ("routes", self._place[route.name])
        if isinstance(route.match, Match) and (reason := route.match.explain(names)) is not None:
            return reason.words, self._locate(reason.path)
        for text, where, holds in self._conditions(route):
            try:
                if not holds(names):
                    return f"`{text}` is false", where
            except MappingFailed:
                break  # the whole was false without an error, so this part does not stand for it
        return f"`{_bare(route.settings.when or '')}` is false", self._locate((*path, "when"))

    def _conditions(self, route: Route) -> tuple[Part, ...]:
        """The parts of `when` that `&&` joins, each with its place, so that the one that is false can be named."""
        if route.name not in self._parts:
            path: Path = ("routes", self._place[route.name], "when")
            self._parts[route.name] = tuple(self._split(route.settings.when or "", path))
        return self._parts[route.name]

    def _split(self, text: str, path: Path) -> Iterator[Part]:
        braced = text.strip().startswith("${")
        try:
            root, _ = parse(text, text.index("${") + 2 if braced else 0, braced)
        except Mistake:  # the route compiled, so this is no `when` at all
            return
        if not isinstance(root, Logic) or root.operator != "&&":
            return
        place = Place(text, path, self._locate)
        for node in root.operands:
            part = text[node.start : node.end]
            holds = compile_condition(part, path, self._locate, [], self.settings.vars)
            if holds is None:  # a part that begins inside a bracket cannot stand alone
                return
            yield part, place.at(node.start), holds

    def _made(self, route: Route, routed: Routed) -> Answer:
        sendings: list[Sending] = []
        troubles = [_trouble(failure) for failure in routed.failures if failure.event.route == route.name]
        for event in routed.events:
            if event.route != route.name:
                continue
            target, kind = self._targets[event.target], self._kinds[event.target]
            try:
                prepared = target.prepare(event)
            except Unpublishable as error:
                troubles.append(Trouble(event, error.code, error.reason, route.settings.on_error, error.path))
                continue
            body = kind.show(prepared.body)
            name = self.settings.targets[event.target].type
            sendings.append(Sending(event, name, body, prepared.size, target.limits, prepared.group, prepared.unique))
        empty = "" if sendings or troubles else "`each` gives no element"
        return Answer(route.name, "matched", empty, sendings=tuple(sendings), troubles=tuple(troubles))


def _bare(text: str) -> str:
    return text.strip().removeprefix("${").removesuffix("}").strip() if text.strip().startswith("${") else text.strip()


def _trouble(failure: Failure) -> Trouble:
    return Trouble(failure.event, failure.code, failure.reason, failure.policy)
