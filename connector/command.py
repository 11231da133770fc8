"""What the commands share: their exit codes, the paths they take, and that a config must be sound."""

from pathlib import Path
from typing import Annotated, Final

import typer

from connector.loading.render import summary, text
from connector.settings import Loaded

BAD_CONFIG: Final = 78
"""EX_CONFIG of sysexits.h: a restart will not help."""
FAILED: Final = 1
USAGE: Final = 2

Paths = Annotated[list[Path], typer.Argument(help="Config files and directories, merged", metavar="PATH")]


def sound(loaded: Loaded) -> Loaded:
    """The config, or the end where it has errors."""
    if loaded.errors or loaded.settings is None:
        typer.echo(f"{text(loaded)}\n\n{summary(loaded.problems)}", err=True)
        raise typer.Exit(BAD_CONFIG)
    return loaded
