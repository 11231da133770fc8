"""Which registry a config has, and how whoever has no daemon to wait for it asks for what a record needs."""

import asyncio
from collections.abc import Callable
from typing import Final

from connector.decode import Unready
from connector.formats.schemas import Schemas
from connector.settings import Settings

_TRIES: Final = 3
"""A record needs two schemas at most, its value's and its key's."""


def schemas_of(settings: Settings) -> Schemas | None:
    """The schemas of a config, none fetched yet; None where it has no registry. No I/O."""
    registry = settings.schema_registry
    if registry is None:
        return None
    if registry.type == "glue":
        from connector.formats.glue import GlueRegistry

        return Schemas(GlueRegistry(registry), "glue")
    from connector.formats.confluent import ConfluentRegistry

    return Schemas(ConfluentRegistry(registry), "confluent")


async def fetched(schemas: Schemas | None, unready: Callable[[], Unready | None]) -> str:
    """Fetch what a record needs, asking each time what is still missing; why it cannot be read now, or nothing."""
    for _ in range(_TRIES):
        needed = unready()
        if needed is None or schemas is None:
            return ""
        if reason := await schemas.fetch(needed.schema):
            return reason
    return "the registry names one schema after the other"


def fetched_now(schemas: Schemas | None, unready: Callable[[], Unready | None]) -> str:
    """The same for commands, which have no loop."""
    if schemas is None or unready() is None:
        return ""
    return asyncio.run(fetched(schemas, unready))
