"""One run: what is struck, what may come twice, and the judgement at its end.

How to write a run
------------------
A run is a test of this folder, in the file of what is struck. Its name is a sentence of behaviour, and the first line
of its docstring is its number of the table (T9, T10 …):

    @pytest.mark.chaos  # where only `make chaos` takes it: `make test` has 150 s for all of them
    async def test_a_broker_that_dies_under_load_costs_nothing(run: Run) -> None:
        \"\"\"T10\"\"\"
        async with run.stage(partitions=6) as here:     # topics, a simulated bus, the oracle that watches every commit
            member = await here.started(session(run))   # daemons ask for the cluster through the proxies
            written = await here.produce(3_000)
            await here.until_committed(500)             # strike under way, not before and not after
            run.brokers.kill(await run.coordinator(here))
            run.struck("broker killed")                 # count only what really struck
            written += await run.goes_on(here)          # more is written and committed, struck as it is
            await run.judge(here, written)              # heals everything, then demands what was promised

- Chance comes from `run.rng` alone. Its seed is printed, and `--chaos-seed` repeats it.
- `run.kill(here, daemon)` is SIGKILL with its bound: what was delivered and not committed may come twice.
- `run.network` is the proxies between daemons and brokers: `cut`, `half_open`, `delay`, `reset`, `heal` for all at
  once. A `Proxy` of your own stands before a service: `async with Proxy(port) as wire` and `endpoint_url: wire.url`.
- `run.bound` is how many records may come twice in all, 0 unless you say more; say why beside it.
- `judge` starts the phase without faults by itself, and expects that a daemon runs. Records that must end in the
  dead-letter topic are told by `buried`.
- Wait for conditions, never for times; only how long a fault lasts is a time.
"""

import asyncio
import shlex
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from connector.model import Record, TopicPartition
from connector.sandbox.eventbridge import EventBridge
from tests.chaos.brokers import Brokers
from tests.chaos.proxy import Proxy
from tests.kafka.cluster import Kafka
from tests.kafka.process import Daemon, eventually
from tests.kafka.stage import Stage, stage

LEAST: Final = 1_000
"""A run that moved fewer records than this proves too little."""

IN_FLIGHT: Final = 16 * 10
"""Entries that can be on the wire when a daemon dies, at the default of `max_in_flight`: the bus may take them yet."""

PROBES: Final = (0, 10_000, 150_000)
"""Bytes of padding of the records that must come through when everything is well again."""

DRAINED: Final = 120.0
"""Deadline to deliver what has piled up while something was struck."""


OPEN: Final = 1_000
"""`max_open_records` of the stage's daemons: what one of them can have taken and not settled."""


def quick(protocol: str) -> dict[str, Any]:
    """Changes of the config: this group protocol, and rebalances that do not wait for a heartbeat of 3 s."""
    properties = {"heartbeat.interval.ms": "200"} if protocol == "classic" else {}  # with KIP-848 the broker says
    return {"kafka": {"group_protocol": protocol, "properties": properties}}


def rate(calls: int) -> dict[str, Any]:
    """Changes of the config: so many calls a second, ten records each, so that work is under way for a while."""
    return {"targets": {"bus": {"rate_limit": {"calls": f"{calls}/s"}}}}


def order_of_restart(rng: Random, *, members: int, rounds: int) -> list[int]:
    """Each member once a round, in an order of its own."""
    return [index for _ in range(rounds) for index in rng.sample(range(members), members)]


def session(run: "Run", seconds: float = 3.0) -> dict[str, Any]:
    """Changes of the config: how soon a dead member of the classic protocol is missed."""
    timeout = max(int(seconds * 1000), run.kafka.cluster.session_ms)
    return {"kafka": {"properties": {"session.timeout.ms": str(timeout), "heartbeat.interval.ms": "300"}}}


@dataclass(frozen=True, slots=True)
class Network:
    """The proxies between the daemons and every broker, as one."""

    proxies: Sequence[Proxy]

    async def cut(self) -> None:
        """Close every connection and refuse new ones."""
        for proxy in self.proxies:
            await proxy.cut()

    async def half_open(self) -> None:
        """Keep connections and take new ones, and let nothing through."""
        for proxy in self.proxies:
            await proxy.half_open()

    async def delay(self, seconds: float) -> None:
        """Let everything that is said wait."""
        for proxy in self.proxies:
            await proxy.delay(seconds)

    def reset(self) -> int:
        """End every connection that is open now, and say how many."""
        return sum(proxy.reset() for proxy in self.proxies)

    async def heal(self) -> None:
        """Let everything pass."""
        for proxy in self.proxies:
            await proxy.heal()


@dataclass(slots=True)
class Run:
    """One run of the table.

    Invariant: a row is written once, by `judge` as a rule, from what the oracle saw.
    """

    name: str
    test: str
    base_seed: int
    kafka: Kafka
    folder: Path
    three: Brokers | None
    rng: Random = field(init=False)
    bound: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    network: Network = Network(())
    row: dict[str, Any] = field(default_factory=dict)
    _begun: float = field(default_factory=time.monotonic)
    _committed: int = 0

    def __post_init__(self) -> None:
        self.rng = Random(f"{self.base_seed} {self.test}")

    @property
    def brokers(self) -> Brokers:
        """The three brokers. A run that strikes them skips on a cluster that was given by name."""
        if self.three is None:
            pytest.skip(
                "strikes brokers: only for those that the tests start themselves, so unset KAFKA_BOOTSTRAP_SERVERS"
            )
        return self.three

    @property
    def command(self) -> str:
        """What repeats this run."""
        wanted = self.test.rpartition("::")[2].partition("[")[0]
        return f"make chaos ARGS={shlex.quote(f'--chaos-seed {self.base_seed} -k {wanted}')}"

    @asynccontextmanager
    async def stage(
        self, *, partitions: int = 1, topic: str = "", service: EventBridge | None = None
    ) -> AsyncIterator[Stage]:
        """A stage whose daemons ask for the cluster through the proxies.

        `topic` is one that the run made itself, `service` a bus with ways of its own.
        """
        fronts = self.three.fronts.values() if self.three is not None else ()
        async with AsyncExitStack() as opened:
            wires = [await opened.enter_async_context(Proxy(behind, listen=front)) for front, behind in fronts]
            self.network = Network(wires)
            made = stage(self.kafka, self.folder, partitions=partitions, topic=topic, service=service)
            yield await opened.enter_async_context(made)

    def struck(self, fault: str, n: int = 1) -> None:
        """Count a fault that has struck."""
        self.faults[fault] += n

    async def may_repeat(self, here: Stage, more: int = 0, since: Mapping[TopicPartition, int] | None = None) -> int:
        """Let what is delivered and not committed now come twice, and `more`. Gives how many are delivered so.

        `since` is what was committed when a fault began that may be over by now.
        """
        at_risk = await here.at_risk(since)
        self.bound += at_risk + more
        return at_risk

    async def kill(self, here: Stage, daemon: Daemon) -> int:
        """End a daemon as a crash of its machine would. Gives how many records were delivered and not committed.

        Fails where nothing was committed since the last kill: such a kill shows nothing.
        """
        committed = sum((await here.committed()).values())
        assert committed > self._committed, "nothing was committed since the last kill"
        self._committed = committed
        await daemon.kill()
        self.struck("SIGKILL")
        return await self.may_repeat(here, IN_FLIGHT)

    async def coordinator(self, here: Stage, other_than: int = 0) -> int:
        """Wait until a broker, and not this one, coordinates the group, and give it."""

        async def told() -> int:
            number = await asyncio.to_thread(self.brokers.coordinator, here.kafka.group)
            return number if number != other_than else 0

        return await eventually(told, within=DRAINED, what="a broker coordinates the group")

    async def goes_on(self, here: Stage, records: int = 500) -> list[Record]:
        """Write records while something is struck, wait until as many more are committed than were, and give them."""
        before = sum((await here.committed()).values())
        written = await here.produce(records)
        await here.until_committed(before + records, within=DRAINED)
        return written

    async def heal(self, here: Stage) -> None:
        """End every fault."""
        await self.network.heal()
        here.bus.faults.clear()
        if self.three is not None:
            await asyncio.to_thread(self.three.heal)

    async def judge(
        self,
        here: Stage,
        written: Sequence[Record],
        *,
        buried: int = 0,
        least: int = LEAST,
        repeats: int = 0,
        within: float = DRAINED,
        whole: bool = True,
    ) -> None:
        """End every fault, let the daemons finish, and hold what the oracle saw against what is promised.

        `buried` records must be in the dead-letter topic and not on the bus; at least `least` records must have moved,
        and at least `repeats` must have come twice, where the run is such that some do. Where more waits than a run has
        time for, `whole` is False: then it ends here, and what is committed must have arrived.
        """
        await self.heal(here)
        assert any(daemon.code is None for daemon in here.daemons), "no daemon runs that could finish"
        probes: list[Record] = []
        if whole:
            await here.until_at_end(within)
            probes += [record for size in PROBES for record in await here.produce(1, padding=size)]
            await here.until_at_end()
        for daemon in here.daemons:
            if daemon.code is None:
                assert await daemon.stop() == 0
        if not whole:
            committed = await here.committed()
            written = [record for record in written if record.offset < committed.get(record.tp, 0)]
        letters = {(record.key, record.value) for record in await here.buried()}
        missing = here.missing(record for record in written if (record.key, record.value) not in letters)
        duplicated = here.repeated()
        lost = len(missing) + len(here.violations)
        self.note(records=len(written), lost=lost, duplicated=duplicated, buried=len(letters))
        assert missing == []
        assert here.missing(probes) == [], "a record that was written when all was well did not come through"
        assert here.violations == []
        assert len(letters) == buried
        assert repeats <= duplicated <= self.bound
        assert self.faults.total() > 0, "nothing was struck"
        assert len(written) >= least, "too few records to show anything"

    def note(self, *, records: int, lost: int, duplicated: int, buried: int) -> None:
        """Write the row of the table."""
        self.row.update(
            run=self.name,
            test=self.test,
            faults=dict(self.faults),
            records=records,
            lost=lost,
            duplicated=duplicated,
            buried=buried,
            bound=self.bound,
            seed=self.base_seed,
            seconds=round(time.monotonic() - self._begun, 1),
            command=self.command,
        )
        print(f"this run: {self.row}")
