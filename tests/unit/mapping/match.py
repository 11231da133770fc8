"""Short ways to compile a pattern and to make a record for it."""

from typing import Any

from connector.mapping.pattern import Match, compile_match
from connector.mapping.problem import Names, Path, Position, Problem

ROOT: Path = ("routes", 0, "match")


def nowhere(path: Path) -> Position:
    return Position("routes.yaml", 1 + len(path), 1)


def record(**fields: Any) -> Names:
    known: dict[str, Any] = {
        "topic": "shop.orders",
        "partition": 3,
        "offset": 1207,
        "timestamp": 1_700_000_000_000,
        "key": "k-1",
        "headers": {},
        "value": None,
    }
    return Names(**(known | fields))


def problems(tree: Any) -> list[Problem]:
    report: list[Problem] = []
    compile_match(tree, ROOT, nowhere, report)
    return report


def compiled(tree: Any) -> Match:
    report: list[Problem] = []
    match = compile_match(tree, ROOT, nowhere, report)
    assert match is not None, [str(problem) for problem in report]
    return match
