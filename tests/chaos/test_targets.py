"""Target services under bad weather, and dead ones: nothing is lost, no storm of retries, and the others go on."""

import asyncio
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from connector.sandbox.faults import slow
from tests.chaos.proxy import Proxy
from tests.chaos.run import IN_FLIGHT, Run
from tests.chaos.weather import GUSTS, Weather
from tests.kafka.process import eventually, seen
from tests.kafka.stage import Stage, merged
from tests.kafka.test_everything import accounted, broken, services_at_hand

RECORDS: Final = 3_000

BEFORE, DEAD = 6.0, 20.0
"""Seconds: how long the rate of the other target is looked at before, and how long the target is dead."""

WINDOW: Final = 2.0
"""Seconds of one look at a rate: that the machine was busy elsewhere in one of them says nothing."""

FLAT: Final = 1.10
"""How much more memory than at its beginning a daemon may hold at any time of an outage."""


@pytest.mark.chaos
async def test_a_service_that_fails_two_calls_in_five_gets_every_record_and_no_storm_of_retries(run: Run) -> None:
    """T11"""
    async with run.stage(partitions=4) as here:
        weather = here.bus.faults = Weather(run.rng)
        daemon = await here.started({"targets": {"bus": {"request_timeout": "4s"}}})
        written = await here.produce(RECORDS)
        await seen(lambda: len(here.bus.accepted) > RECORDS // 4, what="a quarter has been taken")
        weather.add(slow(0.5, times=100))
        await here.until_at_end(within=150)
        for fault, times in weather.dealt.items():
            run.struck(fault, times)
        attempts = await daemon.metric("connector_batch_entries_sum")
        print(f"{attempts:g} attempts for {RECORDS} entries in {weather.dealt.total()} struck calls")
        assert attempts <= 2 * RECORDS
        run.bound = sum(here.bus.unanswered.values())  # taken, and not said so
        await run.judge(here, written, repeats=1)


def another(here: Stage, topic: str, url: str) -> dict[str, Any]:
    """Changes of the config: the bus behind `url`, and a second target with a pace and a topic of its own."""
    bus = {**here.config["targets"]["bus"], "rate_limit": {"calls": "20/s"}}
    route = {**here.config["routes"][0], "name": "others", "topics": [topic], "targets": ["other"]}
    route["map"] = {**route["map"], "Source": "com.acme.other"}
    return {
        "targets": {"bus": {"endpoint_url": url, "request_timeout": "3s"}, "other": bus},
        "routes": [*here.config["routes"], route],
    }


def taken(here: Stage, since: float = 0.0, until: float = float("inf")) -> int:
    """How many events of the other target the bus took in this stretch of its clock."""
    return sum(event.source == "com.acme.other" and since <= event.at < until for event in here.bus.accepted)


def rate(here: Stage, since: float, until: float) -> float:
    """How many of them it took in the usual `WINDOW` of this stretch."""
    windows = int((until - since) / WINDOW)
    return median(taken(here, since + i * WINDOW, since + (i + 1) * WINDOW) for i in range(windows))


@pytest.mark.chaos
async def test_a_dead_target_costs_no_memory_and_the_others_no_speed_and_drains_when_it_is_back(run: Run) -> None:
    """T12"""
    async with run.stage(partitions=4) as here, Proxy(urlsplit(here.bus.url).port or 0) as wire:
        clock = here.bus.clock
        other = here.kafka.topic(2, name="other")
        daemon = await here.started(another(here, other, wire.url))
        written = await here.produce(2_000, padding=2_000)
        others = await here.produce(12_000, topic=other)
        await here.until_at_end()
        begun = taken(here)
        await seen(lambda: taken(here) > begun + 400, what="the other target is at its pace")  # its burst is over
        calm = clock()
        await seen(lambda: clock() > calm + BEFORE, what="its rate is known")
        struck = clock()
        await wire.cut()
        run.struck("connections refused")
        rebalances = await daemon.metric("connector_rebalances_total")
        for _ in range(5):
            written += await here.produce(1_000, padding=6_000)  # 30 MB in all, more than may be open
        full = clock()
        resident = [daemon.resident]
        while (now := clock()) < full + DEAD:
            status, reason = await daemon.get("livez")
            assert status == 200, reason
            if now < full + DEAD / 4:
                resident = [daemon.resident]  # it still takes what may be open
            else:
                resident.append(daemon.resident)
            if wire.mode == "cut" and now > full + DEAD / 2:
                await wire.half_open()
                run.struck("connections half-open")
            await asyncio.sleep(0.2)
        before, meanwhile = rate(here, calm, struck), rate(here, struck, clock())
        print(f"the other target: {before:g} events in {WINDOW:g} s before, {meanwhile:g} while this one was dead")
        print(f"memory: {resident[0] / 2**20:.0f} MiB, at most {max(resident) / 2**20:.0f}")
        assert taken(here) < len(others), "the other target had work all the while"
        assert meanwhile >= 0.9 * before
        assert max(resident) <= FLAT * resident[0]
        assert await daemon.metric("connector_rebalances_total") == rebalances
        assert await daemon.metric("connector_open_records") <= 1_000
        await wire.heal()
        run.bound = 2 * IN_FLIGHT  # what was on the wire each time it changed
        await here.until_at_end(within=120)
        await seen(lambda: taken(here) >= len(others), what="the other topic is delivered")
        ends = await asyncio.to_thread(here.kafka.ends, other)

        async def at_end() -> bool:
            return await asyncio.to_thread(here.kafka.committed, other) == ends

        await eventually(at_end, what="the other topic is committed")
        await run.judge(here, [*written, *others])


@pytest.mark.chaos
async def test_every_service_in_bad_weather_at_once_gets_all_that_is_its_own(run: Run, tmp_path: Path) -> None:
    """T11: all targets"""
    seed = run.rng.randrange(1_000_000)
    services = services_at_hand(seed)
    sky = {name: Weather(run.rng, GUSTS, of=20) for name in services}
    for name, service in services.items():
        service.faults = sky[name]

    def impatient(config: dict[str, Any]) -> dict[str, Any]:
        changes = {"request_timeout": "4s", "batch": {"max_entries": 10}}  # many small calls, each with its own luck
        return merged(config, {"targets": dict.fromkeys(config["targets"], changes)})

    found = await accounted(run.kafka, tmp_path, services, seed, records=1_000, changes=impatient, within=150)
    for name, weather in sky.items():
        print(f"{name}: {dict(weather.dealt)}")
        run.struck(name, weather.dealt.total())
    run.bound = sum(sum(service.unanswered.values()) for service in services.values())
    repeated = sum(len(verdict.against) for verdict in found if verdict.claim == "no duplicates")
    lost = sum(len(verdict.against) for verdict in found if verdict.claim in broken(found))
    run.note(records=1_000, lost=lost, duplicated=repeated, buried=0)
    assert broken(found) == []
    assert repeated <= run.bound
    assert run.faults.total() >= 40  # of IoT Events, which gets few calls, there may be none
