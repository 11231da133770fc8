"""The config's two small languages: event patterns (`match`) and CEL (`when`, `each`, the `${…}` leaves of `map`)."""

from collections.abc import Mapping
from typing import Final

from connector.mapping import explain, pattern
from connector.mapping.fit import Shape
from connector.mapping.leaves import compile_condition, compile_each, compile_map
from connector.mapping.pattern import Match, compile_match
from connector.mapping.place import Places
from connector.mapping.problem import Locate, MappingFailed, Names, Path, Position, Problem, spell

EXPLAIN: Final[Mapping[str, str]] = {**pattern.EXPLAIN, **explain.EXPLAIN}
"""What each code of both languages means."""

__all__ = [
    "EXPLAIN",
    "Locate",
    "MappingFailed",
    "Match",
    "Names",
    "Path",
    "Places",
    "Position",
    "Problem",
    "Shape",
    "compile_condition",
    "compile_each",
    "compile_map",
    "compile_match",
    "spell",
]
