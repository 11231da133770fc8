"""Weather for as long as it is told: everything is struck by chance, and at the end nothing may be missing.

    make soak ARGS="--minutes 60"              # any length; prints its seed and a line a minute
    make soak ARGS="--minutes 5 --chaos-seed 7"

The oracle keeps what the bus took, so a million records need about a gigabyte.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import pytest

from connector.model import Record, TopicPartition
from connector.sandbox.faults import Fault, cut, error, expired_token, html, never, refuse, slow, throttle
from tests.chaos.run import OPEN, Run, rate, session
from tests.kafka.process import Daemon, seen
from tests.kafka.stage import Stage, merged

MEMBERS: Final = 3
BATCH: Final = 10
"""Entries of a call, which come twice where the service takes it and does not say so."""


class Weather:
    """What strikes, one thing after the other, over a target that is never quite well.

    Invariant: `run.bound` grows by all that a strike may repeat, before its end.
    """

    def __init__(self, run: Run, here: Stage, changes: Mapping[str, Any]) -> None:
        self._run, self._here, self._changes = run, here, changes
        self.members: list[Daemon] = []
        self.written: list[Record] = []
        self._committed: dict[TopicPartition, int] = {}  # before the strike

    async def begin(self) -> None:
        """Start the members."""
        self.members = [self._here.start(self._changes) for _ in range(MEMBERS)]
        for member in self.members:
            await member.ready()

    async def strike(self) -> None:
        """One strike, under load."""
        assert [member.code for member in self.members] == [None] * MEMBERS, "a member ended that nobody struck"
        self.written += await self._here.produce(self._run.rng.randrange(300, 1_200))
        self._committed = await self._here.committed()
        self._sour()
        strikes: list[Callable[[], Awaitable[None]]] = [
            self._stop,
            self._kill,
            self._freeze,
            self._network,
            self._reset,
            self._kill_broker,
            self._freeze_broker,
        ]
        await self._run.rng.choice(strikes)()

    def _sour(self) -> None:
        """Tell the target what to do wrong next, and no more than it can get over."""
        rng, faults = self._run.rng, self._here.bus.faults
        faults.clear()
        chosen: list[Fault] = rng.sample(
            [
                html(503, times=20),
                throttle(times=10, retry_after=0.2),
                error("InternalFailure", status=500, times=10),
                expired_token(times=2),
                refuse("ThrottlingException", probability=0.3, times=50),
                slow(rng.uniform(0.05, 0.5), times=50),
                cut(times=5),
                cut(times=2, accepted=True),
                never(times=1, accepted=True),
            ],
            rng.randrange(1, 4),
        )
        faults.add(*chosen)
        for fault in chosen:
            self._run.struck(f"target {fault.do}")
            self._run.bound += BATCH * (fault.times or 0) if fault.accepted else 0

    async def _lasting(self, least: float, most: float) -> None:
        until = time.monotonic() + self._run.rng.uniform(least, most)
        await seen(lambda: time.monotonic() > until, within=most + 60, what="the strike is over")

    async def _given_up(self, members: int) -> None:
        """What `members` members have open may come twice, since the group may give them up meanwhile."""
        await self._run.may_repeat(self._here, members * OPEN, since=self._committed)

    async def _again(self, index: int) -> None:
        self.members[index] = self._here.start(self._changes)
        await self.members[index].ready()

    async def _stop(self) -> None:
        index = self._run.rng.randrange(MEMBERS)
        # its target may hold just now; what a stop cannot finish in its time is repeated
        await self._run.may_repeat(self._here)
        assert await self.members[index].stop() in (0, 1)
        self._run.struck("SIGTERM")
        await self._again(index)

    async def _kill(self) -> None:
        index = self._run.rng.randrange(MEMBERS)
        await self.members[index].kill()
        self._run.struck("SIGKILL")
        await self._run.may_repeat(self._here, OPEN)
        await self._again(index)

    async def _freeze(self) -> None:
        member = self._run.rng.choice(self.members)
        await self._given_up(1)
        member.send(signal.SIGSTOP)
        self._run.struck("SIGSTOP")
        await self._lasting(1, 10)
        member.send(signal.SIGCONT)

    async def _network(self) -> None:
        how = self._run.rng.choice(["cut", "half-open", "slow"])
        if how == "slow":
            await self._run.network.delay(self._run.rng.uniform(0.1, 0.8))
        else:
            await (self._run.network.cut() if how == "cut" else self._run.network.half_open())
        self._run.struck(f"network {how}")
        await self._lasting(1, 15)
        await self._given_up(MEMBERS)
        await self._run.network.heal()

    async def _reset(self) -> None:
        self._run.struck("connections reset", self._run.network.reset())
        await self._lasting(0, 2)

    async def _kill_broker(self) -> None:
        number = self._run.rng.choice(self._run.brokers.numbers)
        self._run.brokers.kill(number)
        self._run.struck("broker killed")
        await self._lasting(1, 10)
        await self._given_up(MEMBERS)
        self._run.brokers.restart(number)
        await asyncio.to_thread(self._run.brokers.whole)

    async def _freeze_broker(self) -> None:
        with self._run.brokers.frozen(self._run.rng.choice(self._run.brokers.numbers)):
            self._run.struck("broker frozen")
            await self._lasting(1, 12)
            await self._given_up(MEMBERS)
        await asyncio.to_thread(self._run.brokers.whole)


@pytest.mark.chaos
async def test_after_any_weather_no_record_is_missing(run: Run, minutes: float) -> None:
    """T23"""
    async with run.stage(partitions=12) as here:
        weather = Weather(
            run, here, merged(merged(session(run, 6.0), rate(40)), {"targets": {"bus": {"request_timeout": "2s"}}})
        )
        await weather.begin()
        begun = time.monotonic()
        told = 0
        while (elapsed := time.monotonic() - begun) < minutes * 60:
            await weather.strike()
            if elapsed // 60 >= told:
                told += 1
                most = max(member.resident for member in weather.members) / 2**20
                print(
                    f"{elapsed:.0f} s: {len(weather.written)} records written, {len(here.bus.accepted)} taken, "
                    f"{run.faults.total()} faults, {most:.0f} MiB at most in a member",
                    flush=True,
                )
        await run.judge(here, weather.written, repeats=1, within=600)
