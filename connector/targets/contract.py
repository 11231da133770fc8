"""The contract between the daemon and a service that takes events; `tests/contract` holds every target to it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeAlias, runtime_checkable

from connector.model import Ack, Batch, Event, Limits, Preflight, Prepared
from connector.targets.settings import TargetSettings


class Target(Protocol):
    """Turns events into calls and four shapes of replies into one: an Ack per entry.

    `send` answers in the order of the batch and never raises for an entry's sake; the only exception it may raise is
    `BatchRefused`. Whatever it cannot read as an acknowledgement is a RETRY.
    """

    @property
    def limits(self) -> Limits:
        """Limits of one call, as the service has them, lowered by config."""
        ...

    def prepare(self, event: Event) -> Prepared:
        """Turn an event into the service's wire form: pure, no I/O.

        Raises:
            Unpublishable: the service could never accept this event.
        """
        ...

    async def send(self, batch: Batch) -> Sequence[Ack]:
        """Make one call, and say of each entry what became of it."""
        ...

    async def preflight(self) -> Preflight:
        """Ask whether the destination is there. Never raises; what cannot be asked is UNKNOWN."""
        ...

    async def __aenter__(self) -> Self:
        """Open what calls need (sessions, clients)."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        ...


@runtime_checkable
class Fed(Protocol):
    """A target that reads the maps of the routes that feed it: what they name in so many words, it looks after."""

    def fed_by(self, maps: Sequence[Mapping[str, Any]]) -> None:
        """Take the maps, before the target is opened."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A target that has something of its own to show in `/status`."""

    @property
    def told(self) -> Mapping[str, Any]:
        """JSON values, none of them a payload or a secret."""
        ...


@dataclass(frozen=True, slots=True)
class Leaf:
    """What the target's API takes under one key of `map`, for the check at load.

    `kind`: string | integer | number | boolean | time | list (of strings) | json (anything) | document (a JSON object,
    or one as text or bytes) | object. An object has `fields`, or `values` of one kind under names of the user's own.
    `max_length` counts characters. `choices` are the only texts; `pattern` is a regular expression for a whole text.
    `example` is shown where the key is missing or wrong.
    """

    kind: Literal["string", "integer", "number", "boolean", "time", "list", "json", "document", "object"]
    required: bool = False
    max_length: int | None = None
    fields: Mapping[str, "Leaf"] | None = None
    values: "Leaf | None" = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    example: str = ""


Complaint: TypeAlias = tuple[tuple[str | int, ...], str, str]
"""A path, what is wrong there, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One registry line: how a target's settings are read, what its `map` may hold, how it is made.

    `make(name, settings)` does no I/O; calls happen between `__aenter__` and `__aexit__`. `retired` is the
    sentence that is logged at start for a service that AWS ended. `check(settings, map)` finds what cannot work between
    a target's settings and the map of a route that feeds it: (path below `map`, what is wrong, what to do). `warn`
    finds what works otherwise than one may think: (path below the target, what, what to do). `show`
    turns a `Prepared.body` into text or JSON values for a person, byte for byte what would be sent. `value` is the key
    of `map` for which the bytes of the record's value stand in where it is left out.
    """

    settings: type[TargetSettings]
    map: Mapping[str, Leaf]
    make: Callable[[str, Any], Target]
    retired: str = ""
    check: Callable[[Any, Mapping[str, Any]], Iterable[Complaint]] | None = None
    show: Callable[[Any], Any] = lambda body: body
    value: str = ""
    warn: Callable[[Any], Iterable[Complaint]] | None = None
