"""The demo on a terminal: one table, made anew from the daemon's own status."""

from typing import Any, cast

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from connector.operations.status import Status, TargetStatus


def table(status: Status, written: int, address: str) -> RenderableType:
    """The page's address, and beneath it what is flowing: records, routes, targets."""
    totals = status["totals"]
    grid = Table(box=None, pad_edge=False, expand=False)
    for name in ("", "matched", "delivered", "dead letters", "retries", "open", "state"):
        grid.add_column(name, justify="left" if name in ("", "state") else "right", no_wrap=True)
    for route in status["routes"]:
        _row(
            grid,
            f"route {route['name']}",
            route["matched"],
            route["delivered"],
            route["dead_lettered"],
            route["retried"],
            None,
            "waits for an operator" if route["paused"] else "",
        )
    for target in status["targets"]:
        _row(
            grid,
            f"target {target['name']}",
            None,
            target["delivered"],
            target["rejected"],
            target["retried"],
            target["open_records"],
            _state(target),
        )
    lag = "?" if totals["lag"] is None else f"{totals['lag']:,}"
    records = Text.assemble(
        ("records  ", "bold"),
        f"written {written:,}   consumed {totals['consumed']:,}   taken by no route {totals['unrouted']:,}   "
        f"open {totals['open_records']:,}   lag {lag}",
    )
    head = Text.assemble(("connector demo", "bold"), f"   {status['ready']['reason']}   page: ", (address, "cyan"))
    return Group(head, Text(), records, Text(), grid, Text(), Text("Ctrl-C stops it and prints the proof", style="dim"))


def _state(target: TargetStatus) -> str:
    held = target["held"]
    if held is not None:
        return f"held: {held['code']}"
    if target["last_errors"]:
        return f"last error: {target['last_errors'][0]['code']}"
    return ""


def _row(grid: Table, name: str, *cells: Any) -> None:
    *counts, state = cells
    grid.add_row(name, *("" if count is None else f"{cast(int, count):,}" for count in counts), state)
