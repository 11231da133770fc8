"""The config's two small languages: event patterns (`match`) and CEL (`when`, `each`, the `${…}` leaves of `map`)."""

from connector.mapping.explain import EXPLAIN
from connector.mapping.fit import Shape
from connector.mapping.leaves import compile_condition, compile_each, compile_map
from connector.mapping.pattern import Match, compile_match
from connector.mapping.place import Places
from connector.mapping.problem import Locate, MappingFailed, Names, Path, Position, Problem, spell

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
