#!/usr/bin/env python3
"""What a load needs, from your own figures: calls, members, partitions, quota, money. See docs/scaling.md.

    python deploy/sizing.py --records 50000 --bytes 1200 --region eu-west-1

Standard library only. Every figure that a machine or an account decides is an option; the defaults say where they come
from in `--help`. Nothing here is measured: put in what you measured, and believe the result as far as that.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HOURS: Final = 730.0  # of a month
MILLION: Final = 1_000_000
ENVELOPE: Final = 300  # bytes around one event on the wire: keys, bus, ids, JSON quoting
MEMBER_RECORDS: Final = 5_000.0  # records a second of one process; docs/scaling.md says what was measured
HEADERS: Final = 1_500  # bytes of one signed HTTP request and its answer, beside the entries


@dataclass(frozen=True, slots=True)
class Service:
    """One target service: entries and bytes of a call, and what its money counts.

    `calls_per_second` is the quota of an account in a region that is on no list; `chunk` the bytes that are billed as
    one event; `price` US dollars a million of them, None where the service can no longer be bought.
    """

    entries: int
    call_bytes: int
    entry_bytes: int
    calls_per_second: float
    chunk: int
    price: float | None


SERVICES: Final = {
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html, …/eb-putevents.html
    "eventbridge": Service(10, 1023 * 1024, 1023 * 1024, 400.0, 64 * 1024, 1.00),
    # Ended in 2026; the figures are those of compatible endpoints.
    "iot_events": Service(10, 1024, 1024, 1_000.0, 1024, None),
    "pinpoint": Service(100, 4_000_000, 1_000_000, 15.0, 1_000_000, None),
}

EVENTBRIDGE_CALLS: Final = {
    **dict.fromkeys(("us-east-1", "us-west-2", "eu-west-1"), 10_000.0),
    **dict.fromkeys(("us-east-2", "eu-central-1", "eu-south-2"), 2_400.0),
    **dict.fromkeys(("us-west-1", "ap-northeast-1", "ap-southeast-1", "ap-southeast-2", "eu-west-2"), 1_200.0),
    **dict.fromkeys(
        ("ap-east-1", "ap-northeast-2", "ap-south-1", "ca-central-1", "eu-north-1", "eu-west-3", "sa-east-1"), 600.0
    ),
}
"""PutEvents calls a second that an account starts with (quota L-9B653E91); 400 in every other region."""


@dataclass(frozen=True, slots=True)
class Load:
    """The reader's figures. Rates are a second, sizes bytes, times seconds, shares 0 to 1.

    `member_records` is what one process carries; `partition_bytes` what one partition should take; `spare` the share of
    everything that is kept for peaks and for catching up.
    """

    records: float
    record_bytes: int = 1_000
    service: str = "eventbridge"
    region: str = "eu-west-1"
    matched: float = 1.0
    events_per_record: float = 1.0
    event_bytes: int = 0
    call_seconds: float = 0.03
    linger: float = 0.1
    max_in_flight: int = 16
    member_records: float = MEMBER_RECORDS
    partition_bytes: float = 5_000_000.0
    quota: float = 0.0
    order: str = "none"
    spare: float = 0.3


@dataclass(frozen=True, slots=True)
class Need:
    """What the load asks for; `limits` says what bounds it and what to do, the hardest first."""

    events: float
    entries_per_call: float
    calls: float
    quota: float
    in_flight: float
    members: int
    partitions: int
    bytes_in: float
    bytes_out: float
    dollars_per_million_records: float | None
    dollars_per_month: float | None
    catch_up_seconds: float
    limits: tuple[str, ...]


def size(load: Load) -> Need:
    """Work it out.

    Raises:
        ValueError: a figure makes no sense, or one event is larger than the service takes.
    """
    _refuse(load)
    service = SERVICES[load.service]
    event_bytes = load.event_bytes or load.record_bytes
    if event_bytes > service.entry_bytes:
        raise ValueError(f"an event of {event_bytes} bytes is larger than {load.service} takes: {service.entry_bytes}")
    events = load.records * load.matched * load.events_per_record
    room = 1.0 - load.spare
    quota = load.quota or quota_of(load.service, load.region)

    by_cpu = load.records / (load.member_records * room)
    most_entries = float(min(service.entries, service.call_bytes // event_bytes))
    # More members split the stream into thinner ones, whose batches fill less within `linger`, which makes more calls.
    members = max(1, math.ceil(by_cpu))
    while True:
        per_call = max(1.0, min(most_entries, events / members * load.linger))
        calls = events / per_call
        in_flight = calls * load.call_seconds
        wanted = max(1, math.ceil(by_cpu), math.ceil(in_flight / (load.max_in_flight * room)))
        if wanted <= members:
            break
        members = wanted

    bytes_in = load.records * load.record_bytes
    partitions = max(members, math.ceil(bytes_in / (load.partition_bytes * room)))
    if load.order == "partition":
        partitions = max(partitions, math.ceil(events / (one_at_a_time(load) * room)))
    chunks = events * math.ceil(event_bytes / service.chunk)
    dollars = None if service.price is None else chunks * service.price / MILLION  # a second
    carried = members * load.member_records
    surplus = min(carried, _by_quota(load, quota, per_call)) - load.records
    return Need(
        events=events,
        entries_per_call=per_call,
        calls=calls,
        quota=quota,
        in_flight=in_flight,
        members=members,
        partitions=_round(partitions, members),
        bytes_in=bytes_in,
        bytes_out=events * (event_bytes + ENVELOPE) + calls * HEADERS,
        dollars_per_million_records=None if dollars is None else dollars / load.records * MILLION,
        dollars_per_month=None if dollars is None else dollars * 3600 * HOURS,
        catch_up_seconds=3600 * load.records / surplus if surplus > 0 else math.inf,
        limits=tuple(_limits(load, calls, quota, per_call, most_entries, members)),
    )


def one_at_a_time(load: Load) -> float:
    """Events a second of one key or partition whose order is kept: the next goes when the last is acknowledged."""
    return 1.0 / (load.linger + load.call_seconds)


def quota_of(service: str, region: str) -> float:
    """Calls a second that an account starts with."""
    return (
        EVENTBRIDGE_CALLS.get(region, SERVICES[service].calls_per_second)
        if service == "eventbridge"
        else (SERVICES[service].calls_per_second)
    )


def _by_quota(load: Load, quota: float, per_call: float) -> float:
    """Records a second that the quota lets through."""
    events_per_record = load.matched * load.events_per_record
    return math.inf if events_per_record == 0 else quota * per_call / events_per_record


def _round(partitions: int, members: int) -> int:
    """A multiple of the members, so that each has as many as the others."""
    return math.ceil(partitions / members) * members


def _limits(load: Load, calls: float, quota: float, per_call: float, most_entries: float, members: int) -> list[str]:
    room = 1.0 - load.spare
    found = []
    if calls > quota * room:
        ask = math.ceil(calls / room / 100) * 100
        found.append(
            f"quota: {calls:,.0f} calls/s of {quota:,.0f} in {load.region}; ask AWS for {ask:,} "
            f"(with {load.spare:.0%} spare), or spread the load over accounts or regions"
        )
    if calls > 0 and per_call < most_entries * 0.8:
        linger = most_entries * members / (calls * per_call)
        found.append(
            f"batches: {per_call:.1f} of {most_entries:.0f} entries come within linger; {linger:.2g} s would fill "
            "them, and cost that much delay"
        )
    if load.order != "none":
        found.append(
            f"order: a {load.order} carries {one_at_a_time(load):.1f} events/s at most; a shorter linger carries more, "
            "and order: none as much as there is"
        )
    if members > 100:
        found.append(
            f"group: {members} members rebalance slowly with the classic protocol; use group_protocol: consumer, "
            "or several groups over separate topics"
        )
    return found


def _refuse(load: Load) -> None:
    for name in (
        "records",
        "record_bytes",
        "call_seconds",
        "linger",
        "max_in_flight",
        "member_records",
        "partition_bytes",
    ):
        if getattr(load, name) <= 0:
            raise ValueError(f"{name} must be above zero")
    if load.service not in SERVICES:
        raise ValueError(f"no service {load.service}: one of {', '.join(SERVICES)}")
    if not 0.0 <= load.spare < 1.0 or not 0.0 <= load.matched <= 1.0:
        raise ValueError("spare and matched are shares: 0 to 1")
    if min(load.events_per_record, load.event_bytes, load.quota) < 0:
        raise ValueError("events_per_record, event_bytes and quota cannot be negative")


def told(load: Load, need: Need) -> str:
    """The result for a person."""
    dollars, month = need.dollars_per_million_records, need.dollars_per_month
    backlog = f"is caught up in {need.catch_up_seconds / 60:,.0f} minutes beside what comes in"
    if math.isinf(need.catch_up_seconds):
        backlog = "is never caught up: the quota lets through no more than what comes in"
    lines = [
        ("records in", f"{load.records:,.0f}/s, {need.bytes_in / 1e6:,.1f} MB/s"),
        ("events out", f"{need.events:,.0f}/s, {need.bytes_out / 1e6:,.1f} MB/s"),
        ("calls", f"{need.calls:,.0f}/s of {need.entries_per_call:.1f} entries; the quota is {need.quota:,.0f}/s"),
        ("calls under way", f"{need.in_flight:,.0f} at {load.call_seconds * 1000:.0f} ms each"),
        ("members", f"{need.members:,} (replicas, or sidecars)"),
        ("partitions", f"{need.partitions:,} in all"),
        ("an hour's backlog", backlog),
        (
            "the service's price",
            "is not known"
            if dollars is None or month is None
            else f"${dollars:,.2f} a million records, ${month:,.0f} a month",
        ),
    ]
    text = "\n".join(f"{name:<20} {value}" for name, value in lines)
    return text + "".join(f"\n! {limit}" for limit in need.limits)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 2 where a figure makes no sense."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    option = parser.add_argument
    option("--records", type=float, required=True, help="records a second at the peak")
    option("--bytes", type=int, default=1_000, dest="record_bytes", help="of a record, on average (1000)")
    option("--service", choices=sorted(SERVICES), default="eventbridge")
    option("--region", default="eu-west-1", help="which quota holds (eu-west-1)")
    option("--matched", type=float, default=1.0, help="share of the records that a route takes (1.0)")
    option("--events-per-record", type=float, default=1.0, help="more than one with each, or several targets (1.0)")
    option("--event-bytes", type=int, default=0, help="of an event as the service counts it (as the record)")
    option("--call-seconds", type=float, default=0.03, help="median of connector_request_seconds (0.03: same region)")
    option("--linger", type=float, default=0.1, help="batch.linger in seconds (0.1)")
    option("--max-in-flight", type=int, default=16, help="max_in_flight of the target (16)")
    option(
        "--member-records", type=float, default=MEMBER_RECORDS, help="records a second of one process, measured (5000)"
    )
    option("--partition-bytes", type=float, default=5e6, help="bytes a second of one partition (5e6)")
    option("--quota", type=float, default=0.0, help="calls a second of your account (the region's default)")
    option(
        "--order", choices=("none", "key", "partition"), default="none", help="what must be delivered in offset order"
    )
    option("--spare", type=float, default=0.3, help="share of everything kept for peaks (0.3)")
    load = Load(**vars(parser.parse_args(arguments)))
    try:
        print(told(load, size(load)))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
