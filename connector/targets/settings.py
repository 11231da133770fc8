"""What the settings of every target share: closed frozen models whose values carry units."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_QUANTITY: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def _quantity(value: Any, units: dict[str, Any], example: str) -> float:
    if isinstance(value, str) and (found := _QUANTITY.fullmatch(value)) and found[2] in units:
        return float(found[1]) * float(units[found[2]])
    raise ValueError(f"needs a unit, one of {', '.join(units)}: write for example {example}")


def seconds(value: Any) -> float:
    """`200ms` → 0.2. Units: us, ms, s, m, h, d. A bare number is refused."""
    return _quantity(value, _SECONDS, "200ms")


def size(value: Any) -> int:
    """`64MiB` → 67108864. Units: B, kB, KB, MB, GB (powers of ten), KiB, MiB, GiB (powers of two)."""
    if isinstance(value, int) and not isinstance(value, bool) and value == 0:
        return 0
    return int(_quantity(value, _BYTES, "64MiB"))


def per_second(value: Any) -> float:
    """`400/s` → 400.0; also `/m` and `/h`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*(s|m|h)\s*", value) if isinstance(value, str) else None
    if found is None or float(found[1]) == 0:
        raise ValueError("needs a rate above zero with its unit, one of /s, /m, /h: write for example 400/s")
    return float(found[1]) / _SECONDS[found[2]]


def seconds_or_never(value: Any) -> float | None:
    """A duration, or `never` → None."""
    return None if value in ("never", None) else seconds(value)


Duration = Annotated[float, BeforeValidator(seconds)]
Size = Annotated[int, BeforeValidator(size)]
Rate = Annotated[float, BeforeValidator(per_second)]
DurationOrNever = Annotated[float | None, BeforeValidator(seconds_or_never)]


class Closed(BaseModel):
    """A model that is frozen and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False, hide_input_in_errors=True)


class BatchSettings(Closed):
    """When a batch is full: by entries, by bytes, or by the age of its first entry (`linger`)."""

    max_entries: int | None = Field(None, ge=1, description="Entries of one call; the service's limit by default")
    max_bytes: Size | None = Field(
        None, description="Bytes of one call as the service counts them; its limit by default"
    )
    linger: Duration = Field(0.1, description="How long an entry may wait for others, for example 100ms")


class RetrySettings(Closed):
    """Full-jitter backoff between `initial` and `max`; for ever unless `give_up_after` says otherwise."""

    initial: Duration = Field(0.2, description="Upper bound of the first pause; doubles with each further try")
    max: Duration = Field(30.0, description="Upper bound of any pause")
    give_up_after: DurationOrNever = Field(
        None, description="After this long since the first try a retried entry counts as rejected; never by default"
    )


class RateSettings(Closed):
    """A token bucket for the service's quota."""

    calls: Rate = Field(description="Calls a second, for example 400/s")


class TargetSettings(Closed):
    """What every target has; a target's own file narrows `type` to its name and adds its own keys."""

    type: str = Field(description="Which service this is")
    batch: BatchSettings = BatchSettings()
    max_in_flight: int = Field(16, ge=1, le=1000, description="Calls under way at once")
    rate_limit: RateSettings | None = Field(None, description="Calls a second at most; unlimited by default")
    retry: RetrySettings = RetrySettings()
    order: Literal["none", "key", "partition"] = Field("none", description="What must be delivered in offset order")
    request_timeout: Duration = Field(30.0, description="Deadline of one call; a call past it counts as not delivered")
    preflight_interval: Duration = Field(60.0, description="How often the destination is asked whether it is there")
    codes: dict[str, Literal["retry", "reject", "hold"]] = Field(
        default={},
        description="Overrides what a code of the service means: {SomeException: reject}",
        examples=[{"SomeException": "reject"}],
    )

    @property
    def deadline(self) -> float:
        """Seconds that one `send` may take: a request, unless a target needs several for it."""
        return self.request_timeout
