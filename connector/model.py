"""What flows: a Record becomes Events, an Event becomes an Entry, Entries travel in a Batch, each gets an Ack."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def flowing(cls: type[T]) -> type[T]:
    """Make a dataclass of what is made for each record: frozen for the type checker, which looks at every line.

    Frozen at run time too it would take four times as long to make, and a record makes four of them.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


@dataclass_transform(frozen_default=True, eq_default=False)
def unequal(cls: type[T]) -> type[T]:
    """The same for what is equal to nothing but itself."""
    return dataclass(slots=True, eq=False)(cls)


Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]
FIRST_ID: Final = "__connector.errors.id"
"""Header of the id that an event had when its record was buried; a record that comes back with it keeps that id."""

Settle: TypeAlias = Callable[[], None]
"""Pays one entry's debt in the ledger it was opened in; the first call counts, later ones change nothing."""


class Alike(NamedTuple):
    """What an entry says of a thing that other entries speak of too: in one call all must say the same of it."""

    thing: str
    state: str


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@flowing
class Record:
    """One Kafka record as it was fetched: bytes untouched, header order and duplicates kept.

    `timestamp_ms` is epoch milliseconds, -1 where the broker gave none. `size` is the bytes that it keeps alive while
    it is open: key, value and headers.
    """

    tp: TopicPartition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Reckon the size once: the thread, the room and the ledger ask for it."""
        total = len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            total += len(name) + len(value or b"")
        object.__setattr__(self, "size", total)

    def __str__(self) -> str:
        return f"{self.tp}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Why bytes could not be read, in words that hold none of them."""

    code: str
    reason: str


_NOTHING: Final[Mapping[str, Any]] = {}


@flowing
class Event:
    """What one route made of one record for one target: the target API's parameters by name, in no wire format.

    `id` is the same on every redelivery: `topic-partition-offset/route`, `/index` where a route makes several.
    `fields` is empty once the target has made its body of them: a record waits without its decoded value.
    """

    record: Record
    route: str
    target: str
    fields: Mapping[str, Any]
    id: str

    def spent(self) -> "Event":
        """The same event without its fields."""
        return Event(self.record, self.route, self.target, _NOTHING, self.id)


@flowing
class Prepared:
    """A target's wire form of one event: `body` is the target's own, `size` the bytes it counts against the limits.

    Entries of different `group` never share a call; entries of an equal `unique` (not None) never share one either;
    and entries that say of the same thing that it is another share none (`alike`).
    """

    body: Any
    size: int
    group: str = ""
    unique: str | None = None
    alike: Alike | None = None


@unequal
class Entry:
    """One event ready for the wire, carrying its own ack. It ends in exactly one effective `settle`.

    Compared by identity: two entries are never the same debt, however alike they look.
    """

    event: Event
    body: Any
    size: int
    group: str
    unique: str | None
    settle: Settle
    alike: Alike | None = None


Batch: TypeAlias = tuple[Entry, ...]


class Verdict(Enum):
    """What becomes of an entry after a call."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REJECTED = "rejected"
    HOLD = "hold"


@flowing
class Ack:
    """What a target says of one entry.

    `code` is the service's own word for the outcome, `detail` its message with the request id, never a payload.
    `retry_after` is the pause in seconds that the service asked for (0: none). `tries` bounds a RETRY: after that many
    calls the entry counts as REJECTED (0: no bound); it is how an unknown code of an entry ends. `warning` is a code
    for what is amiss with a delivered entry. A delivered entry has no `code`, unless it counts as another outcome than
    `delivered`: `dry_run`.
    """

    verdict: Verdict
    code: str = ""
    detail: str = ""
    retry_after: float = 0.0
    tries: int = 0
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may carry: hard limits of the service, lowered by config."""

    entries: int
    bytes: int
    entry_bytes: int


class Unpublishable(Exception):
    """An event that the service could never accept, found before it can spoil a batch.

    `path` names the field (`Detail`, `Resources[3]`), `reason` says what is wrong with it, without its value.
    """

    def __init__(self, reason: str, path: str = "", code: str = "Unpublishable") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path
        self.code = code


class BatchRefused(Exception):
    """A call refused whole because of one entry that the reply does not name; `publish` halves until it stands alone.

    `ack` is what the single entry gets when a call that carried only it is refused.
    """

    def __init__(self, ack: Ack) -> None:
        super().__init__(f"{ack.code}: {ack.detail}")
        self.ack = ack


class Health(Enum):
    """What a preflight found."""

    OK = "ok"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Preflight:
    """A target's own check that its destination exists: MISSING holds the lane, UNKNOWN (no right to ask) warns."""

    health: Health
    code: str = ""
    detail: str = ""
    missing: tuple[str, ...] = field(default=())
