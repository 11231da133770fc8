"""Short ways to compile and run one expression in a test."""

from typing import Any

from connector.mapping import (
    MappingFailed,
    Names,
    Path,
    Position,
    Problem,
    compile_map,
)

VARS: dict[str, Any] = {
    "stage": "dev",
    "limit": 5,
    "ratio": 0.5,
    "on": True,
    "allowed": ["NO", "SE"],
    "mixed": [1, "a"],
    "deep": {"region": "eu-west-1"},
}


def locate(path: Path) -> Position:
    """Each leaf stands at line 10 and column 20 of orders.yaml."""
    return Position("orders.yaml", 10, 20)


def names(value: Any = None, **changed: Any) -> Names:
    """A record of `orders`, partition 3, offset 7."""
    found = Names("orders", 3, 7, 1_700_000_000_000, "k-1", {"event-type": "order.paid", "none": None}, value)
    for name, each in changed.items():
        setattr(found, name, each)
    return found


def problems(leaf: Any, *, each: bool = False) -> list[Problem]:
    """What is wrong with a leaf."""
    report: list[Problem] = []
    assert compile_map({"x": leaf}, ("map",), locate, report, VARS, each=each) is None or not report
    return report


def leaf(text: Any, record: Names, *, each: bool = False) -> Any:
    """What a leaf makes of a record; `absent` where its key was dropped."""
    report: list[Problem] = []
    mapped = compile_map({"x": text}, ("map",), locate, report, VARS, each=each)
    assert mapped is not None, report
    return mapped(record).get("x", "absent")


def evaluate(expression: str, value: Any = None) -> Any:
    """The value of an expression."""
    return leaf("${" + expression + "}", names(value))


def outcome(expression: str, value: Any = None) -> Any:
    """The value of an expression, or its failure."""
    try:
        return evaluate(expression, value)
    except MappingFailed as failed:
        return failed


def failure(expression: str, value: Any = None) -> MappingFailed:
    """The failure of an expression at run time."""
    found = outcome(expression, value)
    assert isinstance(found, MappingFailed), found
    return found
