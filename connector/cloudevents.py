"""CloudEvents on Kafka, structured and binary, as one and the same value: the event in its JSON format.

Source: CloudEvents 1.0.2, "Kafka Protocol Binding" and "JSON Event Format". In binary mode attributes are headers
`ce_NAME` in UTF-8, `content-type` is datacontenttype, and the record's value is the data. In structured mode the value
is the whole event and `content-type` is `application/cloudevents+json`.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

import orjson

from connector.model import Headers, Undecodable

_STRUCTURED: Final = "application/cloudevents"
_REQUIRED: Final = ("specversion", "id", "source", "type")


def decode_cloudevent(data: bytes | None, headers: Headers) -> Any:
    """The event as its JSON format has it: attributes, and `data` or `data_base64`; an Undecodable for what is none."""
    texts: dict[str, str] = {}
    for name, value in headers:
        try:
            texts[name.lower()] = (value or b"").decode()
        except UnicodeDecodeError:
            if name.lower().startswith("ce_"):
                return Undecodable("NotCloudEvent", f"no CloudEvent: the header {name} is not UTF-8")
    content_type = texts.get("content-type", "")
    if content_type.lower().startswith(_STRUCTURED):
        return _structured(data or b"", content_type)
    return _binary(data, texts, content_type)


def _structured(data: bytes, content_type: str) -> Any:
    media = content_type.partition(";")[0].strip().lower()
    if media != f"{_STRUCTURED}+json":
        return Undecodable("NotCloudEvent", "a CloudEvent in another format than application/cloudevents+json")
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return Undecodable("NotJSON", f"not JSON at byte {error.pos} of {len(data)}: {error.msg}")
    if not isinstance(event, dict):
        return Undecodable("NotCloudEvent", "no CloudEvent: it is no JSON object")
    return _whole(event)


def _binary(data: bytes | None, texts: Mapping[str, str], content_type: str) -> Any:
    event: dict[str, Any] = {name[3:]: text for name, text in texts.items() if name.startswith("ce_")}
    if content_type:
        event["datacontenttype"] = content_type
    if isinstance(found := _whole(event), Undecodable) or data is None:
        return found
    media = content_type.partition(";")[0].strip().lower()
    if media in ("", "application/json", "text/json") or media.endswith("+json"):
        try:
            event["data"] = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            return Undecodable("NotJSON", f"a CloudEvent whose data is not JSON at byte {error.pos}: {error.msg}")
        return event
    if media.startswith("text/") or media in ("application/xml",) or media.endswith("+xml"):
        try:
            event["data"] = data.decode()
        except UnicodeDecodeError as error:
            return Undecodable("NotUTF8", f"a CloudEvent whose data is not UTF-8 at byte {error.start} of {len(data)}")
        return event
    event["data_base64"] = base64.b64encode(data).decode("ascii")
    return event


def _whole(event: dict[str, Any]) -> Any:
    missing = [name for name in _REQUIRED if not (isinstance(event.get(name), str) and event[name])]
    if missing:
        return Undecodable("NotCloudEvent", f"no CloudEvent: it lacks {', '.join(missing)}")
    return event
