"""What the daemon says of itself: the app's state as the `Status` of `/status`."""

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from connector import __version__, log
from connector.metrics import Metrics
from connector.model import Ack, Entry, Health, Verdict
from connector.operations.attention import attention
from connector.operations.status import (
    Halt,
    Hold,
    PartitionStatus,
    Pause,
    PreflightStatus,
    RouteStatus,
    Status,
    TargetStatus,
    Totals,
)
from connector.publish import Lane
from connector.targets.contract import Telling

if TYPE_CHECKING:
    from connector.app import App


def iso(epoch_s: float) -> str:
    """A time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def oldest_age(app: "App") -> float:
    """Seconds since the oldest open record was taken, 0 when none is open."""
    oldest_at = app.assignment.oldest_at()
    return app.parts.clock() - oldest_at if oldest_at is not None else 0.0


_HEALTH: Final = {Health.OK: 1.0, Health.MISSING: 0.0, Health.UNKNOWN: -1.0}


def watch(app: "App") -> None:
    """Let the gauges read the app when they are scraped."""
    metrics = app.tally.metrics
    metrics.oldest_unsettled_age_seconds.set_function(partial(oldest_age, app))
    for lane in app.lanes.values():
        watch_lane(lane, metrics)


def watch_lane(lane: Lane, metrics: Metrics) -> None:
    """Let the gauges of a target read its lane."""
    name = lane.name
    metrics.in_flight.labels(target=name).set_function(lambda: lane.in_flight)
    metrics.lane_held.labels(target=name).set_function(lambda: lane.held is not None)
    metrics.open_records.labels(target=name).set_function(lambda: lane.open_entries)
    metrics.open_bytes.labels(target=name).set_function(lambda: lane.open_bytes)
    metrics.preflight_ok.labels(target=name).set_function(
        lambda: _HEALTH[lane.preflight.health] if lane.preflight is not None else -1.0
    )


def totals_of(app: "App") -> Totals:
    """The sums, and what is open now."""
    tally = app.tally
    outcomes = dict.fromkeys(("delivered", "dead_lettered", "skipped", "dry_run", "retried"), 0)
    for (_, outcome), count in tally.by_route.items():
        outcomes[outcome] += count
    return Totals(
        consumed=tally.consumed,
        unrouted=tally.unrouted,
        delivered=outcomes["delivered"],
        dead_lettered=outcomes["dead_lettered"],
        skipped=outcomes["skipped"],
        dry_run=outcomes["dry_run"],
        retried=outcomes["retried"],
        open_records=app.assignment.totals.records,
        open_bytes=app.assignment.totals.bytes,
        lag=sum(app.lags.values()) if app.lags else None,
        oldest_unsettled_age_s=oldest_age(app),
    )


def status_of(app: "App") -> Status:
    """Everything `/status` tells."""
    settings = app.settings
    live, why_live = app.live()
    ready, why_ready = app.ready()
    status = Status(
        version=__version__,
        config_hash=app.config_hash,
        started_at=iso(app.started_at),
        now=iso(app.parts.wall()),
        state=app.state,
        attention=[],
        ready={"ok": ready, "reason": why_ready},
        live={"ok": live, "reason": why_live},
        changes="refused" if settings.admin.token is None else "token",
        log_level=log.level(),
        reload=app.last_reload,
        kafka={
            "group": settings.kafka.group_id,
            "joined": app.joined,
            "trouble": [
                {"code": code, "reason": reason, "since": iso(since)} for code, (reason, since) in app.troubles.items()
            ],
        },
        halts=_halts(app),
        partitions=_partitions(app),
        routes=[_route(app, name) for name in app.routes.by_name],
        targets=[_target(app, lane) for lane in app.lanes.values()],
        dead_letters={
            "topic": settings.dead_letters.topic if settings.dead_letters else None,
            "count": app.tally.dead_letters,
            "codes": [
                {"route": route, "code": code, "count": count, "last": iso(last)}
                for (route, code), (count, last) in reversed(app.tally.letters.items())
            ],
        },
        limits={
            "max_open_records": settings.limits.max_open_records,
            "max_open_bytes": settings.limits.max_open_bytes,
        },
        totals=totals_of(app),
        history=app.history.told(),
    )
    status["attention"] = attention(status)
    return status


_HALTS: Final = 20


def _halts(app: "App") -> list[Halt]:
    halts = [halt for _, ones in sorted(app.standstill.halts.items()) for halt in ones]
    return [
        Halt(
            route=halt.event.route,
            topic=halt.event.record.tp.topic,
            partition=halt.event.record.tp.partition,
            offset=halt.event.record.offset,
            stage=halt.stage,
            code=halt.code,
            reason=halt.reason,
            since=iso(halt.since),
            todo="mend the route and reload the config, or skip this record",
        )
        for halt in halts[:_HALTS]
    ]


def _partitions(app: "App") -> list[PartitionStatus]:
    now = app.parts.clock()
    full = set(app.assignment.full())
    return [
        PartitionStatus(
            topic=tp.topic,
            partition=tp.partition,
            position=share.ledger.position,
            committed=share.committed,
            committable=share.ledger.committable,
            lag=app.lags.get(tp),
            open=share.ledger.open_records,
            uncommitted=share.ledger.uncommitted,
            oldest_unsettled_age_s=now - share.ledger.oldest_at if share.ledger.oldest_at is not None else 0.0,
            paused=tp in full or bool(share.halted),
        )
        for tp, share in sorted(app.assignment.shares.items())
    ]


def _route(app: "App", name: str) -> RouteStatus:
    settings, counts = app.routes.by_name[name].settings, app.tally.by_route
    stop = app.standstill.routes.get(name)
    return RouteStatus(
        name=name,
        topics=list(settings.topics),
        targets=list(settings.targets),
        matched=app.tally.matched(name),
        delivered=counts[name, "delivered"],
        dead_lettered=counts[name, "dead_lettered"],
        skipped=counts[name, "skipped"],
        retried=counts[name, "retried"],
        paused=None
        if stop is None
        else Pause(
            why=stop.why,
            code=stop.code,
            reason=stop.reason,
            since=iso(stop.since),
            waiting=len(stop.waiting) + sum(lane.waiting_of(name) for lane in app.lanes.values()),
            todo=_TODO_OF_PAUSE[stop.why],
        ),
    )


_TODO_OF_PAUSE: Final = {
    "operator": "resume it when its records may flow again; a restart lets it go on too",
    "config": "resume it, or take paused: true out of the config and reload",
    "dead_letters": "mend the route or what writes its records, reload the config, then resume it",
}


def _target(app: "App", lane: Lane) -> TargetStatus:
    settings = app.settings.targets.get(lane.name)
    counts = app.tally.by_target
    full = set(app.assignment.full())
    return TargetStatus(
        name=lane.name,
        type=getattr(settings, "type", "kafka"),
        in_flight=lane.in_flight,
        max_in_flight=lane.pace.max_in_flight,
        waiting=lane.waiting,
        open_records=lane.open_entries,
        open_bytes=lane.open_bytes,
        full=any(tp in full for tp in lane.partitions),
        held=_hold(app, lane),
        failing=_failing(app, lane),
        preflight=_preflight(app, lane),
        delivered=counts[lane.name, "delivered"] if settings is not None else app.tally.dead_letters,
        retried=counts[lane.name, "retried"],
        rejected=counts[lane.name, "dead_lettered"] + counts[lane.name, "skipped"],
        told=dict(lane.target.told) if isinstance(lane.target, Telling) else {},
        last_errors=[
            {"code": code, "count": count, "last": iso(last)}
            for code, (count, last) in reversed(app.tally.errors.get(lane.name, {}).items())
        ],
    )


def _hold(app: "App", lane: Lane) -> Hold | None:
    held = lane.held
    if held is None:
        return None
    # where a service refuses us and not an entry, any record may have been the one that asked: the oldest tells more
    entry = held.entry if held.ack.verdict is Verdict.REJECTED else None
    return _stands(app, lane, held.ack, entry, held.since, held.probe_at, todo_of(held.ack))


def _failing(app: "App", lane: Lane) -> Hold | None:
    failing = lane.failing
    if failing is None or lane.held is not None or not lane.open_entries:
        return None
    return _stands(app, lane, failing.ack, None, failing.since, lane.next_try_at, _WAIT)


def _stands(app: "App", lane: Lane, ack: Ack, entry: Entry | None, since: float, next_at: float, todo: str) -> Hold:
    now = app.parts.clock()
    record = entry.event.record if entry is not None else lane.lowest()
    return Hold(
        code=ack.code,
        detail=ack.detail,
        since=iso(app.parts.wall() - (now - since)),
        next_probe_s=max(0.0, next_at - now),
        entries=lane.open_entries,
        topic=record.tp.topic if record else None,
        partition=record.tp.partition if record else None,
        offset=record.offset if record else None,
        route=entry.event.route if entry is not None else None,
        todo=todo,
    )


def _preflight(app: "App", lane: Lane) -> PreflightStatus | None:
    found = lane.preflight
    if found is None:
        return None
    at = app.parts.wall() - (app.parts.clock() - lane.preflight_at)
    return PreflightStatus(health=found.health.value, code=found.code, detail=found.detail, at=iso(at))


_WAIT: Final = "the service is down, slow or throttling: it is tried again by itself; see to the service or its quota"
_TODO: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Expired", "Token", "Signature", "Unrecognized", "Credential", "Auth"), "renew or correct the credentials"),
    (("AccessDenied", "NotAuthorized", "Forbidden", "OptIn"), "grant the right that the detail names"),
    (("NotFound", "Missing", "UNKNOWN_TOPIC"), "create the destination, or correct its name in the config"),
    (("MSG_SIZE",), "raise the topic's max.message.bytes, or set dead_letters.oversize: reference"),
)


def todo_of(ack: Ack) -> str:
    """What a person can do about a hold; the lane goes on by itself once it is done."""
    for words, todo in _TODO:
        if any(word in ack.code for word in words):
            return f"{todo}; the lane goes on by itself"
    return "see the code and detail; the lane goes on by itself once the service takes the entry, or skip the record"
