"""What fiddler-client 3.x does with a plan, run by its own Python: URL as the argument, the plan as JSON on stdin.

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
import pandas
from fiddler.entities.events import EventPublisher
from fiddler.entities.file import File

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)


def steps(plan: dict[str, Any]) -> dict[str, Any]:
    """Publish the plan's rows in every way that the client has."""
    project = fiddler.Project.from_name(plan["project"])
    model = fiddler.Model.from_name(plan["model"], project_id=project.id)
    found: dict[str, Any] = {}
    found["events"] = [str(identity) for identity in model.publish_stream(plan["rows"])]
    found["updates"] = [str(identity) for identity in model.publish_stream(plan["updates"], update=True)]
    found["many"] = len(model.publish_stream(plan["many"]))
    folder = Path(tempfile.mkdtemp())
    for name in ("file", "update"):
        path = folder / f"{name}.csv"
        path.write_text(plan["csv"], newline="")
        job = model.publish_batch(path, update=name == "update")
        job.wait(interval=0.01)
        found[name] = job.status
    pieces = File(folder / "file.csv").multipart_upload(chunk_size=plan["piece"])
    found["pieces"] = pieces.status
    frame = pandas.DataFrame(plan["rows"])
    job = model.publish_batch(frame)
    job.wait(interval=0.01)
    found["frame"] = job.status
    found["csv"] = frame.to_csv(index=False, lineterminator="\n")
    try:
        EventPublisher(model_id="00000000-0000-4000-8000-000000000000").publish_stream([{"n": 1}])
    except fiddler.NotFound as error:
        found["missing"] = str(error)
    return found


if __name__ == "__main__":
    fiddler.init(url=sys.argv[1], token="sandbox", auto_attach_log_handler=False)
    print(json.dumps(steps(json.load(sys.stdin))))
