"""A simulated service that takes what it is sent and answers when the test says so: late acks to the point."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from connector.sandbox.eventbridge import EventBridge


class Late(EventBridge):
    """The simulated service: while it is shut it takes what is sent and does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self._gate = asyncio.Event()
        self._gate.set()

    def shut(self) -> asyncio.Event:
        """Let the calls from now on wait for their answers until the event is set."""
        self._gate = asyncio.Event()
        return self._gate

    def reopen(self) -> None:
        """Answer the calls from now on at once; those that wait go on waiting."""
        self._gate = asyncio.Event()
        self._gate.set()

    @property
    def app(self) -> web.Application:
        """The service's application behind the gate."""
        app = super().app
        app.middlewares.append(self._answer_later)
        return app

    @web.middleware
    async def _answer_later(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        gate = self._gate
        answer = await handler(request)
        if request.headers.get("X-Amz-Target", "").endswith("PutEvents"):
            await gate.wait()
        return answer
