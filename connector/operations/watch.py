"""`connector status`: a running daemon in the terminal, asked over its admin address.

It draws what `/status` says and decides nothing: what stands still comes first, as on the status page.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import aiohttp
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from connector.operations.attention import spoken

EVERY: Final = 1.0  # seconds between two looks
_PATIENCE: Final = 5.0  # seconds that one answer may take
_SHOWN: Final = 20  # partitions that are drawn


class NoAnswer(Exception):
    """Nobody answers as a daemon does; the message says why."""


async def ask(session: aiohttp.ClientSession, url: str, token: str | None) -> Mapping[str, Any]:
    """The status of the daemon at this address.

    Raises:
        NoAnswer: nobody listens, it is no connector, or it wants a token.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with session.get(f"{url.rstrip('/')}/status", headers=headers) as answer:
            text = await answer.text()
            if answer.status == 401:
                raise NoAnswer(f"{url} wants its token: set CONNECTOR_ADMIN__TOKEN")
            if answer.status != 200:
                raise NoAnswer(f"{url} answered {answer.status}")
    except TimeoutError:
        raise NoAnswer(f"{url} did not answer within {_PATIENCE:g} s") from None
    except (aiohttp.ClientError, UnicodeDecodeError, ValueError) as error:
        raise NoAnswer(f"nothing answers at {url}: {error}") from None
    try:
        status = json.loads(text)
    except json.JSONDecodeError:
        raise NoAnswer(f"{url} is no connector: its /status is no JSON") from None
    if not isinstance(status, dict) or "config_hash" not in status:
        raise NoAnswer(f"{url} is no connector of this version: its /status has no config_hash")
    return status


async def once(url: str, token: str | None, *, as_json: bool, console: Console) -> None:
    """Look once, and print it. Raises NoAnswer."""
    async with _session() as session:
        status = await ask(session, url, token)
    if as_json:
        console.print(json.dumps(status, ensure_ascii=False, indent=2), soft_wrap=True, markup=False, highlight=False)
    else:
        console.print(drawn(status, None))


async def follow(url: str, token: str | None, console: Console, *, every: float = EVERY) -> None:
    """Look every second or so and draw it, until cancelled. Raises NoAnswer where the first look fails."""
    before: Mapping[str, Any] | None = None
    async with _session() as session:
        status = await ask(session, url, token)
        with Live(drawn(status, None), console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                await asyncio.sleep(every)
                try:
                    before, status = status, await ask(session, url, token)
                    live.update(drawn(status, before), refresh=True)
                except NoAnswer as error:
                    live.update(Group(Panel(f"{error}; asking again", style="red"), drawn(status, None)), refresh=True)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE))


def drawn(status: Mapping[str, Any], before: Mapping[str, Any] | None) -> RenderableType:
    """What there is to see, the important thing first."""
    parts: list[RenderableType] = [_head(status)]
    needs = status["attention"]
    for need in needs:
        colour = "red" if need["grave"] else "yellow"
        text = "\n".join(need["lines"])
        parts.append(Panel(Text(text), title=Text(need["title"]), title_align="left", border_style=colour))
    if not needs:
        ready = status["ready"]
        words = "Everything flows" if ready["ok"] else f"Not ready: {ready['reason']}"
        parts.append(Text(words, style="green" if ready["ok"] else "yellow"))
    parts += [_routes(status, before), _targets(status, before), _errors(status), _partitions(status)]
    return Group(*parts)


def _head(status: Mapping[str, Any]) -> Text:
    totals = status["totals"]
    lag = "unknown" if totals["lag"] is None else f"{totals['lag']:,}"
    return Text(
        f"connector {status['version']} · {status['state']} · group {status['kafka']['group']} · config "
        f"{status['config_hash']} · started {status['started_at']}\n"
        f"consumed {totals['consumed']:,} · delivered {totals['delivered']:,} · retried {totals['retried']:,} · "
        f"dead letters {totals['dead_lettered']:,} · open {totals['open_records']:,} · lag {lag} · "
        f"oldest open {spoken(totals['oldest_unsettled_age_s'])}"
    )


def _routes(status: Mapping[str, Any], before: Mapping[str, Any] | None) -> Table:
    table = _table("route", "state", "matched", "delivered", "now", "retried", "dead letters", "skipped")
    for route in status["routes"]:
        state = "paused" if route["paused"] else "flows"
        counts = (route[name] for name in ("retried", "dead_lettered", "skipped"))
        rate = _rate(status, before, "routes", route)
        table.add_row(route["name"], state, f"{route['matched']:,}", f"{route['delivered']:,}", rate, *_whole(counts))
    return table


def _targets(status: Mapping[str, Any], before: Mapping[str, Any] | None) -> Table:
    table = _table("target", "state", "in flight", "waiting", "open", "delivered", "now", "retried", "rejected")
    for target in status["targets"]:
        state = next((word for word in ("held", "failing", "full") if target[word]), "flows")
        flight = f"{target['in_flight']} of {target['max_in_flight']}"
        counts = _whole(target[name] for name in ("waiting", "open_records", "delivered"))
        rate = _rate(status, before, "targets", target)
        table.add_row(target["name"], state, flight, *counts, rate, *_whole((target["retried"], target["rejected"])))
    return table


def _errors(status: Mapping[str, Any]) -> Table:
    table = _table("last error", "code", "count", "last")
    for target in status["targets"]:
        for error in target["last_errors"][:5]:
            table.add_row(target["name"], error["code"], f"{error['count']:,}", error["last"])
    return table


def _partitions(status: Mapping[str, Any]) -> Table:
    table = _table("partition", "lag", "committed", "position", "open", "oldest open")
    partitions = sorted(status["partitions"], key=lambda one: -(one["lag"] or 0))
    for one in partitions[:_SHOWN]:
        counts = ("–" if one[name] is None else f"{one[name]:,}" for name in ("lag", "committed", "position", "open"))
        table.add_row(f"{one['topic']}[{one['partition']}]", *counts, spoken(one["oldest_unsettled_age_s"]))
    if len(partitions) > _SHOWN:
        table.caption = f"and {len(partitions) - _SHOWN} more"
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, expand=False)
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="left" if column in ("state", "code") else "right")
    return table


def _whole(counts: Iterable[int]) -> Iterator[str]:
    return (f"{count:,}" for count in counts)


def _rate(status: Mapping[str, Any], before: Mapping[str, Any] | None, kind: str, one: Mapping[str, Any]) -> str:
    """Deliveries a second since the look before; nothing on the first, nor across a restart of the daemon."""
    if before is None or before["started_at"] != status["started_at"]:
        return "–"
    then = next((other for other in before[kind] if other["name"] == one["name"]), None)
    seconds = (datetime.fromisoformat(status["now"]) - datetime.fromisoformat(before["now"])).total_seconds()
    return "–" if then is None or seconds <= 0 else f"{(one['delivered'] - then['delivered']) / seconds:,.0f}/s"
