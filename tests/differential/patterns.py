"""`make patterns`: asks AWS's own event-ruler of generated patterns, sound and broken, and prints what differs.

Needs a JDK 17 and Maven, and says so where they are missing. Ends with 1 where an answer differs for no reason that
docs/match.md gives.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

from connector.mapping import Problem, compile_match
from tests.unit.mapping.match import ROOT, nowhere, record

RULER: Final = Path(__file__).with_name("ruler")
SECONDS: Final = 240
SHOWN: Final = 10

KEYS: Final = ("a", "b")
TEXTS: Final = ("", "a", "b", "ab", "ba", "A", "aB", "a*b", "x\ny", "10.0.0.1", "10.0.1.1", "2001:db8::1", "é", "É")
NUMBERS: Final = (-2, -1, 0, 1, 2, 1.5, 0.5, 3)
NETWORKS: Final = ("10.0.0.0/24", "10.0.0.0/8", "10.0.0.5/24", "2001:db8::/32")
OPERATORS: Final = (
    *("prefix", "suffix", "equals-ignore-case", "anything-but", "numeric", "exists", "cidr", "wildcard"),
    *("prefx", "PREFIX", "$or", "regex"),
)
OPERANDS: Final[tuple[Any, ...]] = (
    *("", "a", "**", "a**b", "\\", "a\\x", 5, -1, 1.5, True, False, None, [], {}, ["a"], [1], ["a", 1], [[]], [{}]),
    *("10.0.0.0", "10.0.0.0/33", "10.0.0.0/8", "::/129", "10.0.0/8", ["a", "b", None], ["prefix", "a"]),
    *([">"], [">", 1], ["<", 1, ">", 2], [">", 2, "<", 1], [">", 1, "<", 1], ["=", 1, "<", 2], [">", 1, "<"]),
    *(["==", 1], [">", "1"], [">", True], [">=", 1, "<=", 1], [">", 1, "<", 2, "=", 3]),
    *({"prefix": "a"}, {"prefix": ""}, {"prefix": []}, {"prefix": ["a", ""]}, {"suffix": ["a", 1]}, {"x": 1}),
    *({"equals-ignore-case": "a"}, {"equals-ignore-case": ["a", "b"]}, {"equals-ignore-case": []}),
    *({"wildcard": "a*"}, {"wildcard": "**"}, {"wildcard": ["a*", "b**"]}, {"exists": True}, {"numeric": ["=", 1]}),
    *({"anything-but": "a"}, {"cidr": "10.0.0.0/8"}, {"prefix": "a", "suffix": "b"}),
)


class NotAsked(Exception):
    """event-ruler is not to be had on this machine."""


class Generator:
    """Makes pairs of a pattern and an event; the same seed, the same pairs."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def pair(self) -> tuple[Any, Any]:
        """A pattern of `value` and a value: two of three are sound."""
        if self.random.random() < 2 / 3:
            return self.pattern(1), self.object(3)
        return self.broken(), {"a": self.random.choice(["a", "b", 1, True, None])}

    def value(self, depth: int) -> Any:
        what = self.random.random()
        if depth == 0 or what < 0.45:
            return self.random.choice([self.random.choice(TEXTS), self.random.choice(NUMBERS), True, False, None])
        if what < 0.65:
            return [self.value(depth - 1) for _ in range(self.random.randint(0, 3))]
        return self.object(depth - 1)

    def object(self, depth: int) -> dict[str, Any]:
        keys = self.random.sample(KEYS, self.random.randint(0, len(KEYS)))
        return {key: self.value(depth) for key in keys}

    def pattern(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in self.random.sample(KEYS, self.random.randint(1, len(KEYS))):
            found[key] = self.leaf() if depth == 0 or self.random.random() < 0.6 else self.pattern(depth - 1)
        if self.random.random() < 0.2:
            beside = f"{self.random.choice(KEYS)}{len(found)}"  # no field that may stand beside $or
            found["$or"] = [{key: self.leaf()} for key in (beside, *KEYS) if key not in found]
        return {key: below for key, below in found.items() if key != "$or" or len(below) > 1}

    def leaf(self) -> list[Any]:
        count = self.random.randint(1, 3)
        return [self.matcher() if self.random.random() < 0.7 else self.value(0) for _ in range(count)]

    def matcher(self) -> dict[str, Any]:
        def text() -> str:
            return self.random.choice(TEXTS)

        def word() -> str:
            return self.random.choice(TEXTS[1:])

        def number() -> float:
            return self.random.choice(NUMBERS)

        match self.random.choice(OPERATORS[:8]):
            case ("prefix" | "suffix") as affix:
                return {affix: text() if self.random.random() < 0.5 else {"equals-ignore-case": word()}}
            case "equals-ignore-case":
                return {"equals-ignore-case": text()}
            case "numeric":
                low, high = sorted((number(), number()))
                if low < high and self.random.random() < 0.5:
                    return {"numeric": [self.random.choice([">", ">="]), low, self.random.choice(["<", "<="]), high]}
                return {"numeric": [self.random.choice(["=", "<", "<=", ">", ">="]), low]}
            case "exists":
                return {"exists": self.random.random() < 0.5}
            case "cidr":
                return {"cidr": self.random.choice(NETWORKS)}
            case "wildcard":
                return {"wildcard": self.wildcard()}
        makes: list[tuple[str, Any]] = [("", text), ("", number), ("prefix", word), ("suffix", word)]
        name, make = self.random.choice([*makes, ("equals-ignore-case", text), ("wildcard", self.wildcard)])
        many = make() if self.random.random() < 0.5 else [make() for _ in range(self.random.randint(1, 3))]
        return {"anything-but": {name: many} if name else many}

    def wildcard(self) -> str:
        pieces = (self.random.choice(["a", "b", "*", "\\*", "A"]) for _ in range(self.random.randint(0, 5)))
        return "".join(pieces).replace("**", "*").replace("**", "*")

    def broken(self) -> dict[str, Any]:
        """A pattern that is wrong more often than not."""
        operand = self.random.choice(OPERANDS)
        what = self.random.random()
        if what < 0.75:
            return {"a": [{self.random.choice(OPERATORS): operand}]}
        if what < 0.85:
            return {"a": operand}
        branch = self.random.choice([{"a": operand}, {self.random.choice(OPERATORS): ["a"]}, {}])
        return {"$or": self.random.choice([[branch, {"b": [1]}], [branch]])}


def ours(pattern: Any, value: Any) -> str:
    """Our answer in the words of Ask.java."""
    report: list[Problem] = []
    match = compile_match({"value": pattern}, ROOT, nowhere, report)
    if match is None:
        return "refused: " + "; ".join(f"{each.code} {each.message}" for each in report)
    return "true" if match(record(value=value)) else "false"


def ruler(pairs: list[tuple[Any, Any]]) -> list[str]:
    """The answers of event-ruler, one a pair.

    Raises:
        NotAsked: there is no Java or Maven, or Maven cannot get it.
    """
    if missing := [tool for tool in ("java", "mvn") if shutil.which(tool) is None]:
        raise NotAsked(f"not on PATH: {', '.join(missing)}; install a JDK 17 and Maven")
    asked = [{"pattern": json.dumps({"value": one}), "event": json.dumps({"value": other})} for one, other in pairs]
    with tempfile.TemporaryDirectory() as folder:
        copy = ["mvn", "-q", "-B", "-f", str(RULER / "pom.xml"), "dependency:copy-dependencies"]
        copied = _run([*copy, f"-DoutputDirectory={folder}"], "")
        if copied.returncode:
            raise NotAsked(f"Maven could not get event-ruler:\n{(copied.stdout + copied.stderr)[-2000:]}")
        lines = "".join(json.dumps(each) + "\n" for each in asked)
        done = _run(["java", "-cp", f"{folder}/*", str(RULER / "Ask.java")], lines)
    if done.returncode:
        raise SystemExit(f"Ask.java ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout.splitlines()


def _run(command: list[str], lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=lines, capture_output=True, text=True, encoding="utf-8", timeout=SECONDS, check=False
    )


def excuse(pattern: Any, value: Any, mine: str, theirs: str) -> str:
    """Which line of docs/match.md explains that the answers differ; empty where none does."""
    text, event = json.dumps(pattern), json.dumps(value)
    if theirs.startswith("refused"):
        if "fix match pattern must be a string" in theirs:
            return "prefix and suffix take a list of texts"
        if any(f'"anything-but": {word}' in text for word in ("true", "false", "null")):
            return "anything-but takes true, false and null"
    elif mine.startswith("refused"):
        if "PAT015" in mine or "PAT016" in mine:
            return "$or that is no choice is refused"
    elif '"exists": false' in text and "[" in event:
        return "exists: false beside other conditions asks the same element"
    return ""


def main() -> int:
    """Compare a number of pairs."""
    asked = argparse.ArgumentParser(prog="make patterns ARGS=…")
    asked.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="the same seed, the same patterns")
    asked.add_argument("--pairs", type=int, default=10_000, help="patterns, each with an event")
    given = asked.parse_args()
    print(f"seed {given.seed}", flush=True)
    generator = Generator(Random(given.seed))
    pairs = [generator.pair() for _ in range(given.pairs)]
    try:
        answers = ruler(pairs)
    except NotAsked as error:
        print(f"not compared: {error}")
        return 0
    agreed: Counter[str] = Counter()
    excused: Counter[str] = Counter()
    different: dict[str, tuple[str, str]] = {}
    for (pattern, value), theirs in zip(pairs, answers, strict=True):
        mine = ours(pattern, value)
        if mine.partition(":")[0] == theirs.partition(":")[0]:
            agreed[mine.partition(":")[0]] += 1
        elif reason := excuse(pattern, value, mine, theirs):
            excused[reason] += 1
        else:
            different[f"{json.dumps(pattern)} of {json.dumps(value)}"] = (mine, theirs)
    print(
        f"{len(pairs)} pairs; the same answer: {', '.join(f'{count} {word}' for word, count in agreed.most_common())}"
    )
    for reason, count in excused.most_common():
        print(f"{count:7}  {reason}")
    print(f"{len(different)} differ for no reason that docs/match.md gives")
    for pair, (mine, theirs) in sorted(different.items(), key=lambda each: len(each[0]))[:SHOWN]:
        print(f"  {pair}\n    here:        {mine}\n    event-ruler: {theirs}")
    enough = all(agreed[word] >= given.pairs // 50 for word in ("true", "false", "refused"))
    if not enough:
        print("too few of one kind of answer: this run proves little")
    return 0 if enough and not different else 1


if __name__ == "__main__":
    sys.exit(main())
