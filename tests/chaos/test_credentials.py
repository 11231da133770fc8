"""What lets us in is taken away and given back: keys that expire, a policy, the bus itself. Nobody loses a record."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from connector.sandbox.faults import access_denied, refuse
from tests.chaos.run import Run
from tests.chaos.weather import Guarded
from tests.kafka.process import Daemon, eventually, seen
from tests.kafka.stage import BUS

PACED: Final[Mapping[str, Any]] = {"rate_limit": {"calls": "60/s"}}
"""So that what is struck is struck under way; it begins with a burst of 600 records."""

RECORDS: Final = 3_000
HOLDS: Final = "target holds: nothing is lost, nothing is sent until it works again"


async def held(daemon: Daemon) -> str:
    """The code for which the lane of the bus holds now, if it does."""
    lanes = json.loads((await daemon.get("status"))[1])["targets"]
    return next((str(lane["held"]["code"]) for lane in lanes if lane["name"] == "bus" and lane["held"]), "")


async def holds_for(daemon: Daemon, code: str) -> None:
    """Wait until the lane of the bus holds for this reason."""

    async def as_expected() -> bool:
        return await held(daemon) == code

    await eventually(as_expected, what=f"the lane holds for {code}")


async def more(count: Callable[[], int]) -> None:
    """Wait until a count of the service's is higher than now."""
    now = count()
    await seen(lambda: count() > now, what="the service hears of the lane again")


class Keys:
    """A profile whose keys are kept in a file, as text or as what a process prints; an operator writes new ones."""

    def __init__(self, folder: Path, by: str) -> None:
        self._by = by
        self._file = folder / "keys"
        self.environ = {"AWS_SHARED_CREDENTIALS_FILE": str(self._file if by == "file" else folder / "none")}
        if by == "process":
            prints = f'{sys.executable} -c "print(open({str(self._file)!r}).read())"'
            config = folder / "config"
            config.write_text(f"[profile carrier]\ncredential_process = {prints}\n")
            self.environ["AWS_CONFIG_FILE"] = str(config)

    def write(self, key: str) -> None:
        """Put this access key in the place of the one before."""
        if self._by == "file":
            text = f"[carrier]\naws_access_key_id = {key}\naws_secret_access_key = secret\naws_session_token = token\n"
        else:
            text = json.dumps({"Version": 1, "AccessKeyId": key, "SecretAccessKey": "secret", "SessionToken": "token"})
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self._file)


@pytest.mark.chaos
@pytest.mark.parametrize("by", ["file", "process"])
async def test_keys_that_expire_hold_the_lane_until_new_ones_are_there_and_nothing_is_buried(
    run: Run, tmp_path: Path, by: str
) -> None:
    """T11: keys"""
    keys, service = Keys(tmp_path, by), Guarded("AKIAFIRST")
    keys.write("AKIAFIRST")
    async with run.stage(partitions=3, service=service) as here:
        daemon = here.start({"targets": {"bus": {"profile": "carrier", **PACED}}}, keys.environ)
        await daemon.ready()
        written = await here.produce(RECORDS)
        for key, goal in (("AKIASECOND", 300), ("AKIATHIRD", 1_500)):
            await here.until_committed(goal)
            service.key = key
            await holds_for(daemon, "ExpiredTokenException")
            run.struck("the keys have expired")
            await more(lambda: service.turned_away)  # it asks again, with the old ones
            assert (await daemon.get("livez"))[0] == 200
            assert len(service.accepted) < RECORDS
            keys.write(key)
        await run.judge(here, written)
        assert len(daemon.said(HOLDS)) == 2, "new keys are found by the lane itself"


@pytest.mark.chaos
async def test_a_policy_that_is_withdrawn_from_calls_or_from_entries_is_waited_for(run: Run) -> None:
    """T11: policy"""
    async with run.stage(partitions=3) as here:
        daemon = await here.started({"targets": {"bus": PACED}})
        written = await here.produce(RECORDS)
        withdrawn = (access_denied(), refuse("AccessDeniedException", times=None))
        for fault, goal in zip(withdrawn, (300, 1_500), strict=True):
            await here.until_committed(goal)
            here.bus.faults.add(fault)
            await holds_for(daemon, "AccessDeniedException")
            run.struck("the policy is withdrawn")
            taken = len(here.bus.accepted)
            await more(lambda: here.bus.calls)  # it asks again
            assert len(here.bus.accepted) == taken < RECORDS
            here.bus.faults.clear()
        await run.judge(here, written)
        assert len(daemon.said(HOLDS)) == 2


@pytest.mark.chaos
async def test_a_bus_that_is_deleted_takes_no_more_than_the_service_said_yes_to_before_the_next_preflight(
    run: Run,
) -> None:
    """T11: bus"""
    async with run.stage(partitions=3) as here:
        bus = here.bus
        daemon = await here.started({"targets": {"bus": {**PACED, "preflight_interval": "1s"}}})
        written = await here.produce(2 * RECORDS)
        await here.until_committed(900)
        bus.buses.discard(BUS)
        await holds_for(daemon, "ResourceNotFoundException")
        run.struck("the bus is deleted")
        first = next(event.at for event in bus.vanished)
        await more(lambda: bus.outcomes["ResourceNotFoundException"])  # it looks whether the bus is back
        lost = here.vanished()
        assert len(bus.accepted) + len(lost) < len(written), "it holds, with records left to send"
        assert (await daemon.get("livez"))[0] == 200
        print(f"{len(lost)} events vanished within {bus.vanished[-1].at - first:.2f} s")
        run.struck(
            "an event that the service said yes to without a bus", len(lost)
        )  # in the row, since nobody has them
        bus.buses.add(BUS)
        await here.until_at_end(within=120)
        assert here.vanished() == lost, "none was sent before the bus was seen again"
        dropped = set(lost)
        kept = [record for record in written if (record.tp, record.offset) not in dropped]
        assert len(kept) == len(written) - len(lost)
        await run.judge(here, kept)
