"""Ways to break the daemon on purpose, so that the proof of the demo can be trusted: each of them must be refused."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from connector.app import App, Consumer, Parts
from connector.model import Ack, Batch, Event, Limits, Preflight, Prepared, TopicPartition, Verdict
from connector.room import Credit
from connector.settings import Settings
from connector.targets.contract import Target
from connector.targets.settings import TargetSettings

SABOTAGES: Final[Mapping[str, str]] = {
    "early-commit": "offsets are committed as soon as records are taken, before their events are acknowledged",
    "drop": "one entry of each tenth call is called delivered and never sent",
    "double": "one entry of each tenth call is sent a second time",
    "lose-dead-letter": "dead letters are called delivered and never written",
}
_EVERY: Final = 10
_MOMENT: Final = 1.5  # seconds: many times what the demo's witness leaves between two looks


def sabotaged(parts: Parts, how: str) -> Parts:
    """The same parts with one of them broken; `how` is a key of SABOTAGES."""
    match how:
        case "early-commit":
            return replace(parts, consumer=_commits_early(parts.consumer), target=_wrapped(parts.target, Dawdles))
        case "drop" | "double":
            kind = Drops if how == "drop" else Doubles
            return replace(parts, target=_wrapped(parts.target, kind))
        case "lose-dead-letter":
            return replace(parts, dead_letters=lambda settings: Loses(parts.dead_letters(settings)))
        case _:
            raise ValueError(f"unknown sabotage {how!r}: one of {', '.join(SABOTAGES)}")


class _Passes:
    """A target that hands everything on to another one."""

    def __init__(self, inner: Target) -> None:
        self._inner = inner
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def limits(self) -> Limits:
        """The other one's."""
        return self._inner.limits

    def prepare(self, event: Event) -> Prepared:
        """As the other one does."""
        return self._inner.prepare(event)

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """As the other one does."""
        return await self._inner.send(batch)

    async def preflight(self) -> Preflight:
        """As the other one does."""
        return await self._inner.preflight()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    def _turn(self) -> bool:
        self._calls += 1
        return self._calls % _EVERY == 1


class Drops(_Passes):
    """Calls the first entry of each tenth call delivered, and sends the others."""

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Lie about the first one."""
        if not self._turn():
            return await self._inner.send(batch)
        rest = await self._inner.send(batch[1:]) if len(batch) > 1 else ()
        return [Ack(Verdict.DELIVERED), *rest]


class Doubles(_Passes):
    """Sends the first entry of each tenth call a second time, if the service took it."""

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Send, and once more."""
        acks = await self._inner.send(batch)
        if acks and acks[0].verdict is Verdict.DELIVERED and self._turn():
            await self._inner.send(batch[:1])
        return acks


class Dawdles(_Passes):
    """Sends each call a moment late, so that a commit which runs ahead of it can be seen from outside."""

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Wait, then do as the other one does."""
        await asyncio.sleep(_MOMENT)
        return await self._inner.send(batch)


class Loses(_Passes):
    """Calls every entry delivered and sends none."""

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Lie about all of them."""
        return [Ack(Verdict.DELIVERED)] * len(batch)


class CommitsEarly:
    """A consumer that commits whatever was taken, at every turn, owed or not."""

    def __init__(self, inner: Consumer, app: App) -> None:
        self._inner = inner
        self._app = app

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def grant(self, credit: Credit) -> None:
        """Let it take more, and commit what it took."""
        self._inner.grant(credit)
        self.commit({})

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Commit past everything that is still owed."""
        shares = self._app.assignment.shares
        self._inner.commit({tp: (share.ledger.last + 1, share.ledger.epoch) for tp, share in shares.items()})


def _commits_early(
    make: Callable[[Settings, App, asyncio.AbstractEventLoop], Consumer],
) -> Callable[[Settings, App, asyncio.AbstractEventLoop], Consumer]:
    return lambda settings, app, loop: CommitsEarly(make(settings, app, loop), app)


def _wrapped(
    make: Callable[[str, TargetSettings], Target], kind: Callable[[Target], Target]
) -> Callable[[str, TargetSettings], Target]:
    return lambda name, settings: kind(make(name, settings))
