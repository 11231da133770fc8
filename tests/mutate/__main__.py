"""Mutation testing of the modules that guard the promise: every small mistake in them should fail a test.

    python -m tests.mutate [MODULE ...] [--jobs N] [--at-least PERCENT] [--minutes M] [--only TEXT]

A mutant is killed when its module's tests fail, or take five times as long as on the real module. Each runs in a forked
process that has every library loaded but imports ours anew, the mutated module in place of the real one. A survivor
counts as one, whatever is said for it; harmless.txt says why it does no harm, in lines of `module.name  # reason`.
The exit code is 1 when a module is below the bar or has no score, because its tests fail on the real module, when
nothing is said for a survivor, and when time runs out.
"""

import argparse
import contextlib
import importlib
import importlib.abc
import importlib.metadata
import importlib.util
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final, NamedTuple

import hypothesis
import pytest

from tests.mutate.mutants import Mutant, mutants

ROOT: Final = Path(__file__).resolve().parents[2]
HARMLESS: Final = Path(__file__).with_name("harmless.txt")
TESTS: Final = {
    "commit": ["test_commit"],
    "batch": ["test_batch"],
    "publish": ["test_publish"],
    "consume": ["test_ask_kafka", "test_consume"],
    "assignment": ["test_assignment"],
    "room": ["test_room"],
    "offsets": ["test_offsets"],
}
MEMORY: Final = 4 << 30  # bytes of address space; a mutant that loops for ever must not take the machine with it
LEAST: Final = 8.0  # seconds that a mutant gets at least
UNEXPLAINED: Final = "NO REASON GIVEN: write a test that kills it, or say in harmless.txt why it does no harm"
_LATE: Final = 99  # exit code of a child that ran out of its time


class Result(NamedTuple):
    """What became of one module."""

    module: str
    tried: int
    alive: list[str]
    late: list[str]
    left: int
    seconds: float

    @property
    def score(self) -> float:
        """Per cent of the mutants that a test killed."""
        return 100.0 * (self.tried - len(self.alive)) / max(1, self.tried)


class Loader(importlib.abc.Loader, importlib.abc.MetaPathFinder):
    """Gives the mutated code under the real module's name."""

    def __init__(self, name: str, code: CodeType) -> None:
        self._name, self._code = name, code

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=self._code.co_filename)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102 - the code is our own module with one node changed


class Order:
    """Runs the quickest tests first, and notes how long each takes."""

    def __init__(self, known: dict[str, float]) -> None:
        self._known = known
        self.took: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._known.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took[report.nodeid] = self.took.get(report.nodeid, 0.0) + report.duration


def warm() -> None:
    """Load pytest's plugins and all that the tests import, then forget what is ours: the children import that anew."""
    for plugin in importlib.metadata.entry_points(group="pytest11"):
        plugin.load()
    for names in TESTS.values():
        for name in names:
            importlib.import_module(f"tests.unit.{name}")
    for name in list(sys.modules):
        if name.split(".")[0] == "connector" or (name.startswith("tests.") and not name.startswith("tests.mutate")):
            del sys.modules[name]


def fork(module: str, mutant: CodeType | None, order: Order, seconds: float, tell: int | None = None) -> int:
    """Run a module's tests in a child, on a mutant or on the real module; return its process id.

    The child exits with 0 if they pass.
    """
    if pid := os.fork():
        return pid
    code = 1
    try:
        code = _in_child(module, mutant, order, seconds)
        if tell is not None:
            os.write(tell, json.dumps(order.took).encode())
    finally:
        os._exit(code)


def _in_child(module: str, mutant: CodeType | None, order: Order, seconds: float) -> int:
    late = threading.Timer(seconds, os._exit, (_LATE,))
    late.daemon = True
    late.start()
    with contextlib.suppress(ValueError, OSError):  # not every system can bound it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.environ |= {"LEDGER_EXAMPLES": "200", "EDGE_DEADLINE": "4"}
    once = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # the first failure is enough: nothing is shrunk
    hypothesis.settings.register_profile("mutate", phases=once, derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("mutate")
    if mutant is not None:
        sys.meta_path.insert(0, Loader(f"connector.{module}", mutant))
    files = [str(ROOT / "tests" / "unit" / f"{name}.py") for name in TESTS[module]]
    plain = ["--assert=plain", "--tb=no", "-p", "no:randomly", "-p", "no:cacheprovider"]
    return int(pytest.main(["-x", "-q", *plain, *files], plugins=[order]))


def measure(module: str) -> tuple[dict[str, float], float] | None:
    """How long each test takes on the real module, and all of them; None when they fail there."""
    started = time.monotonic()
    ear, mouth = os.pipe()
    pid = fork(module, None, Order({}), 300.0, mouth)
    os.close(mouth)
    with os.fdopen(ear, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    return (json.loads(told), time.monotonic() - started) if status == 0 else None


def judge(module: str, jobs: int, only: str, until: float, known: dict[str, str]) -> Result | None:
    """Try every mutant of a module, as far as time allows.

    None when there is no score: the tests fail on the real module, before or after, or it has changed meanwhile.
    """
    started = time.monotonic()
    if (measured := measure(module)) is None:
        return None
    took, normal = measured
    seconds = max(LEAST, 5.0 * normal)
    path = ROOT / "connector" / f"{module}.py"
    source = path.read_text()
    waiting = [one for one in mutants(source) if only in one.name]
    count = len(waiting)
    running: dict[int, Mutant] = {}
    alive: list[str] = []
    late: list[str] = []
    while running or (waiting and time.monotonic() < until):
        while waiting and len(running) < jobs and time.monotonic() < until:
            mutant = waiting.pop(0)
            code = compile(mutant.tree(source), str(path), "exec")
            running[fork(module, code, Order(took), seconds)] = mutant
        pid, status = os.wait()
        mutant = running.pop(pid)
        if os.waitstatus_to_exitcode(status) == _LATE:
            late.append(mutant.name)
        if status == 0:
            alive.append(mutant.name)
            print(f"  survived: {module}.{mutant.name}")
            print(f"            {known.get(f'{module}.{mutant.name}', UNEXPLAINED)}", flush=True)
    if measure(module) is None or path.read_text() != source:
        return None
    return Result(module, count - len(waiting), alive, late, len(waiting), time.monotonic() - started)


def harmless() -> dict[str, str]:
    """Known survivors: `module.name` → reason, from lines of `name  # reason`."""
    lines = HARMLESS.read_text().splitlines() if HARMLESS.exists() else []
    pairs = [line.rsplit("  # ", 1) for line in lines if "  # " in line and not line.startswith("#")]
    return {name.strip(): reason for name, reason in pairs}


def report(result: Result, known: dict[str, str], whole: bool) -> Iterator[str]:
    """The lines about one module."""
    module, alive = result.module, result.alive
    explained = sum(f"{module}.{name}" in known for name in alive)
    yield (
        f"{module}: {result.tried} mutants, {result.tried - len(alive)} killed ({result.score:.1f} %; "
        f"{len(result.late)} of them took too long), "
        f"{len(alive)} survived ({explained} known to be harmless), {result.seconds:.0f} s"
    )
    if result.left:
        yield f"  out of time: {result.left} more mutants were not tried"
    elif whole:
        for name in known:
            # one that took too long may have done so because the machine was busy
            if name.startswith(f"{module}.") and name.removeprefix(f"{module}.") not in (*alive, *result.late):
                yield f"  no longer survives, or is gone: {name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Mutate, print what became of each module, and fail below the bar."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(TESTS)}; all of them by default")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--at-least", type=float, default=85.0, help="per cent of a module's mutants to be killed")
    parser.add_argument("--minutes", type=float, default=40.0, help="of the whole run, at most")
    parser.add_argument("--only", default="", help="mutants whose name has this text")
    given = parser.parse_args(arguments)
    if unknown := set(given.modules) - set(TESTS):
        parser.error(f"no such module here: {', '.join(sorted(unknown))}")
    until = time.monotonic() + 60.0 * given.minutes
    known = harmless()
    warm()
    failed = False
    for module in given.modules or TESTS:
        result = judge(module, given.jobs, given.only, until, known)
        if result is None:
            print(f"{module}: no score, for its tests fail on the real module or it has changed meanwhile", flush=True)
            failed = True
            continue
        print("\n".join(report(result, known, not given.only)), flush=True)
        unexplained = any(f"{module}.{name}" not in known for name in result.alive)
        failed = failed or result.score < given.at_least or result.left > 0 or unexplained
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
