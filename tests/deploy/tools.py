"""Other people's validators, at one version each, installed once into a cache outside the tree.

Go's come as modules, checked against Go's checksum database; Python's (and the binaries that they carry) by the hashes
of requirements-deploy.lock. Nothing on the PATH is taken in their stead: another version could judge otherwise.
"""

import hashlib
import json
import os
import shutil
import subprocess
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kafka.broker import cache

ROOT: Final = Path(__file__).resolve().parents[2]
LOCK: Final = ROOT / "requirements-deploy.lock"
GO_AT_LEAST: Final = (1, 26)
INSTALL_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class GoTool:
    """A program of a Go module; `tags` leave out what we do not need of it."""

    package: str
    version: str
    tags: str = ""


GO: Final[Mapping[str, GoTool]] = {
    "actionlint": GoTool("github.com/rhysd/actionlint/cmd/actionlint", "v1.7.12"),
    "kubeconform": GoTool("github.com/yannh/kubeconform/cmd/kubeconform", "v0.7.0"),
    "helm": GoTool("helm.sh/helm/v3/cmd/helm", "v3.22.0"),
    # Without service discovery: promtool only reads files here.
    "promtool": GoTool("github.com/prometheus/prometheus/cmd/promtool", "v0.316.0", "remove_all_sd,builtinassets"),
}
KEDA: Final = ("github.com/kedacore/keda/v2", "v2.21.0")
PROMETHEUS_OPERATOR: Final = ("github.com/prometheus-operator/prometheus-operator", "v0.85.0")


class Unavailable(Exception):
    """A tool cannot be had here; the message says why and what to do."""


def home() -> Path:
    """Where the tools are kept: beside the broker's jars."""
    return cache() / "deploy"


def run(
    command: Sequence[str | Path], *, stdin: str = "", cwd: Path = ROOT, seconds: float = 120.0, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and give its exit code and words; subprocess.TimeoutExpired where it takes too long."""
    return subprocess.run(
        [str(part) for part in command],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=seconds,
        check=False,
        env={**os.environ, **environ},
    )


def go_missing(path: str | None = None) -> str:
    """Why Go's tools cannot be built here, in one sentence; empty when they can. `path` is PATH by default."""
    cure = f"install Go {GO_AT_LEAST[0]}.{GO_AT_LEAST[1]} or newer (https://go.dev/dl) and run make deploy-check again"
    command = shutil.which("go", path=path)
    if command is None:
        return f"there is no go on the PATH: {cure}"
    said = run([command, "env", "GOVERSION"]).stdout.strip().removeprefix("go")
    numbers = [int(part) for part in said.split(".")[:2] if part.isdigit()]
    return "" if tuple(numbers) >= GO_AT_LEAST else f"go is {said or 'of an unknown version'}: {cure}"


def go_tool(name: str) -> Path:
    """The program, built on the first call.

    Raises:
        Unavailable: there is no Go, or the module cannot be had or built.
    """
    tool = GO[name]
    folder = home() / f"{name}-{tool.version}"
    program = folder / name
    if program.is_file():
        return program
    if why := go_missing():
        raise Unavailable(why)
    fresh = folder.with_name(f".{folder.name}-{os.getpid()}")
    fresh.mkdir(parents=True, exist_ok=True)
    command = ["go", "install", "-trimpath", "-ldflags=-s -w", f"-tags={tool.tags}", f"{tool.package}@{tool.version}"]
    try:
        _fetch(command, f"{tool.package}@{tool.version}", GOBIN=str(fresh), GOFLAGS="", CGO_ENABLED="0")
        fresh.rename(folder)
    except OSError:
        if not program.is_file():  # not another session that was faster
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return program


def module(name: str, version: str) -> Path:
    """The files of a Go module, in Go's own cache.

    Raises:
        Unavailable: there is no Go, or the module cannot be had.
    """
    if why := go_missing():
        raise Unavailable(why)
    return Path(json.loads(_fetch(["go", "mod", "download", "-json", f"{name}@{version}"], f"{name}@{version}"))["Dir"])


def python_tools() -> Path:
    """The bin folder of a virtual environment with the tools of requirements-deploy.lock, made on the first call.

    Raises:
        Unavailable: pip could not install the lock.
    """
    folder = home() / f"python-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:8]}"
    programs = folder / "bin"
    whole = folder / "whole"
    if whole.is_file():
        return programs
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    venv.create(folder, with_pip=True)
    command: list[str | Path] = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _fetch([*command, "--require-hashes", "-r", LOCK], LOCK.name)
    whole.touch()
    return programs


def python_version(package: str) -> str:
    """The version that the lock names of a package."""
    for line in LOCK.read_text().splitlines():
        name, _, rest = line.partition("==")
        if name == package:
            return rest.split()[0]
    raise ValueError(f"{LOCK.name} does not name {package}")


def _fetch(command: Sequence[str | Path], what: str, **environ: str) -> str:
    """What a program says that brings something from a registry; a second try, since registries have bad moments.

    Raises:
        Unavailable: it failed twice, or took too long.
    """
    for _ in range(2):
        try:
            said = run(command, cwd=Path("/"), seconds=INSTALL_SECONDS, **environ)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{what} did not come within {INSTALL_SECONDS:.0f} s") from None
        if said.returncode == 0:
            return said.stdout
    raise Unavailable(f"{command[0]} could not get {what}:\n{(said.stdout + said.stderr)[-2000:]}")
