"""What fiddler-client 2.x does with a plan, run by its own Python: URL as the argument, the plan as JSON on stdin.

Prints one JSON object: what each step of the plan gave.
"""

import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import fiddler
from fiddler.constants import FiddlerTimestamp

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)


def steps(client: Any, plan: dict[str, Any]) -> dict[str, Any]:
    """Publish the plan's rows in every way that the client has."""
    names = {"project_id": plan["project"], "model_id": plan["model"]}
    found: dict[str, Any] = {"events": []}
    for event in plan["events"]:
        told = {**event, "timestamp_format": FiddlerTimestamp[event["timestamp_format"]]}
        found["events"].append(client.publish_event(**names, **told))
    folder = Path(tempfile.mkdtemp())
    for name in ("file", "large"):
        path = folder / f"{name}.csv"
        path.write_text(plan["csv"] * (plan["large"] if name == "large" else 1), newline="")
        told = {**plan["batch"], "timestamp_format": FiddlerTimestamp[plan["batch"]["timestamp_format"]]}
        found[name] = client.publish_events_batch(**names, events_path=path, **told)
    found["waited"] = client.publish_events_batch(**names, events_path=folder / "file.csv", wait=True)
    return found


if __name__ == "__main__":
    client = fiddler.FiddlerApi(url=sys.argv[1], org_id="acme", auth_token="sandbox")
    print(json.dumps(steps(client, json.load(sys.stdin))))
