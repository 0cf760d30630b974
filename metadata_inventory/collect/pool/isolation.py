"""Where what was in a lost process is collected again, apart from everything else, until the one that kills is found.

A group runs in a process of its own. When that is lost too, what has not finished of the group is split into halves,
each a group again, and what is lost alone ends as `worker_lost`: so the one that kills is found after a logarithmic
number of losses, and what an outside kill hit is collected together at once. Groups take their turns in the order in
which they came, a few side by side, so that one which is slow to its deadline holds up no more than one place.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from metadata_inventory.collect.options import CollectorOptions, LaneSettings
from metadata_inventory.collect.pool.lane_process_handle import LaneProcessHandle, LostOrders, PendingOrder
from metadata_inventory.errors import StartError

logger = logging.getLogger(__name__)

PROCESSES = 4  # groups that run side by side, each in a process of its own


class Isolation:
    """Shared by all lanes of one process. It has processes only while it has groups."""

    def __init__(self, options: CollectorOptions, settings: LaneSettings) -> None:
        self._options = options
        self._settings = settings
        self._groups: deque[list[PendingOrder]] = deque()
        self._runners: set[asyncio.Task[None]] = set()

    def add(self, group: list[PendingOrder]) -> None:
        """Collect the group when its turn comes. A caller that gives an order up cancels its outcome."""
        if group:
            self._groups.append(group)
            self._engage()

    async def close(self) -> None:
        """End every process; what is left of the groups is the lanes' to end."""
        self._groups.clear()
        runners = list(self._runners)
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)

    def _engage(self) -> None:
        if self._groups and len(self._runners) < PROCESSES:
            runner = asyncio.create_task(self._run(), name="isolation")
            self._runners.add(runner)
            runner.add_done_callback(self._dismiss)

    def _dismiss(self, runner: asyncio.Task[None]) -> None:
        self._runners.discard(runner)
        if not runner.cancelled():
            self._engage()  # a group may have come while the runner ended its process

    async def _run(self) -> None:
        handle = LaneProcessHandle(self._options, self._settings)
        try:
            while self._groups:
                await self._try(self._groups.popleft(), handle)
        finally:
            await handle.end()

    async def _try(self, group: list[PendingOrder], handle: LaneProcessHandle) -> None:
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
            logger.error("a quarantined group finds no process")
            for pending in [*group, *(pending for waiting in self._groups for pending in waiting)]:
                pending.refuse()
            self._groups.clear()
            await handle.end()
        except Exception:  # the edge of the runner's task: whoever waits must not wait for ever
            logger.exception("a quarantined group is ended by a fault of ours")
            await handle.end()
