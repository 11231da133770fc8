"""Records as an enemy writes them: bytes that are no text, text that is no words, words with a sense elsewhere."""

import json
from typing import Any, Final

from hypothesis import strategies as st

from connector.model import Headers

WORDS: Final = (
    "${jndi:ldap://127.0.0.1:1/a}",
    "${vars.secret}",
    "$${value}",
    "!env HOME",
    "{{7*7}}",
    "'; DROP TABLE events; --",
    "<script>alert(1)</script>",
    "a\r\nX-Injected: yes",
    "a\n\nb",
    'x"}]},{"Source":"evil","DetailType":"x","Detail":"{}"},{"a":"',
    "a\" b='c'",
    "..\\..\\..\\etc\\passwd",
    "../../../etc/passwd",
    "%s%n%x%d",
    "a&b=c;d?e#f",
    "%0d%0aSet-Cookie: a=b",
    "\x00",
    "\x1b[2J\x1b]0;title\x07",
    "\u2028\u2029\u202e\u200b\ufeff",
    "\ud800",
    "\udfff\ud800",
    "\U0010ffff",
    "e\u0301" * 50,
    "-" * 5000,
    "__proto__",
    "constructor",
    "NaN",
    "",
)
"""Texts that begin something in a log, a header, a query, a shell, a template, a terminal or a page."""

NUMBERS: Final = (0, -1, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**400, 1e308, 5e-324, -0.0)

TEXTS: Final = st.sampled_from(WORDS) | st.text(st.characters(), max_size=20)

TREES: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.integers() | st.floats() | TEXTS,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(TEXTS | st.sampled_from(("a", "id", "at")), below, max_size=4)
    ),
    max_leaves=12,
)

ORDERS: Final = st.fixed_dictionaries(
    {},
    optional={
        "id": TREES,
        "kind": TEXTS | TREES,
        "at": TREES,
        "lines": st.lists(TREES, max_size=3) | TREES,
        "a": TREES,
    },
)


def written(tree: Any) -> bytes:
    """JSON as careless writers make it: NaN and halves of surrogate pairs are left in."""
    return json.dumps(tree).encode()


DEEP: Final = (b"[" * 3000 + b"]" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b"[" * 100_000)
ODD: Final = (
    b"",
    b"\xff\xfe",
    b'{"a": NaN}',
    b'{"a": -Infinity}',
    b'{"id": 1, "id": 2}',
    b'{"a": 1' + b"0" * 5000 + b"}",
    b'{"a": "\xed\xa0\x80"}',
    b'\xef\xbb\xbf{"a": 1}',
    b'{"a": 1}\n{"b": 2}',
    b'{"a": "\x00"}',
    b'{"\\ud800": "\\udfff"}',
    b"null",
    *DEEP,
)

VALUES: Final = ORDERS.map(written) | TREES.map(written) | st.binary(max_size=60) | st.sampled_from(ODD)
KEYS: Final = st.none() | st.binary(max_size=30) | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))
NAMES: Final = TEXTS.filter(lambda text: text.isprintable() or text.isascii()).map(
    lambda text: text.encode("utf-8", "replace").decode()
)
HEADERS: Final[st.SearchStrategy[Headers]] = st.lists(
    st.tuples(NAMES | st.sampled_from(("ce_id", "ce_type", "traceparent", "event-type")), KEYS), max_size=4
).map(tuple)
