"""The command line. Commands end with 0 (done), 1 (failed at work), 2 (wrong usage) or 78 (bad config).

What a command needs is imported when it runs, so that `connector check` waits for no Kafka client.
"""

import errno
import json
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connector import __version__
from connector.cli_dead_letters import dead_letters
from connector.command import BAD_CONFIG, FAILED, USAGE, Paths, sound
from connector.loading.complaints import nearest
from connector.loading.load import compiled, load
from connector.loading.render import counted, machine, summary, text
from connector.settings import Loaded

if TYPE_CHECKING:
    from connector.dryrun.tryout import DryRun

_NO_MORE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF})
"""What standard output says when it takes nothing more. (A pipe that was closed ends silently with 1.)"""

cli = typer.Typer(
    name="connector",
    help="Carries Kafka records to event services and never loses one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cli.add_typer(dead_letters, name="dead-letters")


class Format(StrEnum):
    """Whom the output is for."""

    text = "text"
    json = "json"


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"connector {__version__}")
        raise typer.Exit()


@cli.callback()
def _connector(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which")] = False,
) -> None: ...


@cli.command()
def run(paths: Paths) -> None:
    """The daemon: runs until SIGTERM or SIGINT."""
    loaded = compiled(load(paths, os.environ))
    if loaded.errors:
        typer.echo(f"{text(loaded)}\n\n{summary(loaded.problems)}", err=True)
        raise typer.Exit(BAD_CONFIG)
    from connector import app

    # it compiles the routes for itself, and logs the warnings
    raise typer.Exit(app.run(loaded, lambda: compiled(load(paths, os.environ))))


@cli.command()
def check(
    paths: Paths,
    online: Annotated[bool, typer.Option("--online", help="Also ask Kafka and the targets")] = False,
    format: Annotated[Format, typer.Option(help="text for people, json for machines")] = Format.text,
) -> None:
    """Every mistake of a config at once; nothing is consumed or sent."""
    loaded = compiled(load(paths, os.environ))
    sound = not loaded.errors and loaded.settings is not None
    if format is Format.text:
        typer.echo("\n\n".join(_told(loaded)))
    asked = _ask(loaded) if online and sound else None
    if format is Format.json:
        typer.echo(machine(loaded, asked))
    elif asked is not None:
        typer.echo("\n".join(asked["failures"]) or "online: Kafka and every target answered")
        for warning in asked["warnings"]:
            typer.echo(f"warning: {warning}")
    if not sound:
        raise typer.Exit(BAD_CONFIG)
    if asked is not None and not asked["ok"]:
        raise typer.Exit(FAILED)


def _told(loaded: Loaded) -> Iterator[str]:
    if loaded.problems:
        yield f"{text(loaded)}\n\n{summary(loaded.problems)}"
    if loaded.settings is not None and not loaded.errors:
        routes = counted(len(loaded.settings.routes), "route")
        yield f"ok: {routes}, {counted(len(loaded.settings.targets), 'target')}, hash {loaded.hash}"


def _ask(loaded: Loaded) -> dict[str, Any]:
    """What Kafka and the targets say: `{"ok", "failures", "warnings"}`."""
    from connector import app

    failures, warnings = app.check_online(loaded)
    return {"ok": not failures, "failures": failures, "warnings": warnings}


@cli.command("try")
def try_(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Config files and directories, merged; last a file with the record's value, or - for standard input",
            metavar="PATH",
        ),
    ],
    topic: Annotated[str | None, typer.Option(help="The record's topic; needed where routes read several")] = None,
    key: Annotated[str | None, typer.Option(help="The record's key, as text")] = None,
    header: Annotated[list[str] | None, typer.Option(help="NAME=TEXT; may be given several times")] = None,
    timestamp: Annotated[int | None, typer.Option(min=-1, help="Epoch milliseconds; now by default")] = None,
    value: Annotated[str | None, typer.Option(help="The record's value, instead of RECORD.json")] = None,
    whole: Annotated[
        bool,
        typer.Option("--whole", help="The record is given as {topic, key, headers, timestamp, value}, as in tests"),
    ] = False,
    live: Annotated[int | None, typer.Option(min=1, help="Try so many of the topics' last records instead")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long --live may take")] = 30.0,
    json_: Annotated[bool, typer.Option("--json", help="For machines")] = False,
) -> None:
    """A dry run: which routes match and why not, and the exact request. Nothing is sent."""
    from connector.dryrun import show, written
    from connector.dryrun.tryout import DryRun

    configs, file = written.parted(paths)
    given = written.Given(file, value, topic, key, tuple(header or ()), timestamp, whole)
    if live is not None and given.is_a_record:
        raise typer.BadParameter(
            "takes its records from Kafka: leave out the record and its flags but --topic", None, None, "--live"
        )
    loaded = sound(compiled(load(configs, os.environ)))
    dry_run = DryRun.of_config(loaded)
    if live is not None:
        _try_live(dry_run, topic, live, seconds, json_)
        return
    try:
        record = written.record(given, dry_run.settings, sys.stdin.buffer)
    except written.Unwritable as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    trial = dry_run.of(record)
    typer.echo(show.as_json(show.plain(trial)) if json_ else show.text(trial))
    if not trial.handled:
        raise typer.Exit(FAILED)


def _try_live(dry_run: "DryRun", topic: str | None, count: int, seconds: float, json_: bool) -> None:
    from connector.consume_sample import CannotSample, Sample
    from connector.dryrun import live, show

    settings = dry_run.settings
    topics = [topic] if topic is not None else [one for route in settings.routes for one in route.topics]
    sample = Sample(settings.kafka, topics, count, seconds)
    try:
        found = live.survey(dry_run, sample, sample.notes)
    except CannotSample as error:
        typer.echo(f"{settings.kafka.bootstrap_servers} cannot be sampled: {error}", err=True)
        raise typer.Exit(FAILED) from None
    typer.echo(show.as_json(live.plain(found)) if json_ else live.text(found))
    if found.troubled or not found.taken:
        raise typer.Exit(FAILED)


@cli.command("test")
def route_tests(
    paths: Paths,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the results as JUnit XML")] = None,
) -> None:
    """Run the tests of routes in the config and in *_test.yaml beside it."""
    from connector.dryrun import testing
    from connector.dryrun.junit import junit as xml
    from connector.dryrun.tryout import DryRun

    loaded = sound(testing.load_with_tests(paths, os.environ))
    verdicts = testing.run(loaded, DryRun.of_config(loaded))
    for verdict in verdicts:
        typer.echo(testing.told(verdict))
    if junit is not None:
        try:
            junit.write_bytes(xml(verdicts))
        except OSError as error:
            typer.echo(f"{junit} cannot be written: {error.strerror or error}", err=True)
            raise typer.Exit(FAILED) from None
    failed = sum(not verdict.passed for verdict in verdicts)
    if not verdicts:
        typer.echo("no tests: write tests: into the config, or into NAME_test.yaml beside NAME.yaml", err=True)
        raise typer.Exit(FAILED)
    typer.echo(f"{counted(len(verdicts), 'test')}, {failed} failed")
    if failed:
        raise typer.Exit(FAILED)


class Shape(StrEnum):
    """How the keys of the config are described."""

    json = "json"
    markdown = "markdown"


@cli.command()
def schema(format: Annotated[Shape, typer.Option(help="json for editors, markdown for docs")] = Shape.json) -> None:
    """JSON Schema of the config, for editors."""
    from connector.loading import schema as described
    from connector.targets import REGISTRY

    if format is Shape.markdown:
        typer.echo(described.tables(REGISTRY), nl=False)
    else:
        typer.echo(json.dumps(described.schema(REGISTRY), ensure_ascii=False, indent=2))


@cli.command()
def explain(
    code: Annotated[str | None, typer.Argument(help="What check, try or a dead letter said", metavar="CODE")] = None,
) -> None:
    """What a code means and how to mend it; without a code, the list of all."""
    from connector.loading import explain as codes

    if code is None:
        typer.echo("\n".join(f"{one:20} {codes.ALL[one].partition(chr(10))[0]}" for one in sorted(codes.ALL)))
        return
    told = codes.explain(code)
    if told is None:
        close = nearest(code, codes.ALL)
        hint = f"did you mean {close}? " if close else ""
        typer.echo(
            f"there is no code {code}: {hint}`connector explain` lists all. A service's own codes are in docs/targets",
            err=True,
        )
        raise typer.Exit(USAGE)
    typer.echo(f"{codes.meant(code)}: {told}")


@cli.command()
def demo(
    records: Annotated[int | None, typer.Option(min=1, help="Stop after so many and print what was proven")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every target, not EventBridge alone")] = False,
    sabotage: Annotated[
        str | None, typer.Option(help="Break the daemon: early-commit, drop, double or lose-dead-letter")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Another config than the quickstart")] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT of the status page")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the same records again")] = None,
) -> None:
    """Everything on one machine with nothing installed: broker, services, records, daemon, status page."""
    from connector.sandbox import demo as played

    raise typer.Exit(
        played.demo(records=records, sabotage=sabotage, all_=all_, config=config, listen=listen, seed=seed)
    )


@cli.command()
def sandbox(
    config: Annotated[
        Path | None, typer.Argument(help="YAML: what exists in each service and what goes wrong", metavar="[CONFIG]")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one")] = 4010,
    host: Annotated[str, typer.Option(help="Where to listen; loopback unless told otherwise")] = "127.0.0.1",
    seed: Annotated[int, typer.Option(help="Makes the same ids, and the same chance of faults, again")] = 0,
) -> None:
    """The simulated services alone, for tests and for trying a config."""
    from connector.sandbox import sandbox as played

    raise typer.Exit(played.sandbox(config, host, port, seed))


@cli.command()
def status(
    url: Annotated[str, typer.Argument(help="The daemon's admin address")] = "http://127.0.0.1:8080",
    once: Annotated[bool, typer.Option("--once", help="Look once and end")] = False,
    json_: Annotated[bool, typer.Option("--json", help="For machines; looks once")] = False,
    token: Annotated[
        str | None,
        typer.Option(envvar="CONNECTOR_ADMIN__TOKEN", help="Where the daemon asks for it; best in the environment"),
    ] = None,
) -> None:
    """A running daemon, live in the terminal: what stands still first, then what flows."""
    import asyncio

    from rich.console import Console

    from connector.operations import watch

    address = url if "://" in url else f"http://{url}"
    console = Console()
    try:
        if once or json_ or not console.is_terminal:
            asyncio.run(watch.once(address, token, as_json=json_, console=console))
        else:
            asyncio.run(watch.follow(address, token, console))
    except watch.NoAnswer as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def main() -> None:
    """The console script; leaves with the command's exit code."""
    try:
        cli()
    except OSError as error:
        if error.errno not in _NO_MORE:
            raise
        sys.stderr.write(f"the output cannot be written: {error.strerror}\n")
        sys.exit(FAILED)
