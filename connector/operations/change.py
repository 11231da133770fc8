"""What differs between two configs, and so what a reload has to do. It looks at settings, and at nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from connector.settings import Settings


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload has to do.

    `restart` are the keys that differ and cannot change in a running process. `targets` are those whose lane begins
    anew: changed or new ones. `routes` are the names whose records are made anew where they still wait: changed, new or
    taken away ones; all of them where `vars`, `topics`, `schema_registry` or `unrouted` differ.
    """

    restart: tuple[str, ...]
    targets: frozenset[str]
    dead_letters: bool
    routes: frozenset[str]

    @classmethod
    def of(cls, old: Settings, new: Settings) -> "Change":
        """Compare two configs that have no errors."""
        before = {route.name: route for route in old.routes}
        after = {route.name: route for route in new.routes}
        around = ("vars", "topics", "schema_registry", "unrouted")  # what every route is made with
        same = all(getattr(old, name) == getattr(new, name) for name in around)
        names = {*before, *after}
        return cls(
            restart=tuple(_restart(old, new)),
            targets=frozenset(name for name, target in new.targets.items() if old.targets.get(name) != target),
            dead_letters=_letters(old) != _letters(new),
            routes=frozenset(name for name in names if not same or before.get(name) != after.get(name)),
        )


def _letters(settings: Settings) -> BaseModel | None:
    """`max_consecutive` is no matter of the lane: it is looked at with each dead letter."""
    letters = settings.dead_letters
    return letters.model_copy(update={"max_consecutive": 1}) if letters is not None else None


def _restart(old: Settings, new: Settings) -> Iterator[str]:
    for name in type(old.kafka).model_fields:
        if getattr(old.kafka, name) != getattr(new.kafka, name):
            yield f"kafka.{name}"
    if old.drain_timeout != new.drain_timeout:
        yield "drain_timeout"
    if old.limits != new.limits:
        yield "limits"
    if old.admin.listen != new.admin.listen:
        yield "admin.listen"
    if old.log.format != new.log.format:
        yield "log.format"
    if (old.dead_letters is None) != (new.dead_letters is None):
        yield "dead_letters"
