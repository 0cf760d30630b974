"""Cancels asyncio tasks and waits until they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

# A task that was cancelled and still runs is cancelled again after this time.
REPEAT_S = 0.5


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and return once all of them have ended; their results and exceptions are dropped.

    One cancellation is not enough: on Python 3.11 `asyncio.wait_for`, in which the database's driver waits, swallows a
    cancellation that arrives together with the result it waits for, and the task goes on. So tasks are cancelled again
    every REPEAT_S. A task must therefore not await anything for longer than that while it cleans up.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        ended, running = await asyncio.wait(running, timeout=REPEAT_S)
        await asyncio.gather(*ended, return_exceptions=True)  # so that asyncio does not report them as never retrieved
