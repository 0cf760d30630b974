"""What was collected and is not stored yet: so much of it, and no more is fetched until the database has taken some."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class MemoryGate:
    """Counts bytes that are held for the database. Belongs to one event loop."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    @contextlib.contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Count these while they are held."""
        self._change(size_bytes)
        try:
            yield
        finally:
            self._change(-size_bytes)

    async def room(self) -> None:
        """Wait until less is held than the limit."""
        await self._room.wait()

    def _change(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        if self._bytes < self._limit_bytes:
            self._room.set()
        else:
            self._room.clear()
