"""Configs for tests: two kinds of target that need no service, and a sound config of which a test replaces lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from pydantic import Field, SecretStr

from connector.loading.load import load
from connector.settings import Loaded, Settings
from connector.targets.contract import Kind, Leaf
from connector.targets.settings import TargetSettings


class FakeSettings(TargetSettings):
    """A service with a region and a password."""

    type: Literal["fake"] = "fake"
    region: str = Field(description="Where it is")
    password: SecretStr | None = None


class OldSettings(TargetSettings):
    """A service with nothing of its own."""

    type: Literal["old"] = "old"


def _never(name: str, settings: Any) -> NoReturn:
    raise AssertionError(f"settings never make a target: {name}")


KINDS: Final[Mapping[str, Kind]] = {
    "fake": Kind(FakeSettings, {"text": Leaf("string")}, _never),
    "old": Kind(OldSettings, {}, _never, retired="The service ends in 2027."),
}
OWNED: Final = {"enable.auto.commit": "commits are the daemon's", "group.id": "use kafka.group_id"}

SOUND: Final = """\
version: 1
kafka: {bootstrap_servers: localhost:9092, group_id: g}
unrouted: skip
dead_letters: {topic: dead}
targets: {bus: {type: fake, region: eu}}
routes: [{name: r, topics: [t], targets: [bus]}]
"""


def with_lines(*lines: str) -> str:
    """The sound config, where a line takes the place of the one with the same key, or stands at line 7 and on."""
    found = {line.partition(":")[0]: line for line in SOUND.splitlines()}
    for line in lines:
        found[line.partition(":")[0]] = line
    return "\n".join(found.values()) + "\n"


def loaded(folder: Path, *texts: str, **environ: str) -> Loaded:
    """The texts written as a.yaml, b.yaml, … and loaded with the kinds of this module."""
    files = [folder / f"{chr(ord('a') + index)}.yaml" for index in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text.encode())
    return load(files, environ, registry=KINDS, owned=OWNED)


def settings(folder: Path, *texts: str, **environ: str) -> Settings:
    """The settings of texts that have no error."""
    found = loaded(folder, *texts, **environ)
    assert found.settings is not None, found.problems
    return found.settings


def told(found: Loaded) -> list[tuple[str, int, int, str]]:
    """Code, line, column and path of every problem."""
    return [(one.code, one.where.line, one.where.column, one.path) for one in found.problems]
