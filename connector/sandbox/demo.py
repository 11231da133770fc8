"""All on one machine: embedded broker, simulated services, a shop that writes, the daemon; and what it proved."""

import asyncio
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Final

from prometheus_client import CollectorRegistry
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.live import Live

from connector import log
from connector.admin import Bound, CannotListen, serve
from connector.app import App, real_parts
from connector.loading.load import compiled, load
from connector.loading.render import summary, text
from connector.metrics import Metrics
from connector.operations.operate import Operations
from connector.operations.report import status_of
from connector.route import Routes, compile_routes
from connector.sandbox import faults
from connector.sandbox.arrivals import READERS
from connector.sandbox.broker import Broker
from connector.sandbox.eventbridge import EventBridge
from connector.sandbox.faults import Fault
from connector.sandbox.fiddler import Fiddler
from connector.sandbox.generate import (
    MODES,
    TOPIC,
    Draft,
    Writer,
    drafts,
    fate_in_everything,
    fate_in_quickstart,
    fate_unknown,
)
from connector.sandbox.iot_events import IotEvents
from connector.sandbox.modelled import REGION
from connector.sandbox.pinpoint import Pinpoint
from connector.sandbox.prove import Books, Fate, Sent, Verdict
from connector.sandbox.rooms import MODELS
from connector.sandbox.sabotage import SABOTAGES, sabotaged
from connector.sandbox.sandbox import Sandbox
from connector.sandbox.simulator import PREFIX, Simulator
from connector.sandbox.table import table
from connector.sandbox.witness import Look, Witness
from connector.settings import PATTERN_MARK, AdminSettings, Loaded, NoAuth, Settings
from connector.targets.aws import AwsSettings, literals
from connector.targets.eventbridge import EventBridgeSettings
from connector.targets.fiddler_settings import FiddlerSettings
from connector.targets.iot_events import IotEventsSettings
from connector.targets.pinpoint import PinpointSettings
from connector.targets.settings import TargetSettings

_LOOK_EVERY: Final = 0.1
_DRAW_EVERY: Final = 0.25
_REPORT_EVERY: Final = 5.0
_WEATHER_EVERY: Final = 5.0
_PATIENCE: Final = 20.0
"""Seconds without anything new after which a run is judged as it stands."""

_RATE: Final = 100.0
"""Records a second where no end was asked for."""

_SABOTAGE_RECORDS: Final = 500

_SHOWN: Final = 50
"""Arrivals of each service that stay for its page; a long run must not keep in it what the books have."""

_ANYWHERE: Final = (faults.throttle(times=3, retry_after=0.3), faults.html(503), faults.slow(0.02, times=None))
_CLIMATE: Final[Mapping[str, tuple[Fault, ...]]] = {
    "eventbridge": (
        faults.error("ServiceUnavailable", "The simulator takes a rest.", status=503),
        faults.refuse("ThrottlingException", probability=0.01, times=None),
        faults.refuse("InternalFailure", probability=0.01, times=None),
    ),
    "iot_events": (
        faults.error("ServiceUnavailableException", "The simulator takes a rest.", status=503),
        faults.refuse("ThrottlingException", probability=0.01, times=None),
        faults.refuse("InternalFailureException", probability=0.01, times=None),
    ),
    "fiddler": (
        faults.error("ServiceUnavailable", "The simulator takes a rest.", status=503),
        faults.cut(),
        faults.fail_job(),
    ),
    "pinpoint": (
        faults.error("InternalServerErrorException", "The simulator takes a rest.", status=500),
        faults.refuse("429", probability=0.01, times=None),
        faults.refuse("500", probability=0.01, times=None),
    ),
}
"""What goes wrong in every run: some calls throttled, two outages, and of each fifty entries one refused for now."""

_WEATHER: Final = (
    faults.throttle(times=2),
    faults.html(503),
    faults.error("InternalFailure", status=500),
    faults.cut(),
)
"""What comes and goes while it runs."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked of the demo. `records` None: for ever. `seed` makes the same records again."""

    records: int | None
    sabotage: str | None
    admin: AdminSettings | None
    seed: int
    fate: Callable[[Draft], Fate | None]
    modes: Mapping[str, str]


def demo(
    records: int | None = None,
    sabotage: str | None = None,
    all_: bool = False,
    config: Path | None = None,
    listen: str | None = None,
    seed: int | None = None,
) -> int:
    """Run the demo, for ever or for so many records, and print what it proved; return the exit code.

    `sabotage` is a key of SABOTAGES. `all_` takes the config that sends to every service in place of the quickstart,
    `config` another one; `listen` takes the place of its `admin.listen`. Broker and services are the simulated ones.
    """
    if sabotage is not None and sabotage not in SABOTAGES:
        return _refuse(f"--sabotage {sabotage}: there is only {', '.join(SABOTAGES)}", 2)
    if records is not None and records < 1:
        return _refuse(f"--records {records}: a run without records proves nothing", 2)
    if all_ and config is not None:
        return _refuse("--all and --config: one of them, for --all is a config of its own", 2)
    try:
        admin = None if listen is None else AdminSettings(listen=listen)
    except ValidationError as error:
        return _refuse(f"--listen {listen}: {error.errors()[0]['msg']}", 2)
    loaded = load([config or shipped("everything.yaml" if all_ else "quickstart.yaml")], os.environ)
    routes = None if loaded.settings is None else compile_routes(loaded.settings, loaded.locate)[0]
    if routes is None:
        loaded = compiled(loaded)
        return _refuse(f"{text(loaded)}\n\n{summary(loaded.problems)}", 78)
    wish = Wish(
        records=_SABOTAGE_RECORDS if records is None and sabotage is not None else records,
        sabotage=sabotage,
        admin=admin,
        seed=Random().randrange(1_000_000) if seed is None else seed,
        fate=fate_unknown if config is not None else fate_in_everything if all_ else fate_in_quickstart,
        modes=MODES if all_ else {},
    )
    _be_nobody()
    try:
        code, verdicts = asyncio.run(_perform(loaded, routes, wish))
    except CannotListen as error:
        return _refuse(str(error), 1)
    return _tell(wish, code, verdicts)


def shipped(name: str) -> Path:
    """A config that comes with the package: inside it when installed, beside it in a working tree."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "config" / name
    return inside if inside.exists() else package.parent / "config" / name


def _refuse(why: str, code: int) -> int:
    print(why, file=sys.stderr)
    return code


def _tell(wish: Wish, code: int, verdicts: Sequence[Verdict]) -> int:
    print(f"\nWhat the run proved (the same records again: --seed {wish.seed})")
    if wish.sabotage:
        print(f"      sabotage {wish.sabotage}: {SABOTAGES[wish.sabotage]}")
    for verdict in verdicts:
        print(verdict)
    print(Verdict("the daemon ended well", f"exit code {code}", (f"it should be 0, not {code}",) if code else ()))
    return 0 if code == 0 and all(verdict.holds for verdict in verdicts) else 1


def _be_nobody() -> None:
    """Keep the real credentials and proxies of whoever runs this out of the way to the simulator."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    os.environ |= {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "NO_PROXY": "127.0.0.1"}


class Show:
    """The daemon between the writer and the witness.

    Invariant: a look reads the group's offsets first, and the dead letters and the services' logs after them. So what a
    right commit covers is in the books before the commit is.
    """

    def __init__(self, services: Mapping[str, Simulator], writer: Writer, witness: Witness, books: Books) -> None:
        self._services = services
        self._read_to = dict.fromkeys(services, 0)
        self._writer = writer
        self._witness = witness
        self._books = books
        self._seen: object = None
        self._news_at = 0.0

    async def look(self) -> Look:
        """Enter into the books what there is to see now."""
        look = await self._witness.look()
        sent = [event for name in self._services for event in self._arrived(name)]
        for event in sent:
            self._books.delivered(event)
        for letter in look.buried:
            self._books.buried(letter)
        self._books.committed(look.committed)
        self._writer.committed(look.committed)
        if sent or look.buried or self._seen != (look.committed, look.ends):
            self._seen = (look.committed, look.ends)
            self._news_at = asyncio.get_running_loop().time()
        return look

    def _arrived(self, name: str) -> list[Sent]:
        """What a service took since the last look."""
        service, read_to = self._services[name], self._read_to[name]
        self._read_to[name] = service.arrived
        arrived = [READERS[name](one) for one in service.accepted if one.index >= read_to]
        service.trim(_SHOWN)
        return arrived

    @property
    def quiet(self) -> bool:
        """Whether nothing has happened for so long that nothing will."""
        return asyncio.get_running_loop().time() - self._news_at > _PATIENCE

    async def watch(self, daemon: "asyncio.Task[int]", writing: "asyncio.Task[None]", asked: asyncio.Event) -> Look:
        """Look until all is written and committed, until the daemon has ended, or until nothing more happens."""
        while True:
            look = await self.look()
            if asked.is_set():
                writing.cancel()
            if daemon.done() or self.quiet or (writing.done() and await self._settled(look)):
                return look
            await asyncio.sleep(_LOOK_EVERY)

    async def _settled(self, look: Look) -> bool:
        await self._writer.flush()
        return self._books.written == sum(look.ends.values()) == sum(look.committed.values())


async def _perform(loaded: Loaded, routes: Routes, wish: Wish) -> tuple[int, Sequence[Verdict]]:
    """Build everything, run it, take it down in order; the daemon's exit code, and the verdicts."""
    assert loaded.settings is not None  # noqa: S101 - demo() has compiled its routes
    books = Books(wish.modes)
    async with AsyncExitStack() as stack:
        services = services_of(loaded.settings, wish.seed)
        for name, service in services.items():
            service.faults.add(*_ANYWHERE, *_CLIMATE[name])
        sandbox = await stack.enter_async_context(Sandbox(services))
        broker = await stack.enter_async_context(Broker())
        settings = _pointed(loaded.settings, broker.bootstrap_servers, sandbox.url)
        partitions = await broker.topics(_topic(settings))
        dead = await broker.topics(settings.dead_letters.topic) if settings.dead_letters else ()
        writer = Writer(broker.bootstrap_servers, partitions, wish.fate, books.wrote)
        stack.push_async_callback(writer.close)
        witness = Witness(broker.bootstrap_servers, settings.kafka.group_id, partitions, dead)
        stack.push_async_callback(witness.close)

        metrics = Metrics(CollectorRegistry())
        parts = real_parts() if wish.sabotage is None else sabotaged(real_parts(), wish.sabotage)
        log.configure("warning", "console")  # before anything takes a logger
        app = App(replace(loaded, settings=settings), routes, metrics, parts)
        page = await stack.enter_async_context(_page(app, wish, settings, metrics))
        screen = stack.enter_context(_screen())
        show = Show(services, writer, witness, books)
        asked = _asked_to_stop()
        if screen is None:
            _say(
                f"records {wish.records or 'without end, Ctrl-C stops it'}, seed {wish.seed}, page {page.url}, "
                f"services {sandbox.url}{PREFIX}/"
            )
        async with asyncio.TaskGroup() as root:
            daemon = root.create_task(app.run(), name="daemon")
            rate = _RATE if wish.records is None else None
            writing = root.create_task(writer.write(drafts(wish.seed), wish.records, rate), name="writer")
            telling = _report(app, books) if screen is None else _draw(screen, app, books, page.url)
            others = [root.create_task(weather(services), name="weather"), root.create_task(telling, name="screen")]
            await show.watch(daemon, writing, asked)
            writing.cancel()
            app.stop()
            while not daemon.done():
                await show.look()
                await asyncio.sleep(_LOOK_EVERY)
            for task in others:
                task.cancel()
        look = await show.look()
        return daemon.result(), books.verdicts(ends=look.ends, committed=look.committed)


def _asked_to_stop() -> asyncio.Event:
    """Set by the first Ctrl-C or SIGTERM; a second one ends the process as usual."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()

    def ask() -> None:
        asked.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    return asked


@asynccontextmanager
async def _page(app: App, wish: Wish, settings: Settings, metrics: Metrics) -> AsyncIterator[Bound]:
    """Serve the status page; where nobody asked for an address and the config's is taken, at any free one."""
    admin, operations = wish.admin or settings.admin, Operations(app)
    async with AsyncExitStack() as stack:
        try:
            bound = await stack.enter_async_context(serve(app, operations, admin.host, admin.port, metrics=metrics))
        except CannotListen:
            if wish.admin is not None:
                raise
            bound = await stack.enter_async_context(serve(app, operations, admin.host, 0, metrics=metrics))
        yield bound


@contextmanager
def _screen() -> Iterator[Live | None]:
    """A live area on a terminal, nothing elsewhere."""
    console = Console()
    if not console.is_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False) as live:
        yield live


async def _draw(live: Live, app: App, books: Books, address: str) -> None:
    while True:
        live.update(table(status_of(app), books.written, address), refresh=True)
        await asyncio.sleep(_DRAW_EVERY)


async def _report(app: App, books: Books) -> None:
    """Where there is no terminal: one line now and then."""
    while True:
        await asyncio.sleep(_REPORT_EVERY)
        totals = status_of(app)["totals"]
        _say(
            f"written {books.written}, consumed {totals['consumed']}, delivered {totals['delivered']}, "
            f"dead-lettered {totals['dead_lettered']}, retried {totals['retried']}, open {totals['open_records']}"
        )


def _say(line: str) -> None:
    print(line, flush=True)


async def weather(services: Mapping[str, Simulator]) -> None:
    """Some fault for some service, now and then, in turn; none for one that has taken nothing since its last.

    A lane waits longer after each call that brings nothing through. Fault upon fault made it wait for longer than a run
    is patient, which then looked like a loss.
    """
    arrived = dict.fromkeys(services, 0)
    for name, fault in zip(cycle(services), cycle(_WEATHER), strict=False):
        await asyncio.sleep(_WEATHER_EVERY)
        if services[name].arrived > arrived[name]:
            arrived[name] = services[name].arrived
            services[name].faults.add(fault)


def _topic(settings: Settings) -> str:
    """Where the shop writes: the first topic that a route names."""
    named = (topic for route in settings.routes for topic in route.topics if not topic.startswith(PATTERN_MARK))
    return next(named, TOPIC)


def services_of(settings: Settings, seed: int) -> dict[str, Simulator]:
    """The simulated services that the targets of a config need, with what its targets and maps name."""
    names: defaultdict[str, set[Any]] = defaultdict(set)
    for name, target in settings.targets.items():
        maps = [route.map for route in settings.routes if name in route.targets]
        match target:
            case EventBridgeSettings():
                names["eventbridge"] |= {bus.rpartition("/")[2] for bus in (target.event_bus, *target.event_buses)}
            case IotEventsSettings():
                inputs = (target.input_name, *target.input_names, *literals(maps, "inputName"))
                names["iot_events"] |= set(filter(None, inputs))
            case PinpointSettings():
                applications = (target.application_id, *target.application_ids, *literals(maps, "ApplicationId"))
                names["pinpoint"] |= set(filter(None, applications))
            case FiddlerSettings():
                names["fiddler"] |= set(MODELS)
    kinds: dict[str, Callable[..., Simulator]] = {
        "eventbridge": EventBridge,
        "iot_events": IotEvents,
        "pinpoint": Pinpoint,
        "fiddler": Fiddler,
    }
    return {kind: kinds[kind](there, seed=seed) for kind, there in names.items()}


def _pointed(settings: Settings, servers: str, url: str) -> Settings:
    """The same settings with the broker and the AWS endpoints of this machine."""
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": servers, "auth": NoAuth()})
    targets = {name: _local(target, url) for name, target in settings.targets.items()}
    return settings.model_copy(update={"kafka": kafka, "targets": targets})


def _local(target: TargetSettings, url: str) -> TargetSettings:
    if isinstance(target, FiddlerSettings):
        return target.model_copy(update={"url": url, "token": SecretStr("demo")})
    if not isinstance(target, AwsSettings):
        return target
    nobody = dict.fromkeys(("profile", "role_arn", "external_id"))
    if isinstance(target, EventBridgeSettings):
        nobody["endpoint_id"] = None
    return target.model_copy(update={"endpoint_url": url, "region": target.region or REGION, **nobody})
