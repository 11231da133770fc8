"""The functions that only our language has, written anew from the standard library: what they are held against."""

import base64
import hashlib
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def millis(value: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=value)


def epoch_millis(value: datetime) -> int:
    return (value - _EPOCH) // timedelta(milliseconds=1)


def format_time(value: datetime, text: str) -> str:
    own = {"%L": f"{value.microsecond // 1000:03}", "%s": str((value - _EPOCH) // timedelta(seconds=1))}
    return re.sub("%.", lambda found: own.get(found[0]) or value.astimezone(UTC).strftime(found[0]), text)


def sha256(value: str | bytes) -> str:
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [_finite(each) for each in value] if isinstance(value, list) else value


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat(timespec="auto").removesuffix("+00:00")
        return f"{text.removesuffix('000') if '.' in text else text}Z"
    if isinstance(value, timedelta):
        seconds = f"{value / timedelta(seconds=1):.6f}"
        return f"{seconds.removesuffix('000').removesuffix('.000')}s"
    return base64.b64encode(value).decode()


def json_encode(value: Any) -> str:
    return json.dumps(_finite(value), default=_plain, ensure_ascii=False, separators=(",", ":"))


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(first)
    made.update(second)
    return made


JSON: Final = "STRING INT DOUBLE BOOL BYTES TIMESTAMP DURATION LIST MAP NULL"

FUNCTIONS: Final[Mapping[str, tuple[Callable[..., Any], tuple[str, ...], str]]] = {
    # the function, the kinds that each argument may be of, the kind it gives
    "millis": (millis, ("INT",), "TIMESTAMP"),
    "epochMillis": (epoch_millis, ("TIMESTAMP",), "INT"),
    "formatTime": (format_time, ("TIMESTAMP", "STRING"), "STRING"),
    "uuid5": (lambda value: str(uuid.uuid5(uuid.NAMESPACE_URL, value)), ("STRING",), "STRING"),
    "sha256": (sha256, ("STRING BYTES",), "STRING"),
    "json.encode": (json_encode, (JSON,), "STRING"),
    "json.decode": (json.loads, ("STRING BYTES",), "DYN"),
    "merge": (merge, ("MAP", "MAP"), "MAP"),
}
