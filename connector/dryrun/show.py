"""Shows dry runs: to a person as lines, to a machine as JSON values. It prints what records hold, as it is asked to."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from connector.dryrun.tryout import Answer, Sending, Trial, Trouble
from connector.loading import explain as codes
from connector.loading.render import counted, safe
from connector.model import Record


def text(trial: Trial) -> str:
    """A trial for a person."""
    lines = [_record(trial.record)]
    if trial.trouble is not None:
        lines += ["", *_trouble(trial.trouble, "")]
    for answer in trial.answers:
        lines += ["", *_answer(answer)]
    if trial.note:
        lines += ["", trial.note]
    made = sum(len(answer.sendings) for answer in trial.answers)
    wrong = len(trial.troubles)
    lines += ["", f"{counted(made, 'event')}, {counted(wrong, 'problem')}; nothing was sent"]
    if code := next((trouble.code for trouble in trial.troubles if trouble.code in codes.ALL), ""):
        lines.append(f"`connector explain {code}` says more")
    return safe("\n".join(lines))


def plain(trial: Trial) -> dict[str, Any]:
    """A trial as JSON values."""
    record = trial.record
    return {
        "handled": trial.handled,
        "record": {
            "topic": record.tp.topic,
            "partition": record.tp.partition,
            "offset": record.offset,
            "timestamp": record.timestamp_ms,
            "size": record.size,
        },
        "note": trial.note,
        "problem": None if trial.trouble is None else _plain_trouble(trial.trouble),
        "routes": [_plain_answer(answer) for answer in trial.answers],
    }


def as_json(value: Any) -> str:
    """JSON for machines; bytes in base64, as the AWS protocols write them, anything else as text."""
    return safe(json.dumps(value, ensure_ascii=False, indent=2, default=_written))


def _written(value: Any) -> str:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def _record(record: Record) -> str:
    parts = [
        "no value" if record.value is None else counted(len(record.value), "byte"),
        "no key" if record.key is None else f"key of {counted(len(record.key), 'byte')}",
        counted(len(record.headers), "header"),
    ]
    return f"{record}: {', '.join(parts)}, {_time(record.timestamp_ms)}"


def _time(milliseconds: int) -> str:
    if milliseconds < 0:
        return "no timestamp"
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError):
        return f"timestamp {milliseconds}"


def _answer(answer: Answer) -> Iterator[str]:
    yield f"{answer.route}: {answer.outcome}" + (f": {answer.why}" if answer.why else "")
    if answer.where is not None:
        yield f"  at {answer.where}"
    for sending in answer.sendings:
        yield from _sending(sending)
    for trouble in answer.troubles:
        yield from _trouble(trouble, "  ")


def _sending(sending: Sending) -> Iterator[str]:
    limits = sending.limits
    yield f"  → {sending.event.target} ({sending.kind}), id {sending.event.id}"
    call = f"a call takes up to {limits.entries} of them, together {limits.bytes} bytes"
    yield f"    {sending.size} of {limits.entry_bytes} bytes; {call}"
    if sending.group:
        yield f"    shares calls with its own group only: {sending.group}"
    if sending.unique is not None:
        yield f"    alone in its call with this identity: {sending.unique}"
    body = sending.body if isinstance(sending.body, str) else as_json(sending.body)
    yield from (f"    {line}" for line in body.splitlines())


def _trouble(trouble: Trouble, indent: str) -> Iterator[str]:
    to = f" → {trouble.event.target}" if trouble.event.target else ""
    field = f"{trouble.path} " if trouble.path else ""
    yield f"{indent}✗{to} {trouble.code}: {field}{trouble.reason}"
    yield f"{indent}  {_fate(trouble)}"


def _fate(trouble: Trouble) -> str:
    words = {
        "dead_letter": "the daemon would write a dead letter",
        "skip": "the daemon would skip it",
        "hold": "the daemon would hold the partition at this record",
    }
    if trouble.policy == "wait":
        return "the daemon would wait at this record, and ask the registry again"
    said = "on_error" if trouble.event.route else "unrouted"
    return f"{words[trouble.policy]} ({said}: {trouble.policy})"


def _plain_answer(answer: Answer) -> dict[str, Any]:
    return {
        "route": answer.route,
        "outcome": answer.outcome,
        "why": answer.why,
        "at": None if answer.where is None else str(answer.where),
        "events": [_plain_sending(sending) for sending in answer.sendings],
        "problems": [_plain_trouble(trouble) for trouble in answer.troubles],
    }


def _plain_sending(sending: Sending) -> dict[str, Any]:
    limits = sending.limits
    return {
        "target": sending.event.target,
        "type": sending.kind,
        "id": sending.event.id,
        "size": sending.size,
        "limits": {"entries": limits.entries, "bytes": limits.bytes, "entry_bytes": limits.entry_bytes},
        "group": sending.group,
        "unique": sending.unique,
        "body": sending.body,
    }


def _plain_trouble(trouble: Trouble) -> dict[str, Any]:
    return {
        "target": trouble.event.target,
        "id": trouble.event.id,
        "code": trouble.code,
        "path": trouble.path,
        "reason": trouble.reason,
        "policy": trouble.policy,
    }
