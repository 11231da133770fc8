"""The command line. Commands end with 0 (done), 1 (failed at work), 2 (wrong usage) or 78 (bad config).

What a command needs is imported when it runs, so that `connector check` waits for no Kafka client.
"""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from connector import __version__
from connector.load import compiled, load
from connector.render import counted, machine, summary, text
from connector.settings import Loaded

BAD_CONFIG: Final = 78
"""EX_CONFIG of sysexits.h: a restart will not help."""
FAILED: Final = 1

cli = typer.Typer(
    name="connector",
    help="Carries Kafka records to event services and never loses one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Paths = Annotated[list[Path], typer.Argument(help="Config files and directories, merged", metavar="PATH...")]


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
    loaded = load(paths, os.environ)
    checked = compiled(loaded)
    if checked.errors:
        typer.echo(f"{text(checked)}\n\n{summary(checked.problems)}", err=True)
        raise typer.Exit(BAD_CONFIG)
    from connector import app

    raise typer.Exit(app.run(loaded))  # it compiles the routes for itself, and logs the warnings


@cli.command()
def check(
    paths: Paths,
    online: Annotated[bool, typer.Option("--online", help="Also ask Kafka and the targets")] = False,
    format: Annotated[Format, typer.Option(help="text for people, json for machines")] = Format.text,
) -> None:
    """Every mistake of a config at once; nothing is consumed or sent."""
    loaded = compiled(load(paths, os.environ))
    if format is Format.json:
        typer.echo(machine(loaded))
    elif loaded.problems:
        typer.echo(f"{text(loaded)}\n\n{summary(loaded.problems)}")
    if loaded.errors or loaded.settings is None:
        raise typer.Exit(BAD_CONFIG)
    if format is Format.text:
        routes = counted(len(loaded.settings.routes), "route")
        targets = counted(len(loaded.settings.targets), "target")
        typer.echo(f"ok: {routes}, {targets}, hash {loaded.hash}")
    if online:
        _ask(loaded, format)


def _ask(loaded: Loaded, format: Format) -> None:
    from connector import app

    failures = [str(failure) for failure in app.check_online(loaded)]
    if format is Format.json:
        typer.echo(json.dumps({"online": {"ok": not failures, "failures": failures}}, ensure_ascii=False, indent=2))
    else:
        typer.echo("\n".join(failures) if failures else "online: Kafka and every target answered")
    if failures:
        raise typer.Exit(FAILED)


class Shape(StrEnum):
    """How the keys of the config are described."""

    json = "json"
    markdown = "markdown"


@cli.command()
def schema(format: Annotated[Shape, typer.Option(help="json for editors, markdown for docs")] = Shape.json) -> None:
    """JSON Schema of the config, for editors."""
    from connector import schema as described
    from connector.targets import REGISTRY

    if format is Shape.markdown:
        typer.echo(described.tables(REGISTRY), nl=False)
    else:
        typer.echo(json.dumps(described.schema(REGISTRY), ensure_ascii=False, indent=2))


@cli.command()
def explain(code: Annotated[str, typer.Argument(help="A code that check printed, such as CFG024")]) -> None:
    """What a code means and how to mend it."""
    from connector import explain as codes

    told = codes.explain(code)
    if told is None:
        typer.echo(f"there is no code {code}; the codes are {', '.join(sorted(codes.ALL))}", err=True)
        raise typer.Exit(2)
    typer.echo(f"{code.upper()}: {told}")


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


def main() -> None:
    """The console script; leaves with the command's exit code."""
    cli()
