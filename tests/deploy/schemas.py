"""JSON schemas for kubeconform, made from what packages carry: Kubernetes' definitions and the CRDs of two operators.

Closed: a field that the API does not know is a mistake, as it is with `kubectl --validate=strict`.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from tests.deploy import tools

KUBERNETES: Final = ("1.27.0", "1.29.0", "1.33.0", "1.37.0")
"""The oldest that the chart takes, the first with native sidecars, and newer ones."""
KINDS: Final = {
    ("", "v1", "ConfigMap"),
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "ServiceAccount"),
    ("apps", "v1", "Deployment"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("policy", "v1", "PodDisruptionBudget"),
}
CRDS: Final = (
    (tools.KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    (tools.KEDA, "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    (tools.PROMETHEUS_OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
    (tools.PROMETHEUS_OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
)
_REFERENCE: Final = "/api/_definitions.json#/$defs/"


def location() -> str:
    """What kubeconform's -schema-location wants; the schemas are made on the first call.

    Raises:
        tools.Unavailable: the packages cannot be had.
    """
    made_of = Path(__file__).read_bytes() + repr((tools.KEDA, tools.PROMETHEUS_OPERATOR)).encode()
    made_of += tools.python_version("kubernetes-validate").encode()
    folder = tools.home() / f"schemas-{hashlib.sha256(made_of).hexdigest()[:8]}"
    if not folder.is_dir():
        fresh = folder.with_name(f".{folder.name}-{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        for version in KUBERNETES:
            kubernetes(version, fresh / f"v{version}")
        for (module, version), path in CRDS:
            crd(tools.module(module, version) / path, [fresh / f"v{each}" for each in KUBERNETES])
        fresh.rename(folder)
    return str(folder / "{{.NormalizedKubernetesVersion}}" / "{{.ResourceKind}}{{.KindSuffix}}.json")


def kubernetes(version: str, folder: Path) -> None:
    """Write the schemas of KINDS as one version of Kubernetes has them."""
    programs = tools.python_tools()
    found = programs.parent.glob(
        f"lib/python*/site-packages/kubernetes_validate/kubernetes-json-schema/v{version}-local-strict/_definitions.json"
    )
    text = next(found).read_text().replace(_REFERENCE, "#/$defs/")
    definitions = json.loads(text)["$defs"]
    folder.mkdir(parents=True)
    missing = set(KINDS)
    for name, definition in definitions.items():
        for each in definition.get("x-kubernetes-group-version-kind", ()):
            kind = (each["group"], each["version"], each["kind"])
            if kind in missing:
                missing.remove(kind)
                schema = {"$ref": f"#/$defs/{name}", "$defs": definitions}
                (folder / _file(*kind)).write_text(json.dumps(schema))
    if missing:
        raise ValueError(f"Kubernetes {version} knows no {sorted(missing)}")


def crd(path: Path, folders: list[Path]) -> None:
    """Write the schemas of a CustomResourceDefinition, one for each served version."""
    definition = YAML(typ="safe").load(path)["spec"]
    for version in definition["versions"]:
        schema = json.dumps(closed(version["schema"]["openAPIV3Schema"]))
        for folder in folders:
            (folder / _file(definition["group"], version["name"], definition["names"]["kind"])).write_text(schema)


def closed(schema: Any) -> Any:
    """The schema with every object that lists its fields refusing others, as an API server prunes them."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    done = dict(_closed_members(schema))
    if isinstance(done.get("properties"), dict) and "additionalProperties" not in done:
        done["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    return done


def _closed_members(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in schema.items():
        if key == "properties":
            yield key, {name: closed(each) for name, each in value.items()}
        elif key in ("anyOf", "oneOf", "allOf", "not"):
            yield key, value  # these add conditions to the object around them, and may not close it
        else:
            yield key, closed(value)


def _file(group: str, version: str, kind: str) -> str:
    return "-".join(part for part in (kind.lower(), group.split(".")[0], version) if part) + ".json"
