"""Who may import what. The folder listing shows the flow only as long as nobody takes a short cut."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "connector"
PURE = ("batch", "commit", "assignment", "room")
CLOCKS_AND_IO = ("asyncio", "time", "logging", "structlog", "socket", "os", "threading", "aiohttp", "confluent_kafka")


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


MODULES = modules()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
            yield from (
                f"{node.module}.{alias.name}" for alias in node.names if f"{node.module}.{alias.name}" in MODULES
            )


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] == "connector"}


def outside(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)} - {"connector"}


def within(names: set[str], *allowed: str) -> set[str]:
    return {name for name in names if not any(name == a or name.startswith(f"{a}.") for a in allowed)} - {"connector"}


def test_model_imports_nothing_of_ours_and_only_the_standard_library() -> None:
    assert ours(PACKAGE / "model.py") == set()
    assert outside(PACKAGE / "model.py") <= {"collections", "dataclasses", "enum", "typing"}


@pytest.mark.parametrize("name", PURE)
def test_what_decides_knows_no_clock_no_loop_and_no_outside(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    assert within(ours(path), "connector.model", *(f"connector.{pure}" for pure in PURE)) == set()
    assert outside(path) & set(CLOCKS_AND_IO) == set()


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("connector.mapping")])
def test_the_languages_know_only_the_model_and_themselves(name: str) -> None:
    path = MODULES[name]
    assert within(ours(path), "connector.model", "connector.mapping") == set()
    assert outside(path) & set(CLOCKS_AND_IO) == set()


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("connector.targets.")])
def test_a_target_knows_the_model_and_no_other_target(name: str) -> None:
    shared = {
        "connector.targets.contract",
        "connector.targets.settings",
        "connector.targets.aws",
        "connector.targets.lean",
        "connector.targets.strict_json",
        "connector.targets.trace",
        *(name for name in MODULES if name.startswith("connector.targets.fiddler_")),  # the parts of one target
    }
    allowed = {"connector.model", "connector.targets", *shared}
    assert ours(MODULES[name]) - {"connector"} <= allowed | {name}


def test_the_kafka_client_is_imported_only_at_the_edges() -> None:
    users = {name for name, path in MODULES.items() if "confluent_kafka" in outside(path)}
    allowed = ("connector.consume", "connector.targets.dead_letter", "connector.sandbox")
    assert {name for name in users if not name.startswith(allowed)} == set()


def test_only_the_command_line_and_the_demo_import_the_app() -> None:
    users = {name for name, path in MODULES.items() if "connector.app" in ours(path)}
    assert users <= {
        "connector.cli",
        "connector.operations.report",
        "connector.operations.operate",
        "connector.operations.reload",
        "connector.sandbox.demo",
        "connector.sandbox.sabotage",
    }


def test_nothing_in_the_daemons_path_imports_the_sandbox() -> None:
    users = {name for name, path in MODULES.items() if any(n.startswith("connector.sandbox") for n in ours(path))}
    assert {name for name in users if not name.startswith("connector.sandbox")} <= {"connector.cli"}
