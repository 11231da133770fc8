"""The demo as a user types it: it proves a right daemon, and it refuses each of the broken ones by naming a record."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from connector.sandbox.generate import MODES

RECORD: Final = re.compile(r"shop\.orders\.v1\[\d+\]@\d+")
DEADLINE: Final = 90.0


async def demo(*options: str, env: Mapping[str, str] = os.environ) -> tuple[int | None, str]:
    """Exit code and output of `connector demo` with a free port for its page."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "connector", "demo", "--listen", "127.0.0.1:0", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=env,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, output.decode()


def claims(output: str) -> dict[str, bool]:
    """What the proof says of each claim."""
    return {found[2]: found[1] == "ok" for found in re.finditer(r"^(ok|FAIL) +([^:]+):", output, re.MULTILINE)}


async def test_a_right_daemon_is_proved_in_every_claim() -> None:
    code, output = await demo("--records", "400", "--seed", "11")
    assert claims(output) == {
        "every record is accounted for": True,
        "each went where it belongs": True,
        "contents are equal": True,
        "no duplicates": True,
        "no commit ran ahead of a record": True,
        "committed = end": True,
        "the daemon ended well": True,
    }
    # Each hundred holds 66 orders that are wanted and 6 broken records; one of five hundred is too large.
    assert "400 written = 264 delivered + 25 dead-lettered + 111 not routed + 0 missing" in output
    assert code == 0


async def test_every_mode_of_every_service_is_proved_at_once() -> None:
    code, output = await demo("--all", "--records", "400", "--seed", "11")
    proved = claims(output)
    assert {f"every record is accounted for in {mode}" for mode in MODES.values()} <= set(proved)
    assert [claim for claim, holds in proved.items() if not holds] == []
    assert code == 0


async def test_a_daemon_that_drops_is_refused_in_a_mode_too() -> None:
    code, output = await demo("--all", "--records", "300", "--seed", "12", "--sabotage", "drop")
    proved = claims(output)
    assert proved["every record is accounted for"] is False
    assert False in [proved[f"every record is accounted for in {mode}"] for mode in MODES.values()]
    assert code == 1


async def test_all_services_and_a_config_of_ones_own_are_not_asked_for_together(tmp_path: Path) -> None:
    code, output = await demo("--all", "--config", str(tmp_path / "own.yaml"))
    assert code == 2
    assert "--all and --config: one of them" in output


@pytest.mark.parametrize(
    ("sabotage", "claim"),
    [
        ("drop", "every record is accounted for"),
        ("double", "no duplicates"),
        ("early-commit", "no commit ran ahead of a record"),
        ("lose-dead-letter", "every record is accounted for"),
    ],
)
async def test_a_broken_daemon_is_refused_and_a_record_named(sabotage: str, claim: str) -> None:
    code, output = await demo("--records", "300", "--seed", "12", "--sabotage", sabotage)
    assert claims(output)[claim] is False
    _, _, against = output.partition(f"FAIL  {claim}")
    assert RECORD.search(against.splitlines()[1])
    assert code == 1


async def test_an_unknown_sabotage_is_refused_with_the_ones_there_are() -> None:
    code, output = await demo("--sabotage", "sleep")
    assert code == 2
    assert "early-commit, drop, double, lose-dead-letter" in output


async def test_a_config_that_is_wrong_ends_with_78_and_its_place(tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text("version: 1\nrutes: []\n")
    code, output = await demo("--config", str(config))
    assert code == 78
    assert "wrong.yaml:2:1" in output


async def test_a_run_without_end_stops_at_ctrl_c_and_prints_its_proof() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "connector", "demo", "--listen", "127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE):
            first = await process.stdout.readline()
            await process.stdout.readline()  # the first report: some records are on their way
            process.send_signal(signal.SIGINT)
            rest = (await process.stdout.read()).decode()
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    assert b"http://127.0.0.1:" in first
    assert claims(rest)["no duplicates"] is True
    assert (code, claims(rest)["the daemon ended well"]) == (0, True)
