"""Runs the build stage of a Dockerfile without Docker: COPY and RUN as they stand, with its folders put elsewhere.

What it cannot show: the base image, the final stage's user and file system, another architecture.
"""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SECONDS: Final = 300.0
FOLDERS: Final = ("/opt", "/src")
"""The build stage's own folders; every path below one of them is moved into the clean directory."""


class StepFailed(Exception):
    """A step ended badly; the message has the step and its last words."""


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Instruction and rest of each line of the first stage, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stages = 0
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        stages += instruction == "FROM"
        if stages == 1 and instruction:
            yield instruction, " ".join(rest.split())


def build(path: Path, context: Path, folder: Path) -> Path:
    """Take the first stage's steps in `folder`; give where /opt/connector went.

    Raises:
        StepFailed: one of them ended with another code than 0, or took too long.
    """
    source = folder / "src"
    source.mkdir()
    (folder / "opt").mkdir()
    tools = folder / "tools"
    tools.mkdir()
    python = tools / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    for instruction, rest in steps(path.read_text()):
        if instruction == "COPY":
            *names, target = shlex.split(rest)
            for name in names:
                _copy(context / name, source / target if target != "./" else source / Path(name).name)
        elif instruction == "RUN":
            command = rest
            for each in FOLDERS:
                command = command.replace(each + "/", f"{folder}{each}/")
            _run(command, source, {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(folder)})
        elif instruction not in ("FROM", "WORKDIR"):
            raise StepFailed(f"the build stage has a {instruction}, which this reader does not know")
    return folder / "opt" / "connector"


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _run(command: str, cwd: Path, environ: dict[str, str]) -> None:
    try:
        said = subprocess.run(
            ["sh", "-ec", command], cwd=cwd, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise StepFailed(f"RUN {command}\ntook longer than {SECONDS:.0f} s") from None
    if said.returncode != 0:
        raise StepFailed(f"RUN {command}\nexit {said.returncode}:\n{(said.stdout + said.stderr)[-3000:]}")
