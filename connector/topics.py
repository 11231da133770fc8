"""Which topics to subscribe to: names as they stand, patterns resolved by us over the names that the cluster has."""

import re
from collections.abc import Collection, Iterable
from typing import Final

PATTERN_MARK: Final = "^"
INTERNAL: Final = "__"
"""Kafka's own topics begin with it; a pattern never takes them, a name may."""


class Topics:
    """The topics of the config.

    Invariant: a pattern takes a name only when it matches the whole of it, by Python's `re`. The classic protocol, the
    KIP-848 one and Python read three dialects of patterns, so none is ever passed to the client.

    Raises:
        re.error: a pattern does not compile.
    """

    def __init__(self, topics: Iterable[str]) -> None:
        topics = tuple(dict.fromkeys(topics))
        self.names: Final = tuple(one for one in topics if not one.startswith(PATTERN_MARK))
        self.patterns: Final = tuple(re.compile(one) for one in topics if one.startswith(PATTERN_MARK))

    def resolve(self, known: Collection[str]) -> tuple[str, ...]:
        """Return what to subscribe to, sorted: every name, there or not, and each known topic that a pattern takes."""
        found = {name for name in known if not name.startswith(INTERNAL) and self._takes(name)}
        return tuple(sorted({*self.names, *found}))

    def _takes(self, name: str) -> bool:
        return any(pattern.fullmatch(name) for pattern in self.patterns)

    def __str__(self) -> str:
        return ", ".join((*self.names, *(pattern.pattern for pattern in self.patterns)))
