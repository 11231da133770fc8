"""Shows dead letters, to a person and as JSON values: their counts, one of them whole, what a replay did."""

import base64
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from connector.dryrun import show
from connector.dryrun.tryout import Trial
from connector.letters.letter import Letter, NoLetter
from connector.letters.replay import Result
from connector.loading.render import counted, safe
from connector.model import FIRST_ID, Record

_SHOWN: Final = 4_000  # characters of a key or a value that a person is shown


def age(seconds: float) -> str:
    """How long ago, in the largest unit that says something: `45s`, `12m`, `5h`, `3d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def moment(ms: int) -> str:
    """Epoch milliseconds as RFC 3339 in UTC."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return str(ms)


@dataclass(slots=True)
class Group:
    """The letters of one topic that share route, target and code. Times are epoch milliseconds of the burial."""

    letters: int = 0
    replayed: int = 0
    oldest: int = 0
    newest: int = 0


@dataclass(slots=True)
class Census:
    """All dead letters, counted."""

    groups: dict[tuple[str, str, str, str], Group] = field(default_factory=lambda: defaultdict(Group))
    unreadable: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    notes: list[str] = field(default_factory=list)

    def add(self, letter: Letter | NoLetter, replayed: bool) -> None:
        """Count one."""
        topic = letter.place.tp.topic
        if isinstance(letter, NoLetter):
            self.unreadable[topic, letter.reason] += 1
            return
        group = self.groups[topic, letter.route, letter.target, letter.code]
        group.oldest = min(group.oldest, letter.at_ms) if group.letters else letter.at_ms
        group.newest = max(group.newest, letter.at_ms)
        group.letters += 1
        group.replayed += replayed


def census_text(census: Census, now_ms: int) -> str:
    """The counts for a person, the most frequent first."""
    head = ("topic", "route", "target", "code", "letters", "replayed", "oldest", "newest")
    rows = [
        (
            topic,
            route or "-",
            target or "-",
            code,
            str(group.letters),
            str(group.replayed),
            age((now_ms - group.oldest) / 1000),
            age((now_ms - group.newest) / 1000),
        )
        for (topic, route, target, code), group in _by_count(census)
    ]
    lines = table(head, rows, right=4) if rows else []
    letters = sum(group.letters for group in census.groups.values())
    waiting = letters - sum(group.replayed for group in census.groups.values())
    lines += ["", f"{counted(letters, 'dead letter')}, {waiting} not replayed"] if rows else ["no dead letters"]
    lines += [f"{count} more in {topic}: {reason}" for (topic, reason), count in census.unreadable.items()]
    return safe("\n".join([*lines, *census.notes]))


def census_plain(census: Census) -> dict[str, Any]:
    """The counts as JSON values."""
    return {
        "groups": [
            {
                "topic": topic,
                "route": route,
                "target": target,
                "code": code,
                "letters": group.letters,
                "replayed": group.replayed,
                "oldest": group.oldest,
                "newest": group.newest,
            }
            for (topic, route, target, code), group in _by_count(census)
        ],
        "unreadable": [
            {"topic": topic, "reason": reason, "records": count} for (topic, reason), count in census.unreadable.items()
        ],
        "notes": census.notes,
    }


def _by_count(census: Census) -> list[tuple[tuple[str, str, str, str], Group]]:
    return sorted(census.groups.items(), key=lambda item: (-item[1].letters, item[0]))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: int) -> list[str]:
    """Rows under their heads; columns from `right` on are numbers."""
    rows = [head, *rows]
    wide = [max(len(row[i]) for row in rows) for i in range(len(head))]
    side = ["<" if i < right else ">" for i in range(len(head))]
    return ["  ".join(f"{cell:{side[i]}{wide[i]}}" for i, cell in enumerate(row)).rstrip() for row in rows]


def place_of(record: Record) -> str:
    """Where a dead letter stands, as `show --at` takes it."""
    return f"{record.tp.topic}/{record.tp.partition}/{record.offset}"


def line(letter: Letter, replayed: bool, now_ms: int) -> str:
    """One letter in one line."""
    parts = (place_of(letter.place), str(letter.origin), letter.route or "-", letter.target or "-", letter.code)
    return _one("  ".join((*parts, age((now_ms - letter.at_ms) / 1000), *(("replayed",) if replayed else ()))))


def letter_text(letter: Letter, replayed: bool, trial: Trial, now_ms: int) -> str:
    """One letter for a person: its error, its record, and what would be sent of it now."""
    ago = age((now_ms - letter.at_ms) / 1000)
    lines = [
        f"{place_of(letter.place)}: buried {moment(letter.at_ms)}, {ago} ago, {'' if replayed else 'not '}replayed",
        "",
        f"route   {_one(letter.route) or 'none'}",
        f"target  {_one(letter.target) or 'none chosen'}",
        f"error   {_one(letter.code)} at {_one(letter.stage)}, after {counted(letter.attempts, 'call')}",
        f"        {_one(letter.message)}",
        f"id      {_one(letter.id)}",
        f"owed    {_owed(letter)}",
        "",
        f"key     {_shown(letter.origin.key)}",
        f"value   {_shown(letter.origin.value)}",
        *(f"header  {_one(name)}: {_shown(value)}" for name, value in letter.origin.headers if name != FIRST_ID),
        "",
        "what the routes make of it now:",
        "",
        show.text(trial),
    ]
    return "\n".join(lines)


def _one(words: str) -> str:
    """Words of a header, which anybody may have written, as part of one line."""
    return safe(words).replace("\n", "\\n")


def _owed(letter: Letter) -> str:
    if letter.whole:
        return "what every route makes of the record"
    target = _one(letter.target) or "each of its targets"
    return f"what route {_one(letter.route)} makes of it for {target}, and nothing else"


def letter_plain(letter: Letter, replayed: bool, trial: Trial | None = None) -> dict[str, Any]:
    """One letter as JSON values; bytes in base64."""
    origin = letter.origin
    plain: dict[str, Any] = {
        "place": place_of(letter.place),
        "replayed": replayed,
        "buried": letter.at_ms,
        "route": letter.route,
        "target": letter.target,
        "code": letter.code,
        "stage": letter.stage,
        "message": letter.message,
        "attempts": letter.attempts,
        "id": letter.id,
        "record": {
            "topic": origin.tp.topic,
            "partition": origin.tp.partition,
            "offset": origin.offset,
            "timestamp": origin.timestamp_ms,
        },
    }
    if trial is not None:
        plain["record"] |= {
            "key": _base64(origin.key),
            "value": _base64(origin.value),
            "headers": [[name, _base64(value)] for name, value in origin.headers if name != FIRST_ID],
        }
        plain["now"] = show.plain(trial)
    return plain


def _shown(data: bytes | None) -> str:
    if data is None:
        return "none"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = f"{counted(len(data), 'byte')}, base64 {_base64(data)}"
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: _SHOWN + 1])
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({counted(len(data), 'byte')})"


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def result_text(result: Result, dry: bool) -> str:
    """What a replay did, or would do."""
    would = "would be " if dry else ""
    lines = [f"{counted(result.replayed, 'letter')} {would}replayed"]
    if result.skipped:
        lines.append(f"{result.skipped} {would}let go: a rule of the config skips what is made of them")
    if result.left:
        lines.append(f"{result.left.total()} {would}left where they are:")
        lines += [
            f"  {count}  {route or 'no route'}: {code}: {result.reasons[route, code]}"
            for (route, code), count in result.left.most_common()
        ]
    if result.unfinished:
        lines.append(f"{result.unfinished} were under way: the next run sends them again, with the same ids")
    if result.before:
        lines.append(f"{result.before} were replayed before; --again takes them too")
    if result.others:
        lines.append(f"{result.others} were not asked for")
    lines += [f"{count} cannot be replayed: {reason}" for reason, count in result.unreadable.items()]
    if result.stopped:
        lines.append(f"stopped: {result.stopped}")
    return safe("\n".join(lines))


def result_plain(result: Result, dry: bool) -> dict[str, Any]:
    """The same as JSON values."""
    return {
        "dry_run": dry,
        "replayed": result.replayed,
        "skipped": result.skipped,
        "left": [
            {"route": route, "code": code, "reason": result.reasons[route, code], "letters": count}
            for (route, code), count in result.left.most_common()
        ],
        "unfinished": result.unfinished,
        "replayed_before": result.before,
        "not_selected": result.others,
        "unreadable": dict(result.unreadable),
        "stopped": result.stopped,
    }
