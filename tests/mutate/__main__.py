"""Mutation testing of the modules that guard the promise: every small mistake in them should fail a test.

    python -m tests.mutate [MODULE ...] [--jobs N] [--at-least PERCENT] [--only TEXT]

A mutant is killed when its module's tests fail or take far too long. Each runs in a forked process that imports the
mutated module in place of the real one. Survivors that are known to be harmless stand in harmless.txt, each with its
reason; they count as killed, and one that no longer survives is named so that its line can go.
"""

import argparse
import ast
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

import pytest

from tests.mutate.mutants import Mutant, mutants

ROOT: Final = Path(__file__).resolve().parents[2]
HARMLESS: Final = Path(__file__).with_name("harmless.txt")
TESTS: Final = {
    "commit": ["tests/unit/test_commit.py"],
    "batch": ["tests/unit/test_batch.py"],
    "publish": ["tests/unit/test_publish.py"],
    "assignment": ["tests/unit/test_assignment.py"],
    "consume": ["tests/unit/test_consume.py"],
    "room": ["tests/unit/test_consume.py"],
    "offsets": ["tests/unit/test_consume.py"],
}
SECONDS: Final = {"commit": 40.0, "consume": 40.0, "room": 40.0, "offsets": 40.0}  # many times what the tests need


class Loader(importlib.abc.Loader, importlib.abc.MetaPathFinder):
    """Gives the mutated code under the real module's name."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(self._path))

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102 - the code is our own module with one node changed


def run_child(module: str, mutant: Mutant, tests: list[str], seconds: float) -> int:
    """In the forked process: run the tests on the mutant; exit 0 where it survived."""
    signal.alarm(int(seconds))
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    os.environ["LEDGER_EXAMPLES"] = "200"
    path = ROOT / "connector" / f"{module}.py"
    code = compile(mutant.tree, str(path), "exec")
    sys.meta_path.insert(0, Loader(f"connector.{module}", path, code))
    arguments = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", f"--timeout={int(seconds)}", *tests]
    return int(pytest.main(arguments))


def survivors(module: str, jobs: int, only: str) -> tuple[list[str], list[str]]:
    """All mutants of a module, and those that no test noticed."""
    source = (ROOT / "connector" / f"{module}.py").read_text()
    waiting = [mutant for mutant in mutants(source) if only in mutant.name]
    names = [mutant.name for mutant in waiting]
    running: dict[int, Mutant] = {}
    alive: list[str] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop(0)
            pid = os.fork()
            if pid == 0:
                os._exit(run_child(module, mutant, TESTS[module], SECONDS.get(module, 12.0)))
            running[pid] = mutant
        pid, status = os.wait()
        mutant = running.pop(pid)
        if os.waitstatus_to_exitcode(status) == 0:
            alive.append(mutant.name)
            print(f"  survived  {module}.{mutant.name}", flush=True)
    return names, alive


def harmless() -> dict[str, str]:
    """Known survivors: `module.name` → reason, from lines of `name  # reason`."""
    lines = HARMLESS.read_text().splitlines() if HARMLESS.exists() else []
    pairs = [line.rsplit("  # ", 1) for line in lines if "  # " in line]
    return {name.strip(): reason for name, reason in pairs}


def main() -> int:
    """Mutate, print the score of each module, and fail below the bar."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TESTS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--at-least", type=float, default=85.0)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    known = harmless()
    failed = False
    for module in arguments.modules:
        started = time.monotonic()
        names, alive = survivors(module, arguments.jobs, arguments.only)
        excused = [name for name in alive if f"{module}.{name}" in known]
        score = 100.0 * (len(names) - len(alive)) / max(1, len(names))
        took = time.monotonic() - started
        print(
            f"{module}: {len(names)} mutants, {len(alive)} survived ({len(excused)} of them known to be harmless), "
            f"{score:.1f} % killed, {took:.0f} s",
            flush=True,
        )
        for name in known:
            own = name.removeprefix(f"{module}.")
            if name.startswith(f"{module}.") and own not in alive and not arguments.only:
                print(f"  no longer survives, or is gone: {name}")
        failed = failed or score < arguments.at_least
    return 1 if failed else 0


if __name__ == "__main__":
    ast.parse("")  # the parser is warm before the first fork
    raise SystemExit(main())
