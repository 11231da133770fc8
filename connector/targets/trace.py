"""The trace that a record belongs to, as W3C trace context has it: read from its headers, written into requests.

Sources: W3C Trace Context (`traceparent`); AWS X-Ray developer guide, "Tracing header" and its form of W3C trace ids:
the first eight hex digits of the trace id stand in the middle of X-Ray's root.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from connector.model import Batch, Record

HEADER: Final = "traceparent"
_FORM: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NOW: ContextVar[str] = ContextVar("traceparent", default="")


def traceparent(record: Record) -> str:
    """The record's `traceparent`, empty where it has none or a malformed one; the last of several counts."""
    for name, value in reversed(record.headers):
        if name == HEADER or name.lower() == HEADER:
            found = _FORM.fullmatch((value or b"").strip())
            if found is None or (found[1] == b"00" and found[5] is not None):
                return ""
            return b"-".join((b"00", found[2], found[3], found[4])).decode()
    return ""


def xray(parent: str) -> str:
    """A `traceparent` in the form of X-Ray's tracing header."""
    _, trace, span, flags = parent.split("-")
    return f"Root=1-{trace[:8]}-{trace[8:]};Parent={span};Sampled={int(flags, 16) & 1}"


def shared(batch: Batch) -> str:
    """The `traceparent` that all records of a batch have; empty where they differ: one request has one parent."""
    found = {traceparent(entry.event.record) for entry in batch}
    return found.pop() if len(found) == 1 else ""


@contextmanager
def carried(parent: str) -> Iterator[None]:
    """Requests made in this block carry this parent, unless the block around it gives another."""
    if not parent or _NOW.get():
        yield
        return
    token = _NOW.set(parent)
    try:
        yield
    finally:
        _NOW.reset(token)


def outgoing() -> Mapping[str, str]:
    """The headers of a request that is made now."""
    parent = _NOW.get()
    return {HEADER: parent} if parent else {}
