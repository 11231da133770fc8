"""What tests of the target fiddler share: a target of a model, and events of it."""

from collections.abc import Mapping
from typing import Any, Final

from connector.model import Event
from connector.targets.fiddler import Fiddler
from connector.targets.fiddler_settings import FiddlerSettings
from tests.contract.wire import event, record, session

V2: Final = {"api": "v2", "organization": "acme"}
FILES: Final = {"publish": "batch", "job_poll": "1ms"}


def settings(url: str = "http://127.0.0.1:1", **more: Any) -> FiddlerSettings:
    tree = {"url": url, "token": "t", "project_name": "shop", "model_name": "churn", **more}
    return FiddlerSettings.model_validate({key: value for key, value in tree.items() if value is not None})


def fiddler(url: str = "http://127.0.0.1:1", *maps: Mapping[str, Any], **more: Any) -> Fiddler:
    """A target, fed by routes with these maps."""
    target = Fiddler("fiddler", settings(url, **more), sessions=session)
    if maps:
        target.fed_by(maps)
    return target


def of(offset: int = 0, at: int = 1_700_000_000_123, **fields: Any) -> Event:
    """An event of the record at this offset and time; a row of `n` unless the fields say otherwise."""
    named = {} if {"event", "events_path", "batch_source"} & fields.keys() else {"event": {"n": offset}}
    return event({**named, **fields}, record(offset=offset, timestamp_ms=at))
