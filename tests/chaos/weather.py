"""What a simulated service does wrong under load: weather that deals out faults, and services hard to please."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from connector.sandbox.eventbridge import EventBridge
from connector.sandbox.faults import Fault, Script, cut, error, html, never, throttle
from connector.sandbox.modelled import Call, Refused
from tests.kafka.stage import BUS

STORM: Final[Mapping[Fault, int]] = {
    html(503): 13,
    error("InternalFailure", status=500): 12,
    throttle(retry_after=0.25): 10,
    never(accepted=True): 5,
    cut(): 2,
}
"""Of a hundred calls, 25 end in a 5xx, 10 are too many, 5 are taken and never answered, 2 are reset."""

GUSTS: Final[Mapping[Fault, int]] = {
    html(503): 3,
    error("InternalFailure", status=500): 2,
    throttle(retry_after=0.25): 2,
    never(accepted=True): 1,
    cut(accepted=True): 1,
}
"""Likewise of twenty calls, for services that get few."""


class Weather(Script):
    """Deals a fault or none to each request, beside what the script says.

    Invariant: every hundred requests in a row from the first (or `of` so many) have exactly the shares that were asked
    for. Chance is in the order alone, so that what is claimed of many calls does not hang on luck.
    """

    def __init__(self, random: Random, shares: Mapping[Fault, int] = STORM, *, of: int = 100) -> None:
        super().__init__()
        self.dealt: Counter[str] = Counter()
        self._random = random
        self._shares = shares
        self._of = of
        self._deck: list[Fault | None] = []

    def take(self) -> tuple[Fault | None, tuple[Fault, ...]]:
        """What the script says, and where it says nothing of the whole call, the next card."""
        whole, beside = super().take()
        if whole is None and self._shares:
            whole = self._card()
        self.dealt.update(line.do for line in (whole, *beside) if line is not None)
        return whole, beside

    def clear(self, do: str | None = None) -> None:
        """Fair weather from here on, or only less of a scripted fault."""
        super().clear(do)
        if do is None:
            self._shares = {}

    def _card(self) -> Fault | None:
        if not self._deck:
            bad = [fault for fault, share in self._shares.items() for _ in range(share)]
            self._deck = [*bad, *[None] * (self._of - len(bad))]
            self._random.shuffle(self._deck)
        return self._deck.pop()


class Choosy(EventBridge):
    """Refuses any call whole that carries a certain entry, and does not say which one it was, until it is content."""

    def __init__(self, disliked: Callable[[Mapping[str, Any]], bool], code: str, status: int) -> None:
        super().__init__([BUS])
        self.disliked = disliked
        self.code = code
        self.status = status
        self.content = False
        self.refused = 0

    def perform(self, call: Call, beside: Iterable[Fault]) -> dict[str, Any]:
        """Look at the entries first."""
        if not self.content and any(map(self.disliked, call.parameters["Entries"])):
            self.refused += 1
            raise Refused(self.code, "This call cannot be taken.", self.status)
        return super().perform(call, beside)


class Guarded(EventBridge):
    """Takes calls of one access key at a time; those signed with another have expired."""

    def __init__(self, key: str) -> None:
        super().__init__([BUS])
        self.key = key
        self.turned_away = 0

    @property
    def app(self) -> web.Application:
        """With a look at who signed, before anything is read."""
        app = super().app
        app.middlewares.append(self._look)
        return app

    @web.middleware
    async def _look(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        signed = re.search(r"Credential=([^/,]+)/", request.headers.get("Authorization", ""))
        if signed is not None and signed[1] == self.key:
            return await handler(request)
        self.turned_away += 1
        said = {"__type": "ExpiredTokenException", "message": "The security token included in the request is expired"}
        return web.Response(status=400, text=json.dumps(said), content_type="application/x-amz-json-1.1")
