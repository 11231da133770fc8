"""Known bugs of this field as small patches of our daemon; the head of each says which run must see it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[3]
_COPIED: Final = ("connector", "config", "tests", "docs", "deploy", "pyproject.toml", "CHANGELOG.md", "README.md")


class Patch(NamedTuple):
    """One bug: whose it was, the pytest node ids of the runs that must each see it, what their failures must say."""

    name: str
    bug: str
    history: str
    runs: tuple[str, ...]
    promise: re.Pattern[str]
    text: str


def patches() -> list[Patch]:
    """All of them, in their order."""
    return [_read(path) for path in sorted(Path(__file__).parent.glob("*.patch"))]


def _read(path: Path) -> Patch:
    text = path.read_text()
    head, diff, _ = text.partition("\ndiff --git ")
    lines = [line.partition(": ") for line in head.splitlines() if line]
    told = {name: text for name, _, text in lines}
    runs = tuple(text for name, _, text in lines if name == "Run")
    if not diff or not runs or not {"Bug", "History", "Promise"} <= told.keys():
        raise ValueError(f"{path.name} needs lines of Bug, History, Run and Promise before its diff")
    return Patch(path.stem, told["Bug"], told["History"], runs, re.compile(told["Promise"]), text)


def refused(patch: Patch, tree: Path, *, check: bool = False) -> str:
    """Apply a patch to a tree, or only ask whether it applies; return what git says against it, empty when it went."""
    git = ["git", "apply", *(["--check"] if check else []), "-"]
    return subprocess.run(git, cwd=tree, input=patch.text, capture_output=True, text=True, check=False).stderr.strip()


def copy(tree: Path, to: Path) -> None:
    """Copy what the runs need of a tree."""
    for name in _COPIED:
        here = tree / name
        if here.is_dir():
            shutil.copytree(here, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(here, to / name)
