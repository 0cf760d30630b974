"""Waiting for a state, with a deadline: no test sleeps for a guessed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.01

# How long what lost its parent may take to be gone. A second is what is promised, and about 0.1 s what it takes; a
# machine that is busy with other things is not to blame for the rest.
GONE_S = 5.0


def wait_until(condition: Callable[[], T], timeout_s: float, *, what: str = "") -> T:
    """Ask until the answer is true, and return it. Past `timeout_s` the test fails, naming what it waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        # Asked once more after the deadline, so that a machine that slept over it is not blamed on the code.
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
