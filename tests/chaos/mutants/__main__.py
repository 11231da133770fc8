"""The harness tested: each known bug is put into a copy of the daemon, and the run that its patch names must see it.

    python -m tests.chaos.mutants [NAME ...]

The same runs must pass without any patch first. A bug is caught when a run fails and its failure says which promise was
broken, in the words that the patch expects; a run that merely fails, cannot be started or passes has not caught it, nor
has a patch that no longer applies. The exit code is 1 unless all are caught.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

from tests.chaos.mutants.patches import ROOT, Patch, copy, patches, refused
from tests.kafka import broker

WITHIN: Final = 240.0  # seconds that one run may take
_LONGEST: Final = 150  # characters of an assertion in the table


class Failure(NamedTuple):
    """What a failing test said, and the seed that it printed."""

    words: str
    seed: str


class Row(NamedTuple):
    """One line of the table: which run a bug was put before, and what came of it."""

    patch: Patch
    run: str
    caught: bool
    how: str
    seed: str
    seconds: float


def play(tree: Path, runs: Sequence[str], bootstrap: str) -> tuple[int, list[Failure]]:
    """Run tests on a tree with its own connector; return pytest's exit code and the failures of test bodies.

    What goes wrong before or after a test's body is no failure of it.
    """
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    plain = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={report}", "-o", "junit_logging=system-out"]
    env = {**os.environ, "PYTHONPATH": str(tree), "KAFKA_BOOTSTRAP_SERVERS": bootstrap, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *plain, *runs]
    with (tree / "output.txt").open("w") as output, contextlib.suppress(subprocess.TimeoutExpired):
        code = subprocess.run(
            command, cwd=tree, env=env, stdout=output, stderr=output, check=False, timeout=WITHIN * len(runs)
        )
        return code.returncode, list(_failures(report)) if report.exists() else []
    return -1, []


def _failures(report: Path) -> Iterator[Failure]:
    for case in ElementTree.parse(report).iter("testcase"):
        for failure in case.iter("failure"):
            out = "".join(element.text or "" for element in case.iter("system-out"))
            seed = re.search(r"\bseed:? (\d+)", out)
            words = f"{failure.get('message', '')}\n{failure.text or ''}"
            yield Failure(words, seed[1] if seed else "-")


def judge(patch: Patch, run: str, tree: Path, bootstrap: str) -> Row:
    """Put one bug before one run."""
    started = time.monotonic()
    code, failures = play(tree, [run], bootstrap)
    seconds = time.monotonic() - started
    for words, seed in failures:
        said = [line.removeprefix("E").strip() for line in words.splitlines() if patch.promise.search(line)]
        if said:
            return Row(patch, run, True, said[0][:_LONGEST], seed, seconds)
    if code == 0:
        how = "NOT CAUGHT: the run passes, so the harness has a hole"
    elif failures:
        first = next((line for line in failures[0].words.splitlines() if line), "")
        how = f"NOT CAUGHT: the failure names no broken promise: {first[:_LONGEST]}"
    else:
        how = f"NOT CAUGHT: the run could not be made (pytest's exit code {code})"
    return Row(patch, run, False, how, "-", seconds)


@contextlib.contextmanager
def copied(tree: Path) -> Iterator[Path]:
    """A copy of a tree."""
    with tempfile.TemporaryDirectory(prefix="connector-mutant-") as folder:
        copy(tree, Path(folder))
        yield Path(folder)


@contextlib.contextmanager
def kafka() -> Iterator[str]:
    """The cluster of KAFKA_BOOTSTRAP_SERVERS, else one broker for all runs."""
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield given
        return
    if reason := broker.missing():
        raise SystemExit(f"these runs need a real Kafka: {reason}")
    with tempfile.TemporaryDirectory(prefix="connector-kafka-") as folder, broker.running(Path(folder)) as started:
        yield started.bootstrap


def is_copied(tree: Path) -> bool:
    """Whether a process that runs on a tree takes the tree's own connector, not the one that is installed."""
    where = [sys.executable, "-c", "import connector; print(connector.__file__)"]
    env = {**os.environ, "PYTHONPATH": str(tree)}
    told = subprocess.run(where, cwd=tree.parent, env=env, capture_output=True, text=True, check=True).stdout
    return Path(told.strip()).is_relative_to(tree)


def fair_weather(chosen: Sequence[Patch], real: Path, bootstrap: str) -> bool:
    """Whether all the runs pass without a patch; says so."""
    runs = list(dict.fromkeys(run for patch in chosen for run in patch.runs))
    started = time.monotonic()
    with copied(real) as tree:
        assert is_copied(tree), "the runs would judge the connector that is installed"
        code, _ = play(tree, runs, bootstrap)
        if code:
            print((tree / "output.txt").read_text()[-4000:])
    seconds = time.monotonic() - started
    print(f"without a patch: {len(runs)} runs {'pass' if code == 0 else 'DO NOT PASS'}, {seconds:.0f} s", flush=True)
    return code == 0


def rows_of(patch: Patch, real: Path, bootstrap: str) -> Iterator[Row]:
    """Put one bug before each of its runs."""
    with copied(real) as tree:
        if wrong := refused(patch, tree):
            yield Row(patch, "", False, f"NOT CAUGHT: the patch no longer applies: {wrong.splitlines()[0]}", "-", 0.0)
            return
        for run in patch.runs:
            yield judge(patch, run, tree, bootstrap)


def show(row: Row) -> None:
    """Print one line of the table."""
    print(f"{row.patch.name}  {'caught' if row.caught else 'MISSED'}  {row.seconds:.0f} s  seed {row.seed}")
    print(f"    {row.patch.history}")
    print(f"    by  {row.run or '-'}")
    print(f"    how {row.how}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show each bug caught, or fail."""
    everything = patches()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(p.name for p in everything)}")
    names = parser.parse_args(arguments).names
    chosen = [patch for patch in everything if not names or any(patch.name.startswith(name) for name in names)]
    started = time.monotonic()
    # one copy for all of them, because somebody may go on working meanwhile
    with copied(ROOT) as real, kafka() as bootstrap:
        if not fair_weather(chosen, real, bootstrap):
            return 1
        rows = []
        for patch in chosen:
            for row in rows_of(patch, real, bootstrap):
                rows.append(row)
                show(row)
    missed = {row.patch.name for row in rows if not row.caught}
    print(f"{len(chosen) - len(missed)} of {len(chosen)} bugs caught, {time.monotonic() - started:.0f} s")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    raise SystemExit(main())
