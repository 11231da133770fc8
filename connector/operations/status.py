"""What the daemon says of itself: the JSON of `/status`, and the summary line made of two looks at its totals.

Durations are seconds, sizes bytes, times ISO 8601 in UTC. A field is never left out; what is not known yet is null or
empty. Nothing in it holds a payload or a secret.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict


class Check(TypedDict):
    """The answer to one question, with the reason in words."""

    ok: bool
    reason: str


class Trouble(TypedDict):
    """Something of Kafka's that stands in the way now; gone from the list once it works again."""

    code: str
    reason: str
    since: str


class KafkaStatus(TypedDict):
    """The member in its group."""

    group: str
    joined: bool
    trouble: list[Trouble]


class PartitionStatus(TypedDict):
    """One assigned partition. `committed` and `lag` are null until known.

    `open` counts records that still owe an entry, `uncommitted` the records between `committed` and `position`.
    `paused`: nothing is taken from it now, because it has no room, or because it stands at a record (`halts`).
    """

    topic: str
    partition: int
    position: int | None
    committed: int | None
    committable: int | None
    lag: int | None
    open: int
    uncommitted: int
    oldest_unsettled_age_s: float
    paused: bool


class Halt(TypedDict):
    """A record that could not be made into an event, where the config says `hold`. `route` is empty: no route took it.

    Its partition stops before it: what was taken behind it is delivered, nothing is committed past it.
    """

    route: str
    topic: str
    partition: int
    offset: int
    stage: str
    code: str
    reason: str
    since: str
    todo: str


class Pause(TypedDict):
    """Why a route stands still, how many of its events wait, and what lets it go on.

    `why` is operator, config or dead_letters (too many in a row; `code` is that of the last one).
    """

    why: str
    code: str
    reason: str
    since: str
    waiting: int
    todo: str


class RouteStatus(TypedDict):
    """One route: counts are events (records for `matched`) since the start."""

    name: str
    topics: list[str]
    targets: list[str]
    matched: int
    delivered: int
    dead_lettered: int
    skipped: int
    retried: int
    paused: Pause | None


class Hold(TypedDict):
    """Why a lane stands still or gets nothing through: the service's word for it, the record, what a person should do.

    `entries` wait behind it. The place is that of the record that was refused for its own sake, else of the oldest open
    one; null where nothing is open. `route` is the one that may skip that record, null where another is at fault.
    """

    code: str
    detail: str
    since: str
    next_probe_s: float
    entries: int
    topic: str | None
    partition: int | None
    offset: int | None
    route: str | None
    todo: str


class PreflightStatus(TypedDict):
    """The last answer to "is the destination there?"."""

    health: Literal["ok", "missing", "unknown"]
    code: str
    detail: str
    at: str


class CodeCount(TypedDict):
    """How often a target answered with a code that was not a delivery, and when it last did."""

    code: str
    count: int
    last: str


class TargetStatus(TypedDict):
    """One lane, the dead-letter topic's among them. `waiting` counts entries not on the wire, `in_flight` calls.

    `full`: partitions that feed it are paused because its entries take all the room. `failing`: its calls bring
    nothing, and it goes on trying. `preflight` is null before the first one. `told` is what the target shows of itself,
    for Fiddler's files the service's last answer. `last_errors` has the latest first, ten at most.
    """

    name: str
    type: str
    in_flight: int
    max_in_flight: int
    waiting: int
    open_records: int
    open_bytes: int
    full: bool
    held: Hold | None
    failing: Hold | None
    preflight: PreflightStatus | None
    delivered: int
    retried: int
    rejected: int
    told: Mapping[str, Any]
    last_errors: list[CodeCount]


class LetterCount(TypedDict):
    """How often a route's events became dead letters for one code, and when the last one did."""

    route: str
    code: str
    count: int
    last: str


class DeadLetters(TypedDict):
    """`topic` is null where the config has none. `codes` has the latest first, ten at most."""

    topic: str | None
    count: int
    codes: list[LetterCount]


class Room(TypedDict):
    """`limits` of the config, so that what is open can be read against it."""

    max_open_records: int
    max_open_bytes: int


class Totals(TypedDict):
    """Sums over everything since the start, and what is open now.

    `consumed` and `unrouted` count records, `delivered`, `dead_lettered`, `skipped`, `dry_run` and `retried` events.
    `lag` is null until Kafka has told it.
    """

    consumed: int
    unrouted: int
    delivered: int
    dead_lettered: int
    skipped: int
    dry_run: int
    retried: int
    open_records: int
    open_bytes: int
    lag: int | None
    oldest_unsettled_age_s: float


class Reload(TypedDict):
    """How the last reload of the config ended, and why."""

    at: str
    outcome: Literal["applied", "refused"]
    reason: str


class History(TypedDict):
    """The last minutes, oldest first, one value every `every_s` seconds: rates a second, and seconds.

    `request_s` is the mean time of the calls that ended in that time, null where none did.
    """

    every_s: float
    delivered_per_s: list[float]
    request_s: list[float | None]
    oldest_unsettled_age_s: list[float]


class Act(TypedDict):
    """Something that can be done about it: POST /routes/`route`/`what`, for `skip` with the record as its query."""

    label: str
    route: str
    what: str
    record: dict[str, str] | None


class Need(TypedDict):
    """One thing that does not flow, in words. `grave`: a person should look; else it is well to know."""

    title: str
    lines: list[str]
    acts: list[Act]
    grave: bool


class Status(TypedDict):
    """What `/status` answers. `changes` says what this server asks of those who change something."""

    version: str
    config_hash: str
    started_at: str
    now: str
    state: Literal["starting", "running", "stopping"]
    attention: list[Need]
    ready: Check
    live: Check
    changes: Literal["token", "refused"]
    log_level: str
    reload: Reload | None
    kafka: KafkaStatus
    halts: list[Halt]
    partitions: list[PartitionStatus]
    routes: list[RouteStatus]
    targets: list[TargetStatus]
    dead_letters: DeadLetters
    limits: Room
    totals: Totals
    history: History


def summary(before: Totals, after: Totals, seconds: float) -> dict[str, int | float | None]:
    """Return the fields of the one log line every 30 s: what was done since `before`, `seconds` ago, and what is open.

    A daemon that was restarted between the two would count backwards; such a difference is taken as `after` itself.
    """

    def done(then: int, now: int) -> int:
        return now - then if now >= then else now

    consumed = done(before["consumed"], after["consumed"])
    delivered = done(before["delivered"], after["delivered"])
    return {
        "consumed": consumed,
        "consumed_per_s": round(consumed / seconds, 1) if seconds > 0 else 0.0,
        "delivered": delivered,
        "delivered_per_s": round(delivered / seconds, 1) if seconds > 0 else 0.0,
        "dead_lettered": done(before["dead_lettered"], after["dead_lettered"]),
        "skipped": done(before["skipped"], after["skipped"]),
        "dry_run": done(before["dry_run"], after["dry_run"]),
        "unrouted": done(before["unrouted"], after["unrouted"]),
        "retried": done(before["retried"], after["retried"]),
        "open_records": after["open_records"],
        "open_bytes": after["open_bytes"],
        "lag": after["lag"],
        "oldest_unsettled_age_s": round(after["oldest_unsettled_age_s"], 3),
    }
