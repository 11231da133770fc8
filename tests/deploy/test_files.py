"""What the files of deploy/ say, held against the daemon itself; `make deploy-check` has the tools of their world."""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from connector import __version__
from connector.loading.load import compiled, load
from connector.metrics import Metrics
from tests.deploy.dockerfile import steps
from tests.deploy.tools import ROOT

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "connector"
VALUES = sorted((DEPLOY / "helm" / "values").glob("*.yaml"))
MANIFESTS = sorted((DEPLOY / "manifests").glob("*.yaml"))


@cache
def read(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


@cache
def documents(path: Path) -> list[Any]:
    return [each for each in YAML(typ="safe").load_all(path.read_text()) if each]


def of_kind(path: Path, kind: str) -> list[Any]:
    return [each for each in documents(path) if each["kind"] == kind]


ALERTS = [rule for group in read(CHART / "files" / "alerts.yaml")["groups"] for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    """Every PromQL text of the alerts, their tests and the dashboard, with where it stands."""
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for test in read(DEPLOY / "prometheus" / "alerts_test.yaml")["tests"]:
        for series in test["input_series"]:
            yield test["name"], series["series"]
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


@pytest.fixture(scope="module")
def offered() -> dict[str, set[str]]:
    """Every sample name that /metrics can have, with its labels."""
    registry = CollectorRegistry()
    Metrics(registry)
    found: dict[str, set[str]] = {}
    for metric in registry._collector_to_names:
        families: Iterable[object] = getattr(metric, "describe", tuple)()  # a collector of ours tells its labels there
        named = {label for one in (metric, *families) for label in getattr(one, "_labelnames", ())}
        labels = named | {"instance", "job", "namespace"}
        for name in registry._collector_to_names[metric]:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    process = ("process_cpu_seconds_total", "process_resident_memory_bytes")  # only /proc tells them
    return found | {name: {"instance", "job", "namespace"} for name in process}


def test_every_metric_that_is_asked_for_exists_with_the_labels_asked_for(offered: dict[str, set[str]]) -> None:
    asked = set()
    for where, query in queries():
        for name in re.findall(r"\b(?:connector|process)_\w+", query):
            assert name in offered, f"{where}: {name}"
            asked.add(name)
        for name, selector in re.findall(r"\b((?:connector|process)_\w+)\{([^}]*)\}", query):
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
                assert label in offered[name], f"{where}: {name} has no label {label}"
    assert len(asked) > 20


def test_what_no_metric_is_called_is_noticed(offered: dict[str, set[str]]) -> None:
    assert "connector_events_total" in offered
    assert "connector_event_total" not in offered
    assert "target" in offered["connector_request_seconds_bucket"]
    assert "target" not in offered["connector_consumer_lag"]


def test_every_alert_has_a_section_in_the_runbook_and_a_unit_test() -> None:
    runbook = (ROOT / "docs" / "operations.md").read_text()
    sections = {line.removeprefix("### ") for line in runbook.splitlines() if line.startswith("### ")}
    tests = (DEPLOY / "prometheus" / "alerts_test.yaml").read_text()
    for rule in ALERTS:
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["alert"] in sections
        assert rule["alert"] in tests
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert {each for each in sections if each.startswith("Connector")} == {rule["alert"] for rule in ALERTS}


def test_the_page_on_metrics_leads_from_a_metric_to_each_alert_that_asks_for_it() -> None:
    rows = re.findall(r"^\| `(connector_\w+)` \|(.*)$", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    for rule in ALERTS:
        leading = [name for name, row in rows if f"(operations.md#{rule['alert'].lower()})" in row]
        assert leading, rule["alert"]
        assert all(name in rule["expr"] for name in leading), rule["alert"]


def test_the_version_stands_in_one_place_and_the_chart_follows() -> None:
    chart = read(CHART / "Chart.yaml")
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_the_config_of_every_shape_passes_check(path: Path, tmp_path: Path) -> None:
    values = read(path)
    (secret := tmp_path / "password").write_text("x")
    for name, text in values["config"].items():
        (tmp_path / name).write_text(re.sub(r"!file /run/secrets/\S+", f"!file {secret}", text))
    (deployment,) = of_kind(DEPLOY / "manifests" / path.name, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    environment = {each["name"]: each.get("value", "x") for each in daemon(pod)["env"]}
    loaded = compiled(load([tmp_path], environment))
    assert not loaded.problems
    settings = loaded.settings
    assert settings is not None
    assert pod["terminationGracePeriodSeconds"] > settings.shutdown_timeout
    assert settings.admin.host == "0.0.0.0"  # noqa: S104 - the kubelet's probes come from outside the container
    assert settings.admin.port == daemon(pod)["ports"][0]["containerPort"]


def test_the_config_of_compose_passes_check() -> None:
    assert not compiled(load([DEPLOY / "compose" / "connector.yaml"], {"AWS_REGION": "eu-west-1"})).problems


def daemon(pod: Any) -> Any:
    """The daemon's container, wherever in the pod it stands."""
    (found,) = [each for each in [*pod.get("initContainers", ()), *pod["containers"]] if each["name"] == "connector"]
    return found


def pods() -> Iterator[Any]:
    for path in MANIFESTS:
        for document in documents(path):
            if document["kind"] == "Deployment":
                yield pytest.param(document["spec"]["template"], id=path.stem)


def keys(tree: Any, path: str = "") -> Iterator[str]:
    """The dotted name of every value, maps that are free inside counted as one."""
    for name, value in tree.items():
        if isinstance(value, dict) and name not in FREE and value:
            yield from keys(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


FREE = {"config", "resources", "strategy", "podSecurityContext", "securityContext", "annotations", "labels", "affinity"}
FREE |= {"scaleUp", "scaleDown", "authorization", "metadata", "podLabels", "podAnnotations", "nodeSelector"}


def test_every_value_of_the_chart_is_tried_away_from_its_default_and_is_in_the_schema() -> None:
    defaults, tried = read(CHART / "values.yaml"), read(ROOT / "tests" / "deploy" / "everything.yaml")
    assert set(keys(defaults)) == set(keys(tried))
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(defaults) | {"global"} == set(schema["properties"])
    for name, value in defaults.items():
        described = schema["properties"][name]
        if isinstance(value, dict) and name not in FREE:
            assert set(value) == set(described["properties"]), name
            assert described["additionalProperties"] is False


def test_there_is_a_golden_rendering_of_every_shape() -> None:
    assert [path.name for path in MANIFESTS] == [path.name for path in VALUES]


@pytest.mark.parametrize("template", list(pods()))
def test_every_daemon_is_locked_in(template: Any) -> None:
    pod, container = template["spec"], daemon(template["spec"])
    context = container["securityContext"]
    assert (context["runAsNonRoot"], context["readOnlyRootFilesystem"]) == (True, True)
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert "cpu" not in container["resources"]["limits"]


@pytest.mark.parametrize("name", ["sidecar-native", "sidecar-container"])
def test_a_sidecar_never_makes_its_application_wait_or_unready(name: str) -> None:
    (deployment,) = of_kind(DEPLOY / "manifests" / f"{name}.yaml", "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    container = daemon(pod)
    assert "readinessProbe" not in container
    assert "startupProbe" not in container
    native = name == "sidecar-native"
    assert container.get("restartPolicy") == ("Always" if native else None)
    assert (container in pod.get("initContainers", ())) is native
    assert pod["containers"][0]["name"] == "shop"


@pytest.mark.parametrize("name", ["deployment", "keda", "keda-msk", "local"])
def test_a_deployment_is_ready_when_it_is_in_its_group(name: str) -> None:
    (deployment,) = of_kind(DEPLOY / "manifests" / f"{name}.yaml", "Deployment")
    assert daemon(deployment["spec"]["template"]["spec"])["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("name", ["keda", "keda-msk"])
def test_keda_never_asks_for_more_members_than_partitions_and_asks_for_the_daemons_own_group(name: str) -> None:
    (scaled,) = of_kind(DEPLOY / "manifests" / f"{name}.yaml", "ScaledObject")
    (deployment,) = of_kind(DEPLOY / "manifests" / f"{name}.yaml", "Deployment")
    assert "replicas" not in deployment["spec"]
    assert scaled["spec"]["maxReplicaCount"] == read(DEPLOY / "helm" / "values" / f"{name}.yaml")["keda"]["partitions"]
    environment = {each["name"]: each.get("value") for each in daemon(deployment["spec"]["template"]["spec"])["env"]}
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["metadata"]["consumerGroup"] == environment["CONNECTOR_KAFKA__GROUP_ID"]
        assert trigger["metadata"]["bootstrapServers"] == environment["CONNECTOR_KAFKA__BOOTSTRAP_SERVERS"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_service_budget_and_deployment_select_the_daemon_and_not_the_test_of_it(path: Path) -> None:
    (deployment,) = of_kind(path, "Deployment")
    (check,) = of_kind(path, "Pod")
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for each in of_kind(path, "Service")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(path, "PodDisruptionBudget")]
    for selector in selectors:
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        assert not selector.items() <= check["metadata"]["labels"].items()
    for policy in of_kind(path, "NetworkPolicy"):
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= check["metadata"]["labels"].items()


def test_the_test_of_a_release_asks_the_same_config_with_the_same_rights() -> None:
    (deployment,) = of_kind(DEPLOY / "manifests" / "deployment.yaml", "Deployment")
    (check,) = of_kind(DEPLOY / "manifests" / "deployment.yaml", "Pod")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = check["spec"]["containers"]
    assert container["args"] == ["check", "--online", "/etc/connector"]
    assert check["spec"]["serviceAccountName"] == pod["serviceAccountName"]
    for key in ("env", "image", "volumeMounts"):
        assert container[key] == daemon(pod)[key]


@pytest.mark.parametrize("path", sorted((DEPLOY / "iam").glob("*.json")), ids=lambda path: path.stem)
def test_a_policy_grants_named_actions_on_named_things_and_nothing_else(path: Path) -> None:
    for statement in json.loads(path.read_text())["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in statement["Action"])
        if statement["Action"] == ["glue:GetSchemaVersion"]:
            continue  # by a schema's id Glue takes no narrower resource than all
        assert all(re.fullmatch(r"arn:aws:[a-z-]+:[a-z0-9-]*:\d{12}:[a-z-]+/\S+", one) for one in statement["Resource"])
        assert "*" not in [one.rpartition("/")[2] for one in statement["Resource"] if ":cluster/" not in one]


@pytest.mark.parametrize("path", sorted((DEPLOY / "iam" / "trust").glob("*.json")), ids=lambda path: path.stem)
def test_a_trust_policy_names_the_service_account(path: Path) -> None:
    (statement,) = json.loads(path.read_text())["Statement"]
    named = " ".join(statement["Condition"]["StringEquals"].values())
    assert "orders-connector" in named
    assert "shop" in named


def test_the_image_installs_by_hash_builds_nothing_and_runs_as_nobody() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    installs = [rest for instruction, rest in steps(text) if instruction == "RUN" and "pip install" in rest]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes --only-binary :all:" in install or "--no-deps --no-index" in install
    final = text.rpartition("\nFROM ")[2]
    assert "RUN " not in final
    assert "\nUSER 65532:65532\n" in final
    assert '\nENTRYPOINT ["connector"]\n' in final
    assert "HEALTHCHECK" in final


def test_the_images_lock_is_the_daemons_own_and_every_extra() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^\S+==\S+", (ROOT / name).read_text(), re.MULTILINE))

    image, plain, tested = pins("requirements-image.lock"), pins("requirements.lock"), pins("requirements-dev.lock")
    assert plain <= image <= tested
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package in (re.split(r"[><=\[]", each)[0] for extra in extras.values() for each in extra):
        assert any(re.match(rf"{package}(\[.*\])?==", pin) for pin in image), package


def test_what_the_image_copies_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for instruction, rest in steps((DEPLOY / "Dockerfile").read_text()):
        if instruction == "COPY":
            for name in rest.split()[:-1]:
                assert name in allowed
                assert (ROOT / name).exists()


def test_scripts_can_be_run() -> None:
    assert os.access(DEPLOY / "kafka" / "acls.sh", os.X_OK)
