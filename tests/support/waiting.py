"""Waits for a state with a deadline, so that no test sleeps for a guessed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.01

# How long processes may take to end after they lose their parent. One second is promised and about 0.1 s is usual; the
# rest is for a busy machine.
GONE_S = 5.0


def wait_until(condition: Callable[[], T], timeout_s: float, *, what: str = "") -> T:
    """Call the condition until it returns something true, and return that. Fails with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        # The condition is checked once more after the deadline: a busy machine may have slept past it.
        late = time.monotonic() > deadline
        answer = condition()
        if answer:
            return answer
        if late:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}")
        time.sleep(POLL_S)


async def wait_until_async(condition: Callable[[], T | Awaitable[T]], timeout_s: float, *, what: str = "") -> T:
    """As `wait_until`, on the event loop; the condition may be a coroutine function."""
    deadline = time.monotonic() + timeout_s
    while True:
        late = time.monotonic() > deadline
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        if late:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}")
        await asyncio.sleep(POLL_S)
