"""How the service's own tasks are ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

# A task that was cancelled and has not ended is asked again this often.
AGAIN_S = 0.5


async def break_off(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait until they have ended, however they end.

    Asking once is not enough: on Python 3.11 `asyncio.wait_for`, which the database's driver waits in, swallows a
    cancellation that comes in the moment in which what it waits for arrives; the task then goes on.
    So a task must not wait for longer than AGAIN_S while it cleans up: what takes time is ended by its owner.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=AGAIN_S)
        await asyncio.gather(*ended, return_exceptions=True)  # retrieved
