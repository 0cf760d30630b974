from __future__ import annotations

import asyncio

import pytest

from metadata_inventory.storage.connection import Connection
from metadata_inventory.tasks import cancel_and_wait


@pytest.mark.gen_test
async def test_what_swallows_a_cancellation_is_asked_again() -> None:
    asked = []

    async def work() -> None:
        while len(asked) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked.append(1)
        raise ValueError("an end of its own")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)  # it waits
    await cancel_and_wait([task])
    assert (len(asked), str(task.exception())) == (2, "an end of its own")
    await cancel_and_wait([task])  # one that has ended already
    await cancel_and_wait([])


@pytest.mark.gen_test
async def test_a_connection_closes_while_the_driver_hears_of_its_servers() -> None:
    """On Python 3.11 the driver swallows a cancellation in just that moment."""
    connection = Connection("mongodb://127.0.0.1:1", "nobody_there", timeout_s=0.5)
    connection.start()
    heard = asyncio.get_running_loop().create_future()
    condition = connection._client._topology._condition
    notify_all = condition.notify_all

    def heard_of() -> None:
        notify_all()
        if not heard.done():
            heard.set_result(None)
            connection._preparing.cancel()

    await asyncio.sleep(0)
    condition.notify_all = heard_of
    async with asyncio.timeout(10):
        await heard
        await connection.close()
