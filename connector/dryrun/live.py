"""Tries many records and counts: what `connector try --live` says of real topics."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from connector.dryrun import show
from connector.dryrun.tryout import DryRun, Trial
from connector.loading.render import counted, safe
from connector.model import Record

SAMPLES: Final = 3
"""Trials that are kept of those that went well, and as many of those that did not."""


@dataclass(slots=True)
class Count:
    """What one route did with the records of its topics."""

    matched: int = 0
    failed: int = 0
    events: int = 0


@dataclass(slots=True)
class Survey:
    """The sum of many trials. Only a few of them are kept, so that any number of records can be tried."""

    taken: int = 0
    unrouted: int = 0
    tombstones: int = 0
    unread: int = 0
    troubled: int = 0
    routes: dict[str, Count] = field(default_factory=dict)
    good: list[Trial] = field(default_factory=list)
    bad: list[Trial] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, trial: Trial) -> None:
        """Count one trial, and keep it while there are few."""
        self.taken += 1
        self.troubled += not trial.handled
        took = False
        for answer in trial.answers:
            count = self.routes[answer.route]
            count.matched += answer.outcome == "matched"
            count.failed += bool(answer.troubles)
            count.events += len(answer.sendings)
            took = took or answer.outcome in ("matched", "failed")
        if trial.answers:
            self.unrouted += not took
        elif trial.trouble is not None:
            self.unread += 1
        else:
            self.tombstones += 1
        kept = self.bad if not trial.handled else self.good if took else None
        if kept is not None and len(kept) < SAMPLES:
            kept.append(trial)


def survey(dry_run: DryRun, records: Iterable[Record], notes: list[str]) -> Survey:
    """Try every record of a sample; `notes` are its own, which it may still fill while it is read."""
    found = Survey(routes={route.name: Count() for route in dry_run.routes.routes}, notes=notes)
    for record in records:
        found.add(dry_run.of(record))
    return found


def text(found: Survey) -> str:
    """A survey for a person: samples first, so that the counts stand at the end."""
    lines: list[str] = []
    for trial in (*found.good, *found.bad):
        lines += [show.text(trial), "", "-" * 60, ""]
    wide = max((len(name) for name in found.routes), default=0)
    lines.append(f"{'route':<{wide}}  matched  failed  events")
    for name, count in found.routes.items():
        lines.append(f"{name:<{wide}}  {count.matched:>7}  {count.failed:>6}  {count.events:>6}")
    lines.append("")
    lines.append(
        f"{counted(found.taken, 'record')} tried, {found.troubled} with a problem ({found.unread} cannot be decoded); "
        f"{found.unrouted} taken by no route, {counted(found.tombstones, 'skipped tombstone')}"
    )
    return safe("\n".join([*lines, *found.notes, "nothing was sent, nothing was committed"]))


def plain(found: Survey) -> dict[str, Any]:
    """A survey as JSON values."""
    return {
        "handled": not found.troubled,
        "taken": found.taken,
        "troubled": found.troubled,
        "undecodable": found.unread,
        "unrouted": found.unrouted,
        "tombstones": found.tombstones,
        "routes": {
            name: {"matched": count.matched, "failed": count.failed, "events": count.events}
            for name, count in found.routes.items()
        },
        "samples": [show.plain(trial) for trial in (*found.good, *found.bad)],
        "notes": found.notes,
    }
