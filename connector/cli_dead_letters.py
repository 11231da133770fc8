"""`connector dead-letters`: what is in the dead-letter topics, why, and again through the routes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.command import FAILED, USAGE, Paths, sound
from connector.loading.load import compiled, load
from connector.settings import Loaded, Settings

if TYPE_CHECKING:
    from connector.letters.letter import Letter, NoLetter, Selection
    from connector.letters.replay import Result, Way
    from connector.letters.replayed import Replayed

dead_letters = typer.Typer(no_args_is_help=True, help="What is in the dead-letter topics, why, and again.")

Topics = Annotated[list[str] | None, typer.Option("--topic", help="This dead-letter topic alone")]
RouteNames = Annotated[list[str] | None, typer.Option("--route", help="Letters of this route; - for those of none")]
TargetNames = Annotated[list[str] | None, typer.Option("--target", help="Letters for this target")]
Codes = Annotated[list[str] | None, typer.Option("--code", help="Letters with this code, such as NotJSON")]
Since = Annotated[str | None, typer.Option(help="Buried from then on: 2h ago, or 2026-01-31T12:00:00Z")]
Until = Annotated[str | None, typer.Option(help="Buried before: 2h ago, or 2026-01-31T12:00:00Z")]
Seconds = Annotated[float, typer.Option(min=0.1, help="How long reading the topics may take")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines")]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a command was asked for: a sound config, its dead-letter topics, and which letters."""

    loaded: Loaded
    settings: Settings
    topics: tuple[str, ...]
    selection: "Selection"
    seconds: float

    @property
    def connector(self) -> str:
        return self.settings.kafka.group_id

    def letters(self, notes: list[str]) -> "Iterator[tuple[Letter | NoLetter, bool]]":
        """Each record of the topics, read, and whether it was replayed."""
        from connector.consume_letters import everything
        from connector.letters.letter import read

        known: dict[Any, Replayed] = {}
        for record in everything(self.settings, self.topics, self.seconds, notes):
            memory = self.memory(known, record.tp)
            yield read(record, self.connector), record.offset in memory

    def memory(self, known: "dict[Any, Replayed]", tp: Any) -> "Replayed":
        """What the replay group remembers of a partition, asked once."""
        from connector.consume_letters import memory

        if tp not in known:
            known |= memory(self.settings, [tp])
        return known[tp]


def _asked(
    paths: Any,
    topics: list[str] | None,
    routes: list[str] | None,
    targets: list[str] | None,
    codes: list[str] | None,
    since: str | None,
    until: str | None,
    seconds: float,
) -> _Asked:
    from connector.letters.letter import Selection

    loaded = sound(compiled(load(paths, os.environ)))
    settings = loaded.settings
    if settings is None:
        raise ValueError("a sound config has settings")
    there = settings.dead_letter_topics
    if not there:
        _refuse("the config has no dead_letters topic: nothing is buried, so there is nothing to replay")
    for topic in topics or ():
        if topic not in there:
            _refuse(
                f"{topic} is not a dead-letter topic of this config, and what is no dead letter is never replayed; "
                f"the dead-letter topics are {', '.join(there)}"
            )
    names = frozenset("" if name == "-" else name for name in routes or ())
    selection = Selection(names, frozenset(targets or ()), frozenset(codes or ()), _time(since), _time(until))
    return _Asked(loaded, settings, tuple(topics or there), selection, seconds)


def _refuse(reason: str) -> None:
    typer.echo(reason, err=True)
    raise typer.Exit(USAGE)


def _time(text: str | None) -> int | None:
    """`2h` ago or an RFC 3339 time, as epoch milliseconds."""
    from connector.targets.settings import seconds

    if text is None:
        return None
    try:
        return int((time.time() - seconds(text)) * 1000)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(f"{text} is neither how long ago (2h) nor a time with its zone (2026-01-31T12:00:00Z)")
    return int(found.timestamp() * 1000)


def _fail(error: Exception) -> None:
    typer.echo(str(error), err=True)
    raise typer.Exit(FAILED) from None


@dead_letters.command("list")
def list_(
    paths: Paths,
    topic: Topics = None,
    route: RouteNames = None,
    target: TargetNames = None,
    code: Codes = None,
    since: Since = None,
    until: Until = None,
    each: Annotated[bool, typer.Option("--each", help="A line for each letter, with its place")] = False,
    seconds: Seconds = 60.0,
    json_: AsJson = False,
) -> None:
    """How many dead letters there are, by route, target, code and age."""
    from connector.dryrun import show
    from connector.letters import show as show_letters
    from connector.letters.letter import CannotReplay, NoLetter

    asked = _asked(paths, topic, route, target, code, since, until, seconds)
    census = show_letters.Census()
    lines: list[Any] = []
    now = int(time.time() * 1000)
    try:
        for letter, replayed in asked.letters(census.notes):
            if isinstance(letter, NoLetter):
                census.add(letter, replayed)
            elif asked.selection.takes(letter):
                census.add(letter, replayed)
                if each and json_:
                    lines.append(show_letters.letter_plain(letter, replayed))
                elif each:
                    typer.echo(show_letters.line(letter, replayed, now))
    except CannotReplay as error:
        _fail(error)
    if json_:
        plain = show_letters.census_plain(census)
        typer.echo(show.as_json({**plain, "letters": lines} if each else plain))
    else:
        typer.echo(("\n" if each else "") + show_letters.census_text(census, now))


@dead_letters.command("show")
def show_(
    paths: Paths,
    at: Annotated[
        str | None, typer.Option(help="[TOPIC/]PARTITION/OFFSET; the oldest that was not replayed by default")
    ] = None,
    topic: Topics = None,
    route: RouteNames = None,
    target: TargetNames = None,
    code: Codes = None,
    since: Since = None,
    until: Until = None,
    seconds: Seconds = 60.0,
    json_: AsJson = False,
) -> None:
    """One dead letter whole: its error, all that its record holds, and what the routes make of it now."""
    from connector.dryrun import show
    from connector.dryrun.tryout import DryRun
    from connector.letters import show as show_letters
    from connector.letters.letter import CannotReplay, NoLetter

    asked = _asked(paths, topic, route, target, code, since, until, seconds)
    wanted = None if at is None else _place(at, asked.topics)
    found: tuple[Letter, bool] | None = None
    try:
        for letter, replayed in asked.letters([]):
            if wanted is not None and show_letters.place_of(letter.place) != wanted:
                continue
            if isinstance(letter, NoLetter):
                if wanted is not None:
                    _fail(ValueError(f"{wanted} cannot be shown: {letter.reason}"))
                continue
            if wanted is None and (replayed or not asked.selection.takes(letter)):
                continue
            if found is None or letter.at_ms < found[0].at_ms:
                found = letter, replayed
            if wanted is not None:
                break
    except CannotReplay as error:
        _fail(error)
    if found is None:
        _fail(ValueError(f"no dead letter {wanted or 'that is not replayed'} was found"))
        return
    letter, replayed = found
    trial = DryRun.of_config(asked.loaded).of(letter.origin)
    if json_:
        typer.echo(show.as_json(show_letters.letter_plain(letter, replayed, trial)))
    else:
        typer.echo(show_letters.letter_text(letter, replayed, trial, int(time.time() * 1000)))


def _place(at: str, topics: tuple[str, ...]) -> str:
    parts = at.split("/")
    if len(parts) == 2 and len(topics) == 1:
        parts = [topics[0], *parts]
    if len(parts) != 3 or parts[0] not in topics or not (parts[1].isdecimal() and parts[2].isdecimal()):
        message = f"{at} is no place of a dead letter: write TOPIC/PARTITION/OFFSET, as list --each prints it"
        raise typer.BadParameter(message, param_hint="--at")
    return f"{parts[0]}/{int(parts[1])}/{int(parts[2])}"


@dead_letters.command()
def replay(
    paths: Paths,
    topic: Topics = None,
    route: RouteNames = None,
    target: TargetNames = None,
    code: Codes = None,
    since: Since = None,
    until: Until = None,
    to_source: Annotated[
        bool, typer.Option("--to-source", help="Back to the topics they came from: every route sees them again")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and end there")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Send without asking after the dry run")] = False,
    rate: Annotated[str | None, typer.Option(help="Letters a second at most, for example 50/s")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed before")] = False,
    seconds: Seconds = 60.0,
    json_: AsJson = False,
) -> None:
    """Send dead letters again, through the routes as they are now; a dry run comes first.

    What fails again stays where it is. What was replayed is remembered, so a run can be stopped and begun again.
    """
    from connector.dryrun import show
    from connector.letters import show as show_letters
    from connector.letters.letter import CannotReplay

    asked = _asked(paths, topic, route, target, code, since, until, seconds)
    per_second = _rate(rate)
    way = _way(asked, to_source)
    try:
        looked = _look(asked, way, again)
        over = dry_run or not (looked.replayed or looked.skipped)
        if over or not (json_ and yes):
            plain, said = show_letters.result_plain(looked, True), show_letters.result_text(looked, True)
            typer.echo(show.as_json(plain) if json_ else said)
        if over:
            raise typer.Exit(FAILED if looked.left else 0)
        if not yes and not _agreed(looked, json_):
            raise typer.Exit(0)
        result = asyncio.run(_send(asked, way, looked, per_second, again))
    except CannotReplay as error:
        _fail(error)
        return
    if json_:
        typer.echo(show.as_json(show_letters.result_plain(result, False)))
    else:
        typer.echo("\n" + show_letters.result_text(result, False))
    if result.left or result.stopped or result.unfinished:
        raise typer.Exit(FAILED)


def _agreed(looked: "Result", json_: bool) -> bool:
    if json_ or not sys.stdin.isatty():
        typer.echo("nothing was sent: add --yes to send", err=True)
        return False
    return typer.confirm(f"\nsend {looked.replayed + looked.skipped} now?", default=False)


def _rate(text: str | None) -> float | None:
    from connector.targets.settings import per_second

    if text is None:
        return None
    try:
        return per_second(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--rate") from None


def _way(asked: _Asked, to_source: bool) -> "Way":
    from connector.kafka_properties import producer_config
    from connector.letters.replay import ThroughRoutes, ToSource
    from connector.route import compile_routes, feed
    from connector.targets import REGISTRY
    from connector.targets.dead_letter import Sources, kafka_producer

    settings = asked.settings
    routes, problems = compile_routes(settings, asked.loaded.locate)
    if routes is None:
        raise ValueError("\n".join(str(problem) for problem in problems))
    if to_source:
        topics = sorted({topic for one in settings.routes for topic in one.topics if not topic.startswith("^")})
        return ToSource(routes, Sources(topics, lambda heard: kafka_producer(producer_config(settings.kafka), heard)))
    targets = {name: REGISTRY[one.type].make(name, one) for name, one in settings.targets.items()}
    feed(targets, settings)
    return ThroughRoutes(routes, targets)


def _look(asked: _Asked, way: "Way", again: bool) -> "Result":
    from connector.consume_letters import everything
    from connector.letters.replay import look

    known: dict[Any, Replayed] = {}
    notes: list[str] = []
    records = everything(asked.settings, asked.topics, asked.seconds, notes)
    found = look(records, lambda tp: asked.memory(known, tp), way, asked.connector, asked.selection, again=again)
    for note in notes:
        typer.echo(note, err=True)
    return found


async def _send(asked: _Asked, way: "Way", looked: "Result", rate: float | None, again: bool) -> "Result":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from connector.consume_letters import member
    from connector.letters.replay import SOURCES, Replay
    from connector.log import configure
    from connector.publish import Pace

    settings = asked.settings
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    lines = configure("error", "console")
    routes = {one.name: one for one in settings.routes}
    async with AsyncExitStack() as stack:
        stack.callback(lines.close)
        letters = await stack.enter_async_context(member(settings, asked.topics, again=again))
        progress = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        bar = progress.add_task("replay", total=looked.replayed + looked.skipped + looked.left.total())
        run = Replay(
            way,
            letters,
            asked.connector,
            asked.selection,
            paces={**{name: Pace.of(one) for name, one in settings.targets.items()}, SOURCES: Pace(linger=0.02)},
            skips=lambda name: name in routes and routes[name].on_reject == "skip",
            clock=time.monotonic,
            random=Random(),
            rate=rate,
            again=again,
            heard=lambda: progress.advance(bar),
        )
        run.looked = lambda: progress.update(bar, description=run.held[0] if run.held else "replay")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, run.stop)
            stack.callback(loop.remove_signal_handler, number)
        result = await run.run()
        result.before = looked.before  # a run does not read again what lies below its offsets
        return result
