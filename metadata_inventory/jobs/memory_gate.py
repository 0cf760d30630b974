"""Limits the bytes of outcomes that wait for the database. While the gate is shut, lanes fetch no further ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class MemoryGate:
    """Open while fewer than `limit_bytes` are held, so the last outcome to pass may exceed the limit by its size.

    Belongs to one event loop.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._open = asyncio.Event()
        self._open.set()

    @contextlib.contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Count the bytes while the block runs."""
        self._add(size_bytes)
        try:
            yield
        finally:
            self._add(-size_bytes)

    async def wait_open(self) -> None:
        """Return once the gate is open."""
        await self._open.wait()

    def _add(self, size_bytes: int) -> None:
        self._held_bytes += size_bytes
        if self._held_bytes < self._limit_bytes:
            self._open.set()
        else:
            self._open.clear()
