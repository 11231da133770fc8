"""A new config takes the place of the one in force, lane by lane and record by record, and nothing is lost between.

Everything is decided in one synchronous step (`_swap`): from then on records are routed by the new config, what waits
is routed anew where its route has changed, and a lane whose target has changed sends nothing more. Then it is awaited
that the calls of such a lane end, and its successor begins. What cannot be applied as a whole is refused as a whole,
and the config in force goes on.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import structlog

from connector import log
from connector.admin import Answer, Outcome
from connector.model import Entry, Event, Record, Settle
from connector.operations.change import Change
from connector.operations.report import iso, watch_lane
from connector.operations.status import Reload as Told
from connector.publish import Lane
from connector.route import Route, Routes, feed
from connector.settings import Loaded, Settings
from connector.targets.contract import Fed, Target
from connector.targets.dead_letter import TARGET as DEAD_LETTERS

if TYPE_CHECKING:
    from connector.app import App

_ENTER: Final = 30.0  # seconds that opening a new target may take
_LOOK_EVERY: Final = 0.02  # seconds between two looks at a lane whose calls are to end
_PROBLEMS: Final = 3  # of a bad config, that the answer tells


class _Owed(NamedTuple):
    """Something that waits: an event of a record, and how its debt is paid."""

    event: Event
    settle: Settle


class Refused(Exception):
    """The new config is not applied; the message says why."""


class Reload:
    """Reloads of one app, one after the other.

    Invariant: whatever is taken out of a lane is, before anything is awaited, in another lane, made anew, or owed with
    its partition about to go. New debts are opened before the ones that they replace are paid.
    """

    def __init__(self, app: "App") -> None:
        self._app = app
        self._log = structlog.get_logger("connector.reload")
        self._asked: asyncio.Queue[asyncio.Future[Answer]] = asyncio.Queue()
        self._fresh: frozenset[Lane] = frozenset()  # lanes that the last reload began: what others had is prepared anew
        self.successions: set[asyncio.Task[None]] = set()

    def ask(self) -> "asyncio.Future[Answer]":
        """Ask for a reload; the answer comes as soon as it is decided."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait(answer)
        return answer

    async def run(self, root: asyncio.TaskGroup) -> None:
        """Serve what is asked for, until cancelled."""
        while True:
            asked = await self._asked.get()
            answer = await self._reload(root)
            if not asked.done():
                asked.set_result(answer)

    async def _reload(self, root: asyncio.TaskGroup) -> Answer:
        app = self._app
        outcome: Literal["applied", "refused"] = "applied"
        try:
            words = await self._apply(root)
        except Refused as error:
            outcome, words = "refused", str(error)
            self._log.error("reload refused: the config before it stays in force", reason=words)
        else:
            self._log.warning("reload applied", result=words, config_hash=app.config_hash)
        app.tally.metrics.config_reloads.labels(outcome=outcome).inc()
        app.last_reload = Told(at=iso(app.parts.wall()), outcome=outcome, reason=words)
        return Answer(Outcome.DONE if outcome == "applied" else Outcome.REFUSED, words)

    async def _apply(self, root: asyncio.TaskGroup) -> str:
        app = self._app
        if app.parts.read is None:
            raise Refused("this daemon was started without files that it could read again")
        if app.retired:
            names = ", ".join(lane.name for lane in app.retired)
            raise Refused(f"the reload before it is not over: calls of {names} have to end first")
        loaded, routes = await app.parts.read()
        settings = loaded.settings
        if settings is None or routes is None:
            raise Refused(_told(loaded))
        if settings == app.settings:
            return "nothing has changed"
        change = Change.of(app.settings, settings)
        if app.settings.schema_registry == settings.schema_registry:
            routes = routes.knowing(app.routes.schemas)
        if change.restart:
            keys = ", ".join(change.restart)
            raise Refused(f"it needs a restart, and nothing of it is applied: {keys} changed")
        try:
            targets = self._targets(settings, change)
        except Exception as error:
            raise Refused(f"its targets cannot be made: {type(error).__name__}: {error}") from error
        stacks = await self._enter(targets)
        if why := self._hindered(routes):
            await _leave(stacks)
            raise Refused(why)
        # from here to the end of _swap no await
        before = app.routes
        for lane in self._swap(loaded, settings, routes, change, targets, stacks):
            succession = root.create_task(self._succeed(lane, before, change), name=f"succession {lane.name}")
            self.successions.add(succession)
            succession.add_done_callback(self.successions.discard)
        begun = f", lanes begun anew: {', '.join(sorted(targets))}" if targets else ""
        return f"config {app.config_hash} is in force: {len(change.routes)} route(s) changed{begun}"

    def _hindered(self, routes: Routes) -> str:
        """Why this is not the moment for these routes; empty where it is.

        What came of a topic since a reload let it go was dropped, for its next owner to read. Until that is a new
        assignment, nothing of it may be opened: the ledger knows no record that was dropped, and commits would pass it.
        """
        app = self._app
        if app.state != "running":
            return "the daemon is stopping"
        topics = {tp.topic for tp in app.assignment.shares}
        leaving = sorted(topic for topic in topics if routes.of(topic) and not app.routes.of(topic))
        if leaving:
            return f"the reload before it is not over: the partitions of {', '.join(leaving)} have to be let go first"
        return ""

    def _targets(self, settings: Settings, change: Change) -> dict[str, Target]:
        """The targets that begin anew: what has changed, and what reads the maps of routes of which one has changed."""
        app = self._app
        changed = [one for one in (*app.settings.routes, *settings.routes) if one.name in change.routes]
        reads = {name for one in changed for name in one.targets if isinstance(app.targets.get(name), Fed)}
        names = [name for name in settings.targets if name in change.targets or name in reads]
        targets = {name: app.parts.target(name, settings.targets[name]) for name in names}
        feed(targets, settings)
        if change.dead_letters:
            targets[DEAD_LETTERS] = self._app.parts.dead_letters(settings)
        return targets

    async def _enter(self, targets: dict[str, Target]) -> dict[str, AsyncExitStack]:
        """Open all new targets, or none."""
        stacks: dict[str, AsyncExitStack] = {}
        for name, target in targets.items():
            stacks[name] = stack = AsyncExitStack()
            try:
                async with asyncio.timeout(_ENTER):
                    await stack.enter_async_context(target)
            except Exception as error:
                await _leave(stacks)
                raise Refused(f"the target {name} cannot be opened: {type(error).__name__}: {error}") from error
        return stacks

    # the one step in which it happens

    def _swap(
        self,
        loaded: Loaded,
        settings: Settings,
        routes: Routes,
        change: Change,
        targets: Mapping[str, Target],
        stacks: Mapping[str, AsyncExitStack],
    ) -> Sequence[Lane]:
        """Put the new config in force; return the lanes that end."""
        app = self._app
        before, app.routes, app.settings = app.routes, routes, settings
        app.loaded, app.config_hash = loaded, loaded.hash
        names = [*settings.targets, *([DEAD_LETTERS] if DEAD_LETTERS in app.lanes else [])]
        lanes, ending = app.lanes, [lane for name, lane in app.lanes.items() if name in targets or name not in names]
        touched = [*ending, *(lane for lane in lanes.values() if any(map(lane.has, change.routes)))]
        back = [entry for lane in dict.fromkeys(touched) for entry in lane.recall()]
        for lane in ending:
            lane.end()
            app.retired.append(lane)
        fresh = {name: app.lane(name, target) for name, target in targets.items()}
        for name, lane in fresh.items():
            app.opened[lane] = stacks[name]
            watch_lane(lane, app.tally.metrics)
            if name in lanes:
                lane.follow(lanes[name])
        app.lanes = {name: fresh[name] if name in fresh else lanes[name] for name in names}
        self._fresh = frozenset(fresh.values())
        app.targets = {name: targets[name] if name in targets else app.targets[name] for name in names}
        for name in fresh.keys() - lanes.keys():
            app.start_lane(fresh[name])
        waiting = [*self._lifted(change), *self._unstopped(change)]
        for route in routes.routes:
            app.tally.metrics.announce(route.name, route.settings.targets)
            self._pause(route, before.by_name.get(route.name))
        self._give_back(back, waiting, before, change)
        for lane in touched:
            lane.probe()
        self._around(settings)
        return ending

    def _around(self, settings: Settings) -> None:
        """What a new config changes beside routes and lanes."""
        app = self._app
        if app.consumer is not None:
            app.consumer.read([topic for route in settings.routes for topic in route.topics])
        log.set_level(settings.log.level)
        app.tally.metrics.running(app.config_hash)
        app.divide()

    def _lifted(self, change: Change) -> list[_Owed]:
        """The records at which partitions stand, as far as the new config may read them otherwise."""
        app = self._app
        lifted = []
        for tp, halts in list(app.standstill.halts.items()) if change.routes else ():
            for halt in list(halts):
                mapped = halt.stage == "TRANSFORMATION" and halt.event.route != ""
                if not mapped or halt.event.route in change.routes:
                    app.standstill.lift(tp, halt.event.record.offset, halt.event.route)
                    lifted.append(_Owed(halt.event, halt.settle))
            if tp not in app.standstill.halts:
                app.assignment.unhalt(tp)
        return lifted

    def _unstopped(self, change: Change) -> list[_Owed]:
        """What would have become dead letters of stopped routes. A stopped route stays so, unless it is taken away."""
        app = self._app
        waiting = []
        for name, stop in list(app.standstill.routes.items()):
            if name in change.routes:
                waiting += [_Owed(one.event, one.settle) for one in stop.waiting]
                stop.waiting.clear()
            if name not in app.routes.by_name:
                app.resume(name)
        return waiting

    def _pause(self, route: Route, before: Route | None) -> None:
        """Stop or start a route where its `paused` has changed: what an operator said since the last change stands."""
        app = self._app
        stop = app.standstill.routes.get(route.name)
        was = before is not None and before.settings.paused
        if route.settings.paused and not was and stop is None:
            app.pause(route.name, "config")
        elif was and not route.settings.paused and stop is not None and stop.why == "config":
            app.resume(route.name)

    def _give_back(self, back: Sequence[Entry], waiting: Sequence[_Owed], before: Routes, change: Change) -> None:
        """Give what was taken out of lanes to the lanes of now, in the order of offsets; make anew what has changed."""
        app = self._app
        stale: defaultdict[Record, list[Settle]] = defaultdict(list)
        for owed in waiting:
            stale[owed.event.record].append(owed.settle)
        good: defaultdict[Record, list[Entry]] = defaultdict(list)
        for entry in back:
            if entry.event.route in change.routes or entry.event.target not in app.lanes:
                stale[entry.event.record].append(app.debt(entry))
            else:
                good[entry.event.record].append(entry)
        for record in sorted({*stale, *good}, key=lambda record: (record.tp, record.offset)):
            for entry in good[record]:
                if app.lanes[entry.event.target] in self._fresh:
                    app.prepare_again(entry)
                else:
                    app.offer_again(entry)
            if record in stale:
                self._make_anew(record, stale[record], before, change)

    def _make_anew(self, record: Record, settles: Sequence[Settle], before: Routes, change: Change) -> None:
        """Route a record by the new config and owe what comes of it; then pay what it owed by the old one."""
        app = self._app
        share = app.assignment.shares.get(record.tp)
        if share is None or not app.routes.of(record.tp.topic):
            return  # its partition is about to go: nothing is paid, so who reads the topic again begins here
        kept = set(before.route(record).matched) - change.routes
        if app.take_again(share, record, kept):
            for settle in settles:
                settle()

    # what is awaited

    async def _succeed(self, old: Lane, before: Routes, change: Change) -> None:
        """Wait for the calls of a lane; what comes back of them is its successor's, which begins then."""
        app = self._app
        while not old.drained:  # noqa: ASYNC110 - also a dead letter of another lane ends it
            await asyncio.sleep(_LOOK_EVERY)
        # from here to the start of the successor no await
        app.retired.remove(old)
        new = app.lanes.get(old.name)
        self._give_back(old.recall(), (), before, change)
        if new is None:
            app.tally.metrics.retire(old.name)
        else:
            for entry in sorted(new.recall(), key=lambda entry: (entry.event.record.tp, entry.event.record.offset)):
                app.offer_again(entry)  # in the order of offsets, with what came back among them
            app.start_lane(new)
        await app.close_lane(old)


async def _leave(stacks: Mapping[str, AsyncExitStack]) -> None:
    for stack in stacks.values():
        await stack.aclose()


def _told(loaded: Loaded) -> str:
    """The first mistakes of a config, each in a line of its own words."""
    errors = loaded.errors
    more = f" (and {len(errors) - _PROBLEMS} more; connector check tells all)" if len(errors) > _PROBLEMS else ""
    return "; ".join(f"{e.where}: {e.code} {e.path}: {e.message}" for e in errors[:_PROBLEMS]) + more
