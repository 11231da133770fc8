"""Finds what cannot work although each value is right by itself, and warns of what works otherwise than one may think.

A check is a function over `Parts` that yields problems. It runs on what could be read: a part that is wrong in itself
is None or left out, and was complained of already.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal

from connector.formats.schemas import REGISTRY_FORMATS, extra_missing
from connector.loading.complaints import nearest
from connector.loading.yaml_source import Node
from connector.mapping.problem import Path, Problem, spell
from connector.settings import PATTERN_MARK, THE_RECORD, ClusterSettings, RouteSettings, Settings
from connector.targets.contract import Kind
from connector.targets.settings import TargetSettings

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_USUAL_CALL: Final = 0.05
"""Seconds that a call to a service in the same region takes, for the rate that an ordered target reaches."""
_MAX_POLL_DEFAULT: Final = 300_000
"""librdkafka's default of max.poll.interval.ms."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What could be read of a config: `settings` has neither targets nor routes, which stand beside it."""

    settings: Settings | None
    targets: Mapping[str, TargetSettings | None]
    routes: Mapping[int, RouteSettings]
    tree: Node

    def problem(
        self, code: str, path: Path, message: str, mend: str = "", level: Literal["error", "warning"] = "error"
    ) -> Problem:
        """A problem at a path."""
        return Problem(code, self.tree.locate(path), spell(path), message, mend, level)

    @property
    def whole(self) -> bool:
        """Whether every route could be read."""
        routes = self.tree.branch.get("routes")
        return routes is not None and isinstance(routes.data, tuple) and len(routes.data) == len(self.routes)

    @property
    def variables(self) -> dict[str, Any]:
        """The `vars`, whatever else is wrong."""
        found = self.tree.plain_at(("vars",))
        return found if isinstance(found, dict) else {}

    def given(self, path: Path) -> bool:
        """Whether the config says something at this path."""
        return self.tree.find(path) is not None

    def first_given(self, *paths: Path) -> Path:
        """The first of these paths at which the config says something."""
        return next((path for path in paths if self.given(path)), paths[0])


def check(parts: Parts, kinds: Mapping[str, Kind], owned: Mapping[str, str]) -> Iterator[Problem]:
    """Every impossible combination, then the warnings."""
    yield from _presence(parts)
    yield from _names(parts)
    yield from _topics(parts)
    yield from _dead_letters(parts)
    yield from _batches(parts)
    yield from _times(parts)
    yield from _limits(parts)
    yield from _properties(parts, owned)
    yield from _topic_settings(parts)
    yield from _formats(parts)
    yield from _values(parts, kinds)
    yield from _maps(parts, kinds)
    yield from _dry_runs(parts)
    yield from _tests(parts)
    yield from _coupled(parts)
    yield from _ordered(parts)
    yield from _retired(parts, kinds)
    yield from _unused(parts)
    yield from _warned(parts, kinds)


def _presence(parts: Parts) -> Iterator[Problem]:
    routes = parts.tree.branch.get("routes")
    if routes is not None and routes.data == ():
        yield parts.problem("CFG011", ("routes",), "there is no route", "add one: name, topics, targets, map")
    targets = parts.tree.branch.get("targets")
    if targets is not None and targets.data == {}:
        yield parts.problem("CFG011", ("targets",), "there is no target", "add one: {name: {type: …}}")


def _names(parts: Parts) -> Iterator[Problem]:
    first: dict[str, Path] = {}
    for index, route in parts.routes.items():
        path: Path = ("routes", index, "name")
        if route.name in first:
            message = (
                f"two routes are called `{route.name}`; the first stands at {parts.tree.locate(first[route.name])}"
            )
            yield parts.problem("CFG020", path, message, "give each its own name: ids and metrics are made of it")
        else:
            first[route.name] = path
        for place, target in enumerate(route.targets):
            where: Path = ("routes", index, "targets", place)
            if target not in parts.targets:
                close = nearest(target, parts.targets)
                mend = f"did you mean `{close}`?" if close else f"the targets are {', '.join(parts.targets) or 'none'}"
                yield parts.problem("CFG021", where, f"no target is called `{target}`", mend)
            elif target in route.targets[:place]:
                yield parts.problem("CFG021", where, f"`{target}` stands twice in one route", "name it once")
        if route.fallback and route.match is not None:
            message = "a fallback route takes what no other route took, so it cannot have a `match`"
            yield parts.problem("CFG023", ("routes", index, "match"), message, "take `match` or `fallback` away")


def _topics(parts: Parts) -> Iterator[Problem]:
    for index, route in parts.routes.items():
        for place, topic in enumerate(route.topics):
            yield from _topic(parts, topic, ("routes", index, "topics", place))
    for topic in parts.settings.topics if parts.settings else ():
        yield from _topic(parts, topic, ("topics", topic))


def _topic(parts: Parts, topic: str, path: Path) -> Iterator[Problem]:
    if not topic.startswith(PATTERN_MARK):
        if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
            message = "a topic name has letters, digits, `.`, `_` and `-` only, at most 249"
            yield parts.problem("CFG022", path, message, f"if a pattern is meant, begin it with {PATTERN_MARK}")
        return
    try:
        re.compile(topic)
    except re.error as error:
        where = f" at character {error.pos + 1}" if error.pos is not None else ""
        message = f"the topic pattern does not compile: {error.msg}{where}"
        yield parts.problem("CFG022", path, message, r"write for example '^shop\.returns\..*'")


def _takes(topic: str, name: str) -> bool:
    """Whether a topic of the config, name or pattern, takes this topic name."""
    if not topic.startswith(PATTERN_MARK):
        return topic == name
    try:
        return re.fullmatch(topic, name) is not None
    except re.error:
        return False


def _meet(one: str, other: str) -> bool:
    """Whether two topics of the config surely take a topic in common."""
    return one == other or _takes(one, other) or _takes(other, one)


def _dead_letters(parts: Parts) -> Iterator[Problem]:
    if not parts.given(("dead_letters",)):
        mend = "add dead_letters: {topic: …}, or write skip or hold"
        message = "says dead_letter, but the config has no `dead_letters` topic"
        if parts.settings is not None and parts.settings.unrouted == "dead_letter":
            yield parts.problem("CFG024", ("unrouted",), f"`unrouted` {message}", mend)
        silent: list[str] = []
        for index, route in parts.routes.items():
            for key, policy in (("on_error", route.on_error), ("on_reject", route.on_reject)):
                if policy == "dead_letter" and parts.given(("routes", index, key)):
                    yield parts.problem("CFG024", ("routes", index, key), f"`{key}` {message}", mend)
                elif policy == "dead_letter":
                    silent.append(f"{spell(('routes', index))}.{key}")
        if silent:
            more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
            message = f"{silent[0]}{more} is dead_letter by default, but the config has no `dead_letters` topic"
            yield parts.problem("CFG024", ("routes",), message, mend)
    letters = parts.settings.dead_letters if parts.settings is not None else None
    for index, route in parts.routes.items():
        if route.dead_letter_topic is not None and not parts.given(("dead_letters",)):
            message = "`dead_letter_topic` goes with `dead_letters`, which the config does not have"
            path: Path = ("routes", index, "dead_letter_topic")
            yield parts.problem("CFG024", path, message, "add dead_letters: {topic: …}")
    if letters is None or (letters.kafka is not None and parts.settings is not None and _elsewhere(parts.settings)):
        return
    names = {letters.topic, *(one.dead_letter_topic for one in parts.routes.values() if one.dead_letter_topic)}
    for index, route in parts.routes.items():
        for place, topic in enumerate(route.topics):
            for name in sorted(names):
                if _takes(topic, name):
                    message = f"this route would consume `{name}`, the dead-letter topic, and feed on its own failures"
                    mend = "name another dead-letter topic, or keep the pattern from taking it"
                    yield parts.problem("CFG025", ("routes", index, "topics", place), message, mend)


def _elsewhere(settings: Settings) -> bool:
    """Whether the dead letters go to another cluster, as far as the addresses tell."""
    here = set(settings.kafka.bootstrap_servers.replace(" ", "").split(","))
    return here.isdisjoint(settings.dead_letter_cluster.bootstrap_servers.replace(" ", "").split(","))


def _batches(parts: Parts) -> Iterator[Problem]:
    if parts.settings is None:
        return
    limits = parts.settings.limits
    for name, target in parts.targets.items():
        if target is None:
            continue
        path: Path = ("targets", name, "batch")
        if target.batch.max_entries is not None and target.batch.max_entries > limits.max_open_records:
            message = (
                f"a batch of {target.batch.max_entries} entries can never fill: only {limits.max_open_records} records "
                "may be open"
            )
            mend = "lower batch.max_entries or raise limits.max_open_records"
            yield parts.problem("CFG026", (*path, "max_entries"), message, mend)
        if target.batch.max_bytes is not None and target.batch.max_bytes > limits.max_open_bytes:
            message = (
                f"a batch of {target.batch.max_bytes} bytes can never fill: only {limits.max_open_bytes} bytes of "
                "records may be open"
            )
            mend = "lower batch.max_bytes or raise limits.max_open_bytes"
            yield parts.problem("CFG026", (*path, "max_bytes"), message, mend)
        one = limits.max_open_per_partition
        if target.batch.max_entries is not None and one < target.batch.max_entries <= limits.max_open_records:
            message = (
                f"a batch of {target.batch.max_entries} entries fills only with records of several partitions: of one, "
                f"{one} may be open, and these wait {target.batch.linger:g}s for others"
            )
            mend = "lower batch.max_entries or raise limits.max_open_per_partition"
            yield parts.problem("CFG026", (*path, "max_entries"), message, mend, "warning")
        if target.retry.initial > target.retry.max:
            message = f"the first pause, {target.retry.initial:g}s, is longer than the longest, {target.retry.max:g}s"
            yield parts.problem("CFG027", ("targets", name, "retry"), message, "raise retry.max")


def _times(parts: Parts) -> Iterator[Problem]:
    settings = parts.settings
    if settings is None:
        return
    drain, stop = settings.drain_timeout, settings.shutdown_timeout
    if drain >= stop:
        message = f"the drain, {drain:g}s, leaves the stop, {stop:g}s, no time for its last commit"
        place = parts.first_given(("drain_timeout",), ("shutdown_timeout",))
        yield parts.problem("CFG027", place, message, "keep drain_timeout below shutdown_timeout")
    name = "max.poll.interval.ms"
    text = settings.kafka.properties.get(name, str(_MAX_POLL_DEFAULT))
    if not text.isdecimal():
        yield parts.problem("CFG027", ("kafka", "properties", name), f"{name} is milliseconds", 'write "300000"')
    elif drain >= int(text) / 1000:
        message = (
            f"the drain, {drain:g}s, outlasts {name}, {int(text) / 1000:g}s: the group would throw this member out"
        )
        place = parts.first_given(("kafka", "properties", name), ("drain_timeout",))
        yield parts.problem("CFG027", place, message, f"keep drain_timeout below {name}")


def _limits(parts: Parts) -> Iterator[Problem]:
    if parts.settings is None:
        return
    limits = parts.settings.limits
    if limits.max_open_per_partition > limits.max_uncommitted_per_partition:
        message = (
            f"{limits.max_open_per_partition} records of a partition may be open, but only "
            f"{limits.max_uncommitted_per_partition} uncommitted: the partition stops before it is full"
        )
        keys = ("max_open_per_partition", "max_uncommitted_per_partition")
        place = parts.first_given(*(("limits", key) for key in keys))
        mend = "keep limits.max_open_per_partition at or below limits.max_uncommitted_per_partition"
        yield parts.problem("CFG028", place, message, mend)


def _properties(parts: Parts, owned: Mapping[str, str]) -> Iterator[Problem]:
    if parts.settings is None:
        return
    given: list[tuple[Path, ClusterSettings]] = [(("kafka",), parts.settings.kafka)]
    if parts.settings.dead_letters is not None and parts.settings.dead_letters.kafka is not None:
        given.append((("dead_letters", "kafka"), parts.settings.dead_letters.kafka))
    for path, cluster in given:
        for name in cluster.properties:
            if name in owned:
                message = f"librdkafka's `{name}` is the daemon's own: its promises rest on it"
                mend = owned[name] or "take it out"
                yield parts.problem("CFG029", (*path, "properties", name), message, mend)


def _topic_settings(parts: Parts) -> Iterator[Problem]:
    consumed = [topic for route in parts.routes.values() for topic in route.topics]
    if parts.settings is None or not parts.whole:
        return
    for topic in parts.settings.topics:
        if any(_meet(topic, one) for one in consumed):
            continue
        if topic.startswith(PATTERN_MARK) and any(one.startswith(PATTERN_MARK) for one in consumed):
            continue  # whether two patterns meet shows on the cluster only
        close = nearest(topic, [one for one in consumed if not one.startswith(PATTERN_MARK)])
        mend = f"did you mean `{close}`?" if close else "take it out, or consume it in a route"
        yield parts.problem("CFG030", ("topics", topic), "no route consumes this topic", mend)


def _formats(parts: Parts) -> Iterator[Problem]:
    """Formats whose schema stands in a registry need one, and the libraries that read them."""
    if parts.settings is None:
        return
    registry = parts.settings.schema_registry
    for topic, settings in parts.settings.topics.items():
        for key, format in (("format", settings.format), ("key_format", settings.key_format)):
            if format not in REGISTRY_FORMATS:
                continue
            path: Path = ("topics", topic, key)
            if not parts.given(("schema_registry",)):
                mend = "add schema_registry: {type: confluent, url: …}, or {type: glue}"
                yield parts.problem("CFG035", path, f"{format} needs a `schema_registry`, and there is none", mend)
            elif registry is not None and registry.type == "glue" and format == "protobuf":
                message = "protobuf through AWS Glue cannot be read: Glue serves no descriptors"
                yield parts.problem("CFG035", path, message, "use a Confluent registry, or format: bytes")
            elif missing := extra_missing():
                yield parts.problem("CFG035", path, f"{format} {missing.partition(':')[0]}", missing.partition(": ")[2])


def _values(parts: Parts, kinds: Mapping[str, Kind]) -> Iterator[Problem]:
    """A target that would send the record's bytes, where these are no JSON but stand behind a registry's header."""
    if parts.settings is None:
        return
    framed = {name for name, topic in parts.settings.topics.items() if topic.format in REGISTRY_FORMATS}
    for index, route in parts.routes.items():
        for name in dict.fromkeys(route.targets):
            target = parts.targets.get(name)
            kind = kinds.get(target.type) if target is not None else None
            key = kind.value if kind is not None else ""
            topic = next((one for one in route.topics for other in framed if _meet(one, other)), None)
            if key and key not in route.map and topic is not None:
                message = f"the map has no `{key}`, so `{name}` would get the bytes of `{topic}`, which are no JSON"
                yield parts.problem("CFG036", ("routes", index), message, f"add {key}: ${{value}} to the map")


def _maps(parts: Parts, kinds: Mapping[str, Kind]) -> Iterator[Problem]:
    """What a kind of target says of each map that feeds one of its targets."""
    for index, route in parts.routes.items():
        for name in dict.fromkeys(route.targets):
            target = parts.targets.get(name)
            kind = kinds.get(target.type) if target is not None else None
            if kind is None or kind.check is None:
                continue
            for below, message, mend in kind.check(target, route.map):
                said = f"`{spell(below) or 'map'}` {message} (`{name}`)"
                yield parts.problem("CFG031", ("routes", index, "map", *below), said, mend)


def _dry_runs(parts: Parts) -> Iterator[Problem]:
    """A dry run commits what it has reported: beside a real target, or in its group, records would be lost."""
    dry = {
        name: bool(getattr(target, "dry_run", False)) for name, target in parts.targets.items() if target is not None
    }
    if parts.settings is None or not any(dry.values()):
        return
    name = next(name for name, is_dry in dry.items() if is_dry)
    real = next((name for name, is_dry in dry.items() if not is_dry), None)
    if real is not None:
        message = f"`{name}` is a dry run, but `{real}` really sends: one group's offsets cannot serve both"
        mend = f"give the dry run a config of its own, with its own kafka.group_id, or take `{real}` out"
        yield parts.problem("CFG039", ("targets", name, "dry_run"), message, mend)
    group = parts.settings.kafka.group_id
    if not re.search(r"dry[-_.]?run", group, re.IGNORECASE):
        message = (
            f"`{name}` is a dry run and would commit the offsets of `{group}`: a real run of that group would never "
            "send these records"
        )
        yield parts.problem("CFG039", ("kafka", "group_id"), message, f"name the group for it: {group}-dry-run")


def _tests(parts: Parts) -> Iterator[Problem]:
    """Tests that speak of what the config does not have."""
    if parts.settings is None or not parts.whole:
        return
    names = [route.name for route in parts.routes.values()]
    topics = list(dict.fromkeys(topic for route in parts.routes.values() for topic in route.topics))
    for index, test in enumerate(parts.settings.tests):
        path: Path = ("tests", index)
        for name in test.expect:
            if name not in (THE_RECORD, *names):
                close = nearest(name, names)
                mend = f"did you mean `{close}`?" if close else f"the routes are {', '.join(names)}"
                yield parts.problem("CFG032", (*path, "expect", name), f"no route is called `{name}`", mend)
        topic = test.record.topic
        read = f"the routes read {', '.join(topics)}"
        if topic is None and usual_topic(topics) is None:
            message = f"the record of `{test.name}` needs a topic: {read}"
            yield parts.problem("CFG033", (*path, "record"), message, "add topic: …")
        elif topic is not None and not any(_takes(one, topic) for one in topics):
            close = nearest(topic, [one for one in topics if not one.startswith(PATTERN_MARK)])
            mend = f"did you mean `{close}`?" if close else read
            yield parts.problem("CFG033", (*path, "record", "topic"), f"no route reads the topic `{topic}`", mend)


def usual_topic(topics: Sequence[str]) -> str | None:
    """The topic that is meant where none is said: the only one there is, if it is a name."""
    return topics[0] if len(topics) == 1 and not topics[0].startswith(PATTERN_MARK) else None


def tests_only(tree: Node) -> Iterator[Problem]:
    """A file of route tests must not change the config that it tests."""
    for key, node in tree.branch.items():
        if key not in ("tests", "version") and not key.startswith("x-"):
            message = f"`{key}` stands in a file of route tests: the daemon does not read it"
            mend = "move it into the config, or name the file otherwise than *_test.yaml"
            yield Problem("CFG034", node.key or node.at, key, message, mend)


def _coupled(parts: Parts) -> Iterator[Problem]:
    """Targets that share partitions, each two of them told once, all of one topic together."""
    seen: set[tuple[str, str]] = set()
    together: dict[str, tuple[int, set[str]]] = {}
    feeds = [
        (index, target, topic)
        for index, route in parts.routes.items()
        for target in route.targets
        for topic in route.topics
    ]
    for (_, first, one), (index, second, other) in combinations(feeds, 2):
        low, high = sorted((first, second))
        if low == high or (low, high) in seen or not _meet(one, other):
            continue
        seen.add((low, high))
        topic = one if _takes(other, one) else other
        together.setdefault(topic, (index, set()))[1].update((low, high))
    for topic, (index, targets) in together.items():
        *names, last = (f"`{target}`" for target in sorted(targets))
        others = "the other stops" if len(targets) == 2 else "the others stop"
        message = (
            f"{', '.join(names)} and {last} are fed by the same partitions of `{topic}`: "
            f"while one is held, {others} as soon as these are full"
        )
        mend = "this is by design; for full isolation run one daemon with its own group per target"
        yield parts.problem("CFG040", ("routes", index, "targets"), message, mend, "warning")


def _ordered(parts: Parts) -> Iterator[Problem]:
    for name, target in parts.targets.items():
        if target is None or target.order == "none":
            continue
        wait = _USUAL_CALL + target.batch.linger
        message = (
            f"order: {target.order} lets one event a {target.order} be under way, about {1 / wait:.3g} a second for "
            f"each, with calls of {_USUAL_CALL * 1000:g} ms and a linger of {target.batch.linger * 1000:g} ms"
        )
        mend = "lower batch.linger" + ("" if target.order == "key" else ", or use order: key")
        yield parts.problem("CFG041", ("targets", name, "order"), message, mend, "warning")


def _retired(parts: Parts, kinds: Mapping[str, Kind]) -> Iterator[Problem]:
    for name in parts.targets:
        node = parts.tree.find(("targets", name, "type"))
        kind = kinds.get(str(node.data)) if node is not None else None
        if kind is not None and kind.retired:
            mend = "plan to move to another service"
            yield parts.problem("CFG042", ("targets", name, "type"), kind.retired, mend, "warning")


def _unused(parts: Parts) -> Iterator[Problem]:
    used = {target for route in parts.routes.values() for target in route.targets}
    if parts.settings is None or not parts.whole or not used or not used <= set(parts.targets):
        return  # a mistake elsewhere may be the reason
    for name in parts.targets:
        if name not in used:
            message = f"no route names the target `{name}`"
            yield parts.problem("CFG043", ("targets", name), message, "take it out, or name it in a route", "warning")


def _warned(parts: Parts, kinds: Mapping[str, Kind]) -> Iterator[Problem]:
    """What a kind of target warns of in its settings."""
    for name, target in parts.targets.items():
        kind = kinds.get(target.type) if target is not None else None
        for below, message, mend in kind.warn(target) if kind is not None and kind.warn is not None else ():
            said = f"`{spell(below)}` {message} (`{name}`)"
            yield parts.problem("CFG044", ("targets", name, *below), said, mend, "warning")
