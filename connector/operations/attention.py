"""What needs a person, in words, from the most to the least urgent: the same for the page, the terminal and scripts.

Each says what stands still, why, since when, what waits, at which partition and offset, what is at risk, what to do.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from connector.operations.status import Act, Halt, Hold, LetterCount, Need, RouteStatus, Status, TargetStatus

_SAFE: Final = (
    "At risk: nothing is lost, nothing is committed past it. What waits stays in Kafka as long as its topic keeps it."
)
_LATE: Final = 600.0  # seconds for which dead letters are news
_BLIP: Final = 3.0  # seconds for which a service may fail until somebody should look


def attention(status: Status) -> list[Need]:
    """Everything that does not flow."""
    found = [*_standing(status), *_noting(status)]
    return sorted(found, key=lambda need: not need["grave"])


def _standing(status: Status) -> Iterator[Need]:
    now = status["now"]
    if not status["live"]["ok"]:
        yield _need("The daemon is stuck", status["live"]["reason"], "To do: restart it.")
    for target in status["targets"]:
        if (held := target["held"]) is not None:
            skip = [] if held["route"] is None else [_skip(held["route"], held)]
            title = f"{target['name']} is held: {held['code']}"
            yield _need(title, *_of_lane(held, now), acts=[*skip, *_pauses(status, target)])
    for halt in status["halts"]:
        yield _halted(halt, now)
    for target in status["targets"]:
        if (failing := target["failing"]) is not None:
            title = f"{target['name']} gets nothing through: {failing['code']}"
            grave = _seconds(failing["since"], now) >= _BLIP
            yield _need(title, *_of_lane(failing, now), acts=_pauses(status, target), grave=grave)
    for target in status["targets"]:
        if (found := target["preflight"]) and found["health"] == "missing" and target["held"] is None:
            yield _need(f"{target['name']}: the destination is missing: {found['code']}", found["detail"])
    for route in status["routes"]:
        yield from _paused(route, now)
    for trouble in status["kafka"]["trouble"]:
        yield _need(f"Kafka: {trouble['code']}", trouble["reason"], _since(trouble["since"], now))


def _noting(status: Status) -> Iterator[Need]:
    reload = status["reload"]
    if reload is not None and reload["outcome"] == "refused":
        title = "The last reload was refused: the config before it is in force"
        yield _need(title, reload["reason"], _since(reload["at"], status["now"]), grave=False)
    yield from _buried(status)
    for target in status["targets"]:
        if target["full"] and target["held"] is None and target["failing"] is None:
            yield _need(
                f"{target['name']} is full",
                f"{target['open_records']:,} records are open; the partitions that feed it wait for room.",
                "To do: if this lasts, raise max_in_flight, or see whether the service has become slow.",
                grave=False,
            )
    for target in status["targets"]:
        if (found := target["preflight"]) and found["health"] == "unknown":
            title = f"{target['name']}: no right to ask whether the destination is there: {found['code']}"
            yield _need(title, found["detail"], grave=False)


def _buried(status: Status) -> Iterator[Need]:
    """Dead letters of late: nothing stands still for them, but nobody else tells of them."""
    letters = status["dead_letters"]
    late = [one for one in letters["codes"] if _seconds(one["last"], status["now"]) < _LATE]
    if late:
        yield _need(
            f"Dead letters in {letters['topic']}: {letters['count']:,} since the start",
            *(f"Route {o['route'] or '(none)'}: {o['code']} × {o['count']:,}, {_ago(o, status)}." for o in late),
            "At risk: nothing is lost, the topic has the records as they were, as long as it keeps them.",
            "To do: connector dead-letters list CONFIG tells more; mend the cause, reload, then replay them.",
            grave=False,
        )


def _ago(one: LetterCount, status: Status) -> str:
    return f"the last {spoken(_seconds(one['last'], status['now']))} ago"


def _of_lane(hold: Hold, now: str) -> Iterator[str]:
    if hold["detail"]:
        yield f"It says: {hold['detail']}"
    yield f"{_since(hold['since'], now)} Next try in {spoken(hold['next_probe_s'])}."
    place = f" It stands at {hold['topic']}[{hold['partition']}], offset {hold['offset']}."
    yield f"{hold['entries']:,} waiting.{place if hold['topic'] is not None else ''}"
    yield _SAFE
    yield f"To do: {hold['todo']}."


def _halted(halt: Halt, now: str) -> Need:
    route = f"Route {halt['route']}" if halt["route"] else "No route takes it"
    return _need(
        f"{halt['topic']}[{halt['partition']}] stands at offset {halt['offset']}: {halt['code']}",
        f"{route}: {halt['reason']}",
        _since(halt["since"], now),
        "At risk: nothing is lost. What was taken behind it is delivered, not committed: a restart sends it again.",
        f"To do: {halt['todo']}.",
        acts=[_skip(halt["route"] or "unrouted", halt)],
    )


def _paused(route: RouteStatus, now: str) -> Iterator[Need]:
    if (pause := route["paused"]) is not None:
        yield _need(
            f"Route {route['name']} is paused",
            f"{pause['reason']}. {_since(pause['since'], now)} {pause['waiting']:,} waiting.",
            _SAFE,
            f"To do: {pause['todo']}.",
            acts=[_act(f"Resume {route['name']}", route["name"], "resume")],
            grave=pause["why"] == "dead_letters",
        )


def _need(title: str, *lines: str, acts: list[Act] | None = None, grave: bool = True) -> Need:
    return Need(title=title, lines=[line for line in lines if line], acts=acts or [], grave=grave)


def _pauses(status: Status, target: TargetStatus) -> list[Act]:
    feeding = [r["name"] for r in status["routes"] if target["name"] in r["targets"] and r["paused"] is None]
    return [_act(f"Pause {name}", name, "pause") for name in feeding]


def _act(label: str, route: str, what: str) -> Act:
    return Act(label=label, route=route, what=what, record=None)


def _skip(route: str, place: Hold | Halt) -> Act:
    record = {name: str(place[name]) for name in ("topic", "partition", "offset")}
    return Act(label=f"Skip offset {place['offset']}", route=route, what="skip", record=record)


def _seconds(since: str, now: str) -> float:
    return (datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds()


def _since(since: str, now: str) -> str:
    return f"Since {since[:19].replace('T', ' ')} UTC, for {spoken(_seconds(since, now))}."


def spoken(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole, unit, part, less = _UNITS[0] if seconds < 3600 else _UNITS[1] if seconds < 86400 else _UNITS[2]
    rest = int(seconds % whole // part)
    return f"{int(seconds // whole)} {unit}" + (f" {rest} {less}" if rest else "")


_UNITS: Final = ((60, "min", 1, "s"), (3600, "h", 60, "min"), (86400, "d", 3600, "h"))
