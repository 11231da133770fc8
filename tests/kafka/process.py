"""The daemon as a process of its own: started, signalled, asked and read from outside, and never left behind."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

T = TypeVar("T")

SECONDS: Final = 60.0
"""Deadline of one step; with two busy cores a start takes some of them."""

PAUSE: Final = 0.03
"""Seconds between two looks: the simulator lives in the same loop and has to get its turn."""

SHUTDOWN: Final = 20.0
"""`shutdown_timeout` of the daemons, in seconds; one that needs all of it ends with 1."""


async def eventually(
    reached: Callable[[], Awaitable[T]], *, within: float = SECONDS, what: str = "the condition holds"
) -> T:
    """Ask until the answer is true, and give it; fail when the deadline passes first."""
    deadline = time.monotonic() + within
    while not (value := await reached()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(PAUSE)
    return value


async def seen(reached: Callable[[], T], *, within: float = SECONDS, what: str = "the condition holds") -> T:
    """Look until what is seen from here is true, and give it; fail when the deadline passes first."""

    async def look() -> T:
        return reached()

    return await eventually(look, within=within, what=what)


def spawn(
    arguments: Sequence[str], stderr: Path, stdout: Path | None = None, environ: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `connector` with these arguments; it ends when this process ends, where the system promises that."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CONNECTOR_"))}
    env = {
        **inherited,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        **(environ or {}),
    }
    leash = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    command = [*leash, sys.executable, "-m", "connector", *arguments]
    with stderr.open("wb") as errors, (stdout or Path(os.devnull)).open("wb") as out:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=env, cwd=stderr.parent
        )


class Daemon:
    """A process of `connector run`. Whoever started it ends it, and only it: by its own process id."""

    def __init__(self, config: Path, stderr: Path, environ: Mapping[str, str] | None = None) -> None:
        self._stderr = stderr
        self._process = spawn(["run", str(config)], stderr, environ=environ)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, the negative number of the signal that ended it, None while it runs."""
        return self._process.poll()

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds now (Linux)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    # what it says

    @property
    def text(self) -> str:
        """Everything it has written to standard error so far."""
        return self._stderr.read_text(encoding="utf-8")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log. Fails on a line that is not JSON; a last one that is still being written is left out."""
        whole, _, _ = self.text.rpartition("\n")
        return [json.loads(line) for line in whole.split("\n") if line]

    def said(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of this event with these fields."""
        wanted = {"event": event, **fields}
        return [line for line in self.lines if wanted.items() <= line.items()]

    async def says(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for a log line, and give the first."""
        return (await seen(lambda: self.said(event, **fields), what=f"it says {event!r}"))[0]

    async def get(self, path: str) -> tuple[int, str]:
        """Ask the admin server: status and body, or 0 and the reason where nobody answers."""
        address = (await self.says("started"))["admin"]
        try:
            async with aiohttp.request("GET", address + path, timeout=aiohttp.ClientTimeout(15)) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return 0, f"{type(error).__name__}: {error}"

    async def is_ready(self) -> bool:
        """Whether /readyz says so."""
        return (await self.get("readyz"))[0] == 200

    async def ready(self) -> None:
        """Wait until it is ready."""

        async def ready_or_ended() -> bool:
            assert self.code is None, f"it ended with {self.code} before it was ready"
            return bool(self.said("started")) and await self.is_ready()

        await eventually(ready_or_ended, what="it is ready")

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        status, body = await self.get("metrics")
        assert status == 200, body
        samples = (sample for family in text_string_to_metric_families(body) for sample in family.samples)
        return sum(sample.value for sample in samples if sample.name == name)

    # what is done to it

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended gets none."""
        self._process.send_signal(number)

    async def exits(self, within: float = SHUTDOWN + 10) -> int:
        """Wait until it has ended, and give its exit code."""
        await seen(lambda: self.code is not None, within=within, what="it has ended")
        assert self.code is not None
        return self.code

    async def stop(self) -> int:
        """Ask for an orderly end and give the exit code; fails where `shutdown_timeout` is not kept."""
        self.send(signal.SIGTERM)
        return await self.exits()

    async def kill(self) -> None:
        """End it as a crash of the machine would."""
        self.send(signal.SIGKILL)
        assert await self.exits() == -signal.SIGKILL

    def end(self) -> None:
        """Whatever the test did: it does not outlive it, not even stopped."""
        if self.code is None:
            self._process.kill()
        self._process.wait(10)
