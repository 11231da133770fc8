"""`make bench-mapping`: what one record's match and map cost, as a ratio to `orjson.loads` of the same record.

Each round times everything once, one after the other, in processor time; a ratio is made within its round, and the
median of the rounds is printed. So a busy machine moves all of it alike. Ends with 1 where a ratio is above its bound.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, Final

import orjson

from connector.mapping import Path, Position, Problem, compile_map, compile_match
from tests.bench.order import EVENT, LEAVES, MAP, MATCH, NAMES, OTHERS, TEXT
from tests.bench.rivals import rivals

ROUNDS: Final = 40
SLICE: Final = 0.02
"""Seconds that one candidate is timed in one round."""
BOUNDS: Final[Mapping[str, float]] = {"match": 0.7, "map": 2.7, "50 that do not match": 8.0}
OURS: Final = "connector"

Work = Callable[[], Any]


def _nowhere(path: Path) -> Position:
    return Position("bench.yaml", 1, 1)


def _ours() -> dict[str, Work]:
    report: list[Problem] = []
    match = compile_match(MATCH, ("match",), _nowhere, report)
    mapped = compile_map(MAP, ("map",), _nowhere, report, {})
    others = [compile_match(each, ("match",), _nowhere, report) for each in OTHERS]
    tests = [each.test for each in others if each is not None]
    assert match is not None
    assert mapped is not None
    assert len(tests) == len(OTHERS)

    def none() -> bool:
        found = False
        for test in tests:
            found = test(NAMES) or found
        return found

    assert match.test(NAMES) is True
    assert mapped(NAMES) == EVENT
    assert none() is False
    test, run = match.test, mapped
    return {"match": lambda: test(NAMES), "map": lambda: run(NAMES), "50 that do not match": none}


def _candidates() -> dict[tuple[str, str], Work]:
    found: dict[tuple[str, str], Work] = {("orjson.loads", "decode"): lambda: orjson.loads(TEXT)}
    found |= {(OURS, part): work for part, work in _ours().items()}
    for rival in rivals():
        match, mapped = rival.match, rival.map
        assert match(NAMES) is True, rival.name
        assert mapped(NAMES) == EVENT, rival.name
        found[rival.name, "match"] = lambda match=match: match(NAMES)  # type: ignore[misc]  # bound now, not at the call
        found[rival.name, "map"] = lambda mapped=mapped: mapped(NAMES)  # type: ignore[misc]  # likewise
    return found


def _seconds(work: Work, times: int) -> float:
    began = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - began) / times


def main() -> int:
    """Time all candidates and print the table."""
    asked = argparse.ArgumentParser(prog="make bench-mapping ARGS=…")
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = asked.parse_args().rounds
    candidates = _candidates()
    times = {name: max(1, int(SLICE / _seconds(work, 200))) for name, work in candidates.items()}
    ratios: dict[tuple[str, str], list[float]] = {name: [] for name in candidates}
    micros: dict[tuple[str, str], list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        measured = {one: _seconds(work, times[one]) for one, work in candidates.items()}
        for one, seconds in measured.items():
            ratios[one].append(seconds / measured["orjson.loads", "decode"])
            micros[one].append(seconds * 1e6)
    print(f"a record of {len(TEXT)} bytes, a pattern of 5 conditions, a map of {LEAVES} leaves; {rounds} rounds")
    print(f"\n{'':22}{'':22}{'ratio':>8}{'least':>8}{'most':>8}{'µs':>9}")
    for (name, part), found in ratios.items():
        here = f"{median(found):8.2f}{min(found):8.2f}{max(found):8.2f}{median(micros[name, part]):9.2f}"
        bound = f"   bound {BOUNDS[part]}" if name == OURS else ""
        print(f"{name:22}{part:22}{here}{bound}")
    above = [part for part, bound in BOUNDS.items() if median(ratios[OURS, part]) > bound]
    print(f"\nabove the bound: {', '.join(above) or 'none'}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
