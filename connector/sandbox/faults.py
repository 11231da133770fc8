"""What a simulated service is told to do wrong, request by request: a script of faults, from Python or as JSON."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from random import Random
from typing import Any, Final, Self

WHOLE: Final = frozenset(
    {
        "access_denied",
        "bare",
        "broken_json",
        "cut",
        "empty",
        "error",
        "expired_token",
        "html",
        "never",
        "no_count",
        "throttle",
        "too_large",
        "wrong_count",
        "wrong_length",
    }
)
"""They decide what one request gets; the first that is left in the script does."""

BESIDE: Final = frozenset({"fail_job", "refuse", "refuse_endpoint", "slow"})
"""They come on top, all that are left together."""

ODD: Final = frozenset({"bare", "fail_job", "no_count", "refuse_endpoint", "wrong_count", "wrong_length"})
"""They are of the shape of a reply: each service has some of them. The others every service has."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of a script; the functions below write it more readably.

    `times` counts the requests it bears on, None means until it is cleared. `accepted` says whether the service takes
    the entries before it misbehaves.
    """

    do: str
    times: int | None = 1
    code: str = ""
    message: str = ""
    status: int = 400
    accepted: bool = False
    entry: int | None = None
    source: str | None = None
    detail_type: str | None = None
    probability: float = 1.0
    seconds: float = 0.0
    by: int = -1
    when: Callable[[Mapping[str, Any]], bool] | None = None

    def __post_init__(self) -> None:
        if self.do not in WHOLE | BESIDE:
            raise ValueError(f"do: {self.do!r} is none of {', '.join(sorted(WHOLE | BESIDE))}")
        if not 100 <= self.status <= 599:
            raise ValueError("status: is none of HTTP's, 100 to 599")
        if not 0 <= self.probability <= 1:
            raise ValueError("probability: is not from 0 to 1")
        if not 0 <= self.seconds < inf:
            raise ValueError("seconds: must not be negative, nor without end; `never` is that")

    @classmethod
    def of(cls, tree: Any) -> Self:
        """Read one line of JSON.

        Raises:
            ValueError: a key or value is unknown.
        """
        if not isinstance(tree, Mapping):
            raise ValueError("a fault is an object such as {do: throttle, times: 3}")
        if unknown := sorted(set(map(str, tree)) - _KEYS.keys()):
            raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(_KEYS))}")
        if "do" not in tree:
            raise ValueError("do: is missing")
        for key, value in tree.items():
            allowed, words = _KEYS[key]
            if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
                raise ValueError(f"{key}: must be {words}")
        return cls(**tree)

    def as_tree(self) -> dict[str, Any]:
        """As `of` reads it, without what stands at its default."""
        usual = Fault(self.do)
        return {key: getattr(self, key) for key in _KEYS if key == "do" or getattr(self, key) != getattr(usual, key)}

    def bears_on(self, index: int, entry: Mapping[str, Any], random: Random) -> bool:
        """Say whether this entry of the request is one to refuse."""
        return (
            self.entry in (None, index)
            and self.source in (None, entry.get("Source"))
            and self.detail_type in (None, entry.get("DetailType"))
            and (self.when is None or self.when(entry))
            and (self.probability >= 1.0 or random.random() < self.probability)
        )


_TEXT: Final = ((str,), "a text")
_KEYS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "do": _TEXT,
    "times": ((int, type(None)), "a whole number, or null for every request"),
    "code": _TEXT,
    "message": _TEXT,
    "status": ((int,), "a whole number"),
    "accepted": ((bool,), "true or false"),
    "entry": ((int, type(None)), "a whole number, or null for every entry"),
    "source": ((str, type(None)), "a text"),
    "detail_type": ((str, type(None)), "a text"),
    "probability": ((int, float), "a number"),
    "seconds": ((int, float), "a number"),
    "by": ((int,), "a whole number"),
}
"""What JSON may say of a fault; a test of the entry is for Python only."""


def throttle(times: int | None = 1, retry_after: float = 0.0) -> Fault:
    """400 ThrottlingException, with a Retry-After of so many seconds if any."""
    return Fault("throttle", times, seconds=retry_after)


def refuse(
    code: str,
    *,
    entry: int | None = None,
    source: str | None = None,
    detail_type: str | None = None,
    when: Callable[[Mapping[str, Any]], bool] | None = None,
    probability: float = 1.0,
    times: int | None = 1,
    message: str = "Refused by the script.",
) -> Fault:
    """Entries at this index, of this source, by this test, by this chance (all that are given) get this ErrorCode."""
    return Fault(
        "refuse",
        times,
        code=code,
        message=message,
        entry=entry,
        source=source,
        detail_type=detail_type,
        when=when,
        probability=probability,
    )


def refuse_endpoint(status: int, *, entry: int | None = None, times: int | None = 1) -> Fault:
    """The endpoint of the entry at this index, or every one, gets this status; its events are taken (Pinpoint)."""
    return Fault("refuse_endpoint", times, code=str(status), message="Refused by the script.", entry=entry)


def fail_job(status: str = "FAILURE", message: str = "Failed by the script.", times: int | None = 1) -> Fault:
    """The job of a file ends so, without a row of it; STARTED never ends (Fiddler)."""
    return Fault("fail_job", times, code=status, message=message)


def bare(status: int = 202, times: int | None = 1) -> Fault:
    """A number instead of the result of each endpoint; the entries are accepted where it is 202 (Pinpoint)."""
    return Fault("bare", times, status=status, accepted=status == 202)


def error(code: str, message: str = "", status: int = 400, times: int | None = 1) -> Fault:
    """The whole call gets this error."""
    return Fault("error", times, code=code, message=message, status=status)


def html(status: int = 503, times: int | None = 1) -> Fault:
    """A load balancer's page instead of a reply."""
    return Fault("html", times, status=status)


def empty(times: int | None = 1, *, accepted: bool = True) -> Fault:
    """200 and no body."""
    return Fault("empty", times, accepted=accepted)


def broken_json(times: int | None = 1, *, accepted: bool = True) -> Fault:
    """200 and half of a body."""
    return Fault("broken_json", times, accepted=accepted)


def too_large(times: int | None = 1) -> Fault:
    """413 and no body."""
    return Fault("too_large", times)


def slow(seconds: float, times: int | None = 1) -> Fault:
    """The reply takes so much longer."""
    return Fault("slow", times, seconds=seconds)


def never(times: int | None = 1, *, accepted: bool = False) -> Fault:
    """No reply at all, the connection stays open."""
    return Fault("never", times, accepted=accepted)


def cut(times: int | None = 1, *, accepted: bool = False) -> Fault:
    """The connection is closed instead of a reply."""
    return Fault("cut", times, accepted=accepted)


def wrong_length(by: int = -1, times: int | None = 1) -> Fault:
    """So many results too few (negative) or too many; the entries are accepted."""
    return Fault("wrong_length", times, accepted=True, by=by)


def no_count(times: int | None = 1) -> Fault:
    """A reply without FailedEntryCount, or without what stands for it elsewhere; the entries are accepted."""
    return Fault("no_count", times, accepted=True)


def wrong_count(by: int = 1, times: int | None = 1) -> Fault:
    """A FailedEntryCount that is off by so many; the entries are accepted."""
    return Fault("wrong_count", times, accepted=True, by=by)


def expired_token(times: int | None = 1) -> Fault:
    """400 ExpiredTokenException."""
    return Fault("expired_token", times)


def access_denied(times: int | None = None) -> Fault:
    """The policy is withdrawn: 400 AccessDeniedException for every call until it is given back (`clear`)."""
    return Fault("access_denied", times)


class Script:
    """The faults that are left, in order. Each request takes its share once."""

    def __init__(self, lines: Iterable[Fault] = ()) -> None:
        self._left: list[tuple[Fault, int | None]] = []
        self.add(*lines)

    def add(self, *lines: Fault) -> None:
        """Append."""
        self._left += [(line, line.times) for line in lines if line.times is None or line.times > 0]

    def clear(self, do: str | None = None) -> None:
        """Forget the faults of this kind, or all."""
        self._left = [(line, left) for line, left in self._left if do is not None and line.do != do]

    @property
    def left(self) -> list[dict[str, Any]]:
        """What is left, as `Fault.of` reads it, without what stands at its default."""
        return [replace(line, times=times).as_tree() for line, times in self._left]

    def __iter__(self) -> Iterator[Fault]:
        return (line for line, _ in self._left)

    def take(self) -> tuple[Fault | None, tuple[Fault, ...]]:
        """The share of one request: at most one fault of the whole call, and those beside it."""
        whole: Fault | None = None
        beside: list[Fault] = []
        left: list[tuple[Fault, int | None]] = []
        for line, times in self._left:
            taken = line.do in BESIDE or whole is None
            if line.do in BESIDE:
                beside.append(line)
            elif whole is None:
                whole = line
            times = times - 1 if taken and times is not None else times
            if times is None or times > 0:
                left.append((line, times))
        self._left = left
        return whole, tuple(beside)
