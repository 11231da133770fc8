"""What an operator may do to a running daemon, each answered in words: pause, resume, skip, reload, log level."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, get_args

import structlog

from connector import log
from connector.admin import Answer, Outcome
from connector.model import TopicPartition
from connector.settings import AdminSettings

if TYPE_CHECKING:
    from connector.app import App

_RELOAD: Final = 60.0  # seconds that whoever asks for a reload waits for its answer
UNROUTED: Final = "unrouted"
"""Stands in a URL for the route of a record that no route took."""


class Operations:
    """The app's operations as the admin server offers them. Each says in the log what was done."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self._log = structlog.get_logger("connector.operate")

    @property
    def admin(self) -> AdminSettings:
        """The settings in force: a reload may change the token."""
        return self._app.settings.admin

    def config(self) -> Mapping[str, Any]:
        """The config in force, resolved, without its secrets."""
        return {"hash": self._app.config_hash, "config": self._app.loaded.masked()}

    def pause(self, route: str) -> Answer:
        """Stop a route until it is resumed."""
        if route not in self._app.routes.by_name:
            return self._unknown(route)
        if not self._app.pause(route, "operator"):
            reason = self._app.standstill.routes[route].reason
            return Answer(Outcome.DONE, f"route {route} stood still already: {reason}")
        self._log.warning("route paused by an operator", route=route)
        return Answer(
            Outcome.DONE,
            f"route {route} is paused in this process: its records wait, nothing is committed past them. "
            "A restart lets it go on; paused: true in its config keeps it paused, in every replica",
        )

    def resume(self, route: str) -> Answer:
        """Let a stopped route go on."""
        if route not in self._app.routes.by_name:
            return self._unknown(route)
        stop = self._app.standstill.routes.get(route)
        if stop is None:
            return Answer(Outcome.DONE, f"route {route} was not paused")
        self._app.resume(route)
        self._log.warning("route goes on", route=route, was=stop.reason)
        return Answer(Outcome.DONE, f"route {route} goes on; it was {stop.reason}")

    def skip(self, route: str, topic: str, partition: int, offset: int) -> Answer:
        """Let go a record at which a route stands."""
        names = [route] if route in self._app.routes.by_name else []
        if route == UNROUTED:
            names.append("")
        if not names:
            return self._unknown(route)
        tp = TopicPartition(topic, partition)
        skipped = sum(self._app.skip(name, tp, offset) for name in names)
        if not skipped:
            return Answer(
                Outcome.REFUSED,
                f"route {route} does not stand at {tp}@{offset}, so nothing was skipped. It stands at: "
                f"{', '.join(self._places(names)) or 'no record'}",
            )
        self._log.warning("record skipped by an operator", route=route, record=f"{tp}@{offset}", events=skipped)
        return Answer(
            Outcome.DONE,
            f"skipped {skipped} event(s) of {tp}@{offset}: not sent, and committed past. "
            "The record itself stays in Kafka as long as its topic keeps it",
        )

    def _places(self, names: Iterable[str]) -> list[str]:
        """The records at which these routes stand."""
        halts = [halt.event for halts in self._app.standstill.halts.values() for halt in halts]
        held = [lane.held.entry.event for lane in self._app.lanes.values() if lane.held and lane.held.entry]
        return sorted({str(event.record) for event in (*halts, *held) if event.route in names})

    def set_level(self, level: str) -> Answer:
        """Say more or less in the log from now on."""
        for known in get_args(log.Level):
            if known == level:
                log.set_level(known)
                self._log.warning("log level changed by an operator", to=known)
                return Answer(Outcome.DONE, f"the log level is {level} until a restart or a reload")
        return Answer(Outcome.INVALID, f"there is no level {level!r}: one of {', '.join(get_args(log.Level))}")

    async def reload(self) -> Answer:
        """Read the config again and put it in force, or refuse it and say why."""
        try:
            async with asyncio.timeout(_RELOAD):
                return await self._app.reload.ask()
        except TimeoutError:
            return Answer(Outcome.REFUSED, f"no answer within {_RELOAD:g} s; the log and /status tell how it ends")

    def _unknown(self, route: str) -> Answer:
        names = ", ".join(self._app.routes.by_name)
        return Answer(Outcome.UNKNOWN, f"there is no route {route!r}: the routes are {names}")
