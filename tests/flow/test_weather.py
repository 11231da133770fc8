"""The demo's weather on virtual time: it troubles a service that works, and leaves one alone that is in trouble."""

import asyncio

from connector.sandbox.demo import weather
from connector.sandbox.eventbridge import EventBridge
from tests.flow.virtual import run


def test_a_service_that_takes_nothing_gets_no_second_fault_on_top_of_its_first() -> None:
    async def an_hour() -> list[int]:
        service = EventBridge()
        left = []
        async with asyncio.TaskGroup() as root:
            sky = root.create_task(weather({"eventbridge": service}))
            for arrives in (0, 1, 0):
                service.arrived += arrives
                await asyncio.sleep(1200)
                left.append(len(service.faults.left))
            sky.cancel()
        return left

    assert run(an_hour()) == [0, 1, 1]
