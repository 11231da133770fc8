"""`python -m tests.differential`: evaluates generated expressions here and elsewhere, and prints what differs.

Ends with 1 where a mismatch is on no list, where a feature was evaluated too rarely, or where a difference that the
documentation names was never seen.
"""

import argparse
import logging
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from random import Random
from typing import Final

from tests.differential.differences import DIFFERENCES, FAULTS, Mismatch, Outcome
from tests.differential.generate import FEATURES, Generator, Made, record
from tests.differential.oracles import ORACLES, Oracle, Ours, Seen, agree

ENOUGH: Final = 200
"""Values that each feature must have given, here and in at least one of the others."""
UNCONFIRMED: Final = 0.002
"""The share of expressions where a fault of another may go without the third's word."""
RECORDS: Final = 16
SHOWN: Final = 5


class Comparison:
    """What became of all expressions so far."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.generator = Generator(random)
        records = [Seen(record(random)) for _ in range(RECORDS)]
        self.ours = Ours(records)
        self.others: list[Oracle] = [make(records) for make in ORACLES]
        self.expressions = 0
        self.unconfirmed = 0
        self.values: Counter[str] = Counter()
        self.compared: Counter[str] = Counter()
        self.evaluated: Counter[str] = Counter()
        self.allowed: Counter[str] = Counter()
        self.unexplained: list[tuple[str, Mismatch]] = []
        self.faults: dict[str, Counter[str]] = defaultdict(Counter)

    def step(self) -> None:
        """One more expression: mostly of the feature with the fewest values so far."""
        if self.random.random() < 0.03:
            made = self.generator.beyond()
        else:
            made = self.generator.of(min(FEATURES, key=lambda feature: (self.evaluated[feature], self.random.random())))
        self.compare(made, self.random.randrange(RECORDS))

    def compare(self, made: Made, seen: int) -> None:
        """Evaluate one expression everywhere."""
        self.expressions += 1
        ours = self.ours.evaluate(made.text, seen)
        self.values[self.ours.name] += not ours.error
        theirs = {each.name: each.evaluate(made.text, seen) for each in self.others if not made.uses & each.lacks}
        for name, other in theirs.items():
            self.compared[name] += 1
            self.values[name] += not other.error
        if not ours.error and any(not other.error for other in theirs.values()):
            self.evaluated.update(made.sure)
        for name, other in theirs.items():
            if not agree(ours, other):
                self._judge(
                    name, Mismatch(made, ours, other), {its: each for its, each in theirs.items() if its != name}
                )

    def _judge(self, name: str, mismatch: Mismatch, others: Mapping[str, Outcome]) -> None:
        for difference in DIFFERENCES:
            if difference.explains(mismatch):
                self.allowed[difference.here] += 1
                return
        faults = [each for each in FAULTS if each.oracle == name and each.explains(mismatch)]
        if others and all(self._confirms(mismatch, other) for other in others.values()):
            believed = faults
        else:
            believed = [each for each in faults if each.certain or self._faulty(mismatch, others)]
            self.unconfirmed += bool(believed)
        if believed:
            self.faults[name][believed[0].what] += 1
            return
        self.unexplained.append((name, mismatch))

    @staticmethod
    def _confirms(mismatch: Mismatch, other: Outcome) -> bool:
        """Whether the third does as we do, or differs on purpose."""
        return agree(mismatch.ours, other) or any(
            each.explains(Mismatch(mismatch.made, mismatch.ours, other)) for each in DIFFERENCES
        )

    @staticmethod
    def _faulty(mismatch: Mismatch, others: Mapping[str, Outcome]) -> bool:
        """Whether the third has a certain fault of its own here."""
        return any(
            each.certain and each.oracle == name and each.explains(Mismatch(mismatch.made, mismatch.ours, other))
            for name, other in others.items()
            for each in FAULTS
        )


def _say(comparison: Comparison, seconds: float, show: int) -> bool:
    evaluated = comparison.evaluated
    print(f"\n{'feature':28} values")
    for feature in FEATURES:
        print(f"{feature:28} {evaluated[feature]:6}" + ("" if evaluated[feature] >= ENOUGH else "  too few"))
    valued = comparison.values[comparison.ours.name]
    print(f"\n{comparison.expressions} expressions in {seconds:.1f} s; {valued} had a value here")
    for each in comparison.others:
        print(f"{each.name}: {comparison.compared[each.name]} compared, {comparison.values[each.name]} had a value")
    print("\ndeliberate differences (docs/map.md) and how often they were seen")
    for difference in DIFFERENCES:
        print(f"{comparison.allowed[difference.here]:7}  {difference.here}")
    print(f"\nfaults of the others, confirmed by the third but for {comparison.unconfirmed}")
    for name, faults in comparison.faults.items():
        for what, count in faults.most_common():
            print(f"{count:7}  {name}: {what}")
    print(f"\n{len(comparison.unexplained)} mismatches are on no list")
    unique = {(name, each.made.text): (name, each) for name, each in comparison.unexplained}
    for name, mismatch in sorted(unique.values(), key=lambda each: len(each[1].made.text))[:show]:
        print(f"  {mismatch.made.text}\n    here: {_shown(mismatch.ours)}\n    {name}: {_shown(mismatch.theirs)}")
    rare = [feature for feature in FEATURES if evaluated[feature] < ENOUGH]
    unseen = [each.here for each in DIFFERENCES if not comparison.allowed[each.here]]
    print(f"\nfeatures with fewer than {ENOUGH} values: {', '.join(rare) or 'none'}; of {len(FEATURES)}")
    print(f"differences never seen: {', '.join(unseen) or 'none'}")
    too_many = comparison.unconfirmed > comparison.expressions * UNCONFIRMED
    return not (comparison.unexplained or rare or unseen or too_many)


def _shown(outcome: Outcome) -> str:
    text = f"error: {outcome.error}" if outcome.error else repr(outcome.value)
    return " ".join(text.split())[:200]


def main() -> int:
    """Run a number of expressions."""
    asked = argparse.ArgumentParser(prog="make differential ARGS=…")
    asked.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="the same seed, the same expressions")
    asked.add_argument("--expressions", type=int, default=14_000, help="how many; 100000 for a long run")
    asked.add_argument("--show", type=int, default=SHOWN, help="how many mismatches to print")
    given = asked.parse_args()
    print(f"seed {given.seed}", flush=True)
    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)  # the Rust one logs each failing Python function
    comparison = Comparison(Random(given.seed))
    began = time.monotonic()
    while comparison.expressions < given.expressions:
        comparison.step()
    return 0 if _say(comparison, time.monotonic() - began, given.show) else 1


if __name__ == "__main__":
    sys.exit(main())
