"""Counts the requests under way, so that a stop of the service can wait for their answers."""

from __future__ import annotations

import asyncio
import contextlib


class RequestCounter:
    """The number of requests that have begun and not ended, in this process."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def began(self) -> None:
        self._count += 1
        self._none.clear()

    def ended(self) -> None:
        self._count -= 1
        if self._count == 0:
            self._none.set()

    async def answered(self, timeout_s: float) -> None:
        """Wait until every request has ended, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._none.wait()
