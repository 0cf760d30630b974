"""Owns the suspects of lost lane processes, and collects them again apart from everything else.

A group of suspects runs in a lane process of its own. If that is lost too, the orders that have not ended are split
into halves, each a group again. An order that is lost alone ends as `worker_lost`. So the order that ends its process
is found after a logarithmic number of losses, and orders that were hit by a kill from outside are collected together
at once. Groups take turns in the order in which they came, `PROCESSES` of them at a time: a group that takes until its
deadline holds up one process only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from metadata_inventory.collect.options import CollectorOptions, LaneSettings
from metadata_inventory.collect.pool.lane_process_handle import LaneProcessHandle, LostOrders, PendingOrder
from metadata_inventory.errors import StartError

logger = logging.getLogger(__name__)

PROCESSES = 4  # lane processes, and so groups, that run at a time


class Isolation:
    """The groups of all lanes of one worker. It has lane processes only while it has groups."""

    def __init__(self, options: CollectorOptions, settings: LaneSettings) -> None:
        self._options = options
        self._settings = settings
        self._groups: deque[list[PendingOrder]] = deque()
        self._runners: set[asyncio.Task[None]] = set()

    def add(self, group: list[PendingOrder]) -> None:
        """Collect the group when its turn comes. A caller gives an order up by cancelling its `outcome`."""
        if group:
            self._groups.append(group)
            self._start_runner()

    async def close(self) -> None:
        """End every lane process. The pending orders of groups stay as they are: their lanes end them."""
        self._groups.clear()
        runners = list(self._runners)
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)

    def _start_runner(self) -> None:
        if self._groups and len(self._runners) < PROCESSES:
            runner = asyncio.create_task(self._run(), name="isolation")
            self._runners.add(runner)
            runner.add_done_callback(self._remove_runner)

    def _remove_runner(self, runner: asyncio.Task[None]) -> None:
        self._runners.discard(runner)
        if not runner.cancelled():
            self._start_runner()  # a group may have been added while the runner ended its process

    async def _run(self) -> None:
        handle = LaneProcessHandle(self._options, self._settings)
        try:
            while self._groups:
                await self._collect(self._groups.popleft(), handle)
        finally:
            await handle.end()

    async def _collect(self, group: list[PendingOrder], handle: LaneProcessHandle) -> None:
        new = [pending for pending in group if not pending.outcome.done()]
        try:
            while new or handle.busy:
                await handle.advance(new, self._settings.wait_ms)
                new = []
        except LostOrders as loss:
            self.add(loss.unsuspected)
            half = (len(loss.suspects) + 1) // 2
            self.add(loss.suspects[:half])
            self.add(loss.suspects[half:])
        except StartError:
            logger.error("no lane process can be started for isolated orders")
            for pending in [*group, *(pending for waiting in self._groups for pending in waiting)]:
                pending.refuse()
            self._groups.clear()
            await handle.end()
        except Exception:  # the boundary of the runner's task: no caller may wait for ever
            logger.exception("isolated orders failed because of an internal error")
            await handle.end()
