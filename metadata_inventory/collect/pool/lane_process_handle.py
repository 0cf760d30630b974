"""One lane process and the pending orders in it: hands them over, ends them, and sorts them when the process is lost.

When a process is lost, what it was handed is suspected of it. What it never saw, and everything when it only fell with
its forkserver, is not. An pending that was in it alone needs no further trial: it ends as `worker_lost`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from metadata_inventory.collect.engine.outcomes import build_failure
from metadata_inventory.collect.options import CollectorOptions, LaneSettings
from metadata_inventory.collect.pool.lane_process import LaneProcess, LaneProcessLost
from metadata_inventory.errors import CollectorUnavailable, StartError
from metadata_inventory.model.capture import CollectionOrder, FailureCode, Outcome

logger = logging.getLogger(__name__)

MAX_MOVES = 10  # lost processes that a pending order outlives without being suspected
_STARTS = 3  # in a row that may fail: a starting process can be killed too, or lose its forkserver


@dataclass(slots=True, eq=False)
class PendingOrder:
    """An order and the outcome that its caller waits for. That is done as well when the caller has gone."""

    order: CollectionOrder
    host: str
    outcome: asyncio.Future[Outcome]
    started: bool = False  # it has its place among those under way, and keeps it until it ends
    moves: int = 0  # processes that were lost with it, without its being suspected

    def end(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def end_by_fault(self) -> None:
        """Nothing was wrong with it: this system failed."""
        self.end(build_failure(FailureCode.INTERNAL_ERROR))

    def refuse(self) -> None:
        """There is no process that could take it."""
        if not self.outcome.done():
            self.outcome.set_exception(CollectorUnavailable())

    def lose(self) -> None:
        self.end(build_failure(FailureCode.WORKER_LOST))


class LostOrders(Exception):
    """A process was lost. What was in it and has not ended is the driver's again."""

    def __init__(self, suspects: list[PendingOrder], unsuspected: list[PendingOrder]) -> None:
        super().__init__()
        self.suspects = suspects
        self.unsuspected = unsuspected


class LaneProcessHandle:
    """Owns one process at a time, started when it is needed. Driven by one task, one exchange after the other."""

    def __init__(self, options: CollectorOptions, settings: LaneSettings) -> None:
        self._options = options
        self._settings = settings
        self._process: LaneProcess | None = None
        self._in_flight: dict[str, PendingOrder] = {}
        self._abandoned: list[str] = []

    @property
    def busy(self) -> bool:
        """Whether there is anything to advance, even without new orders."""
        return bool(self._in_flight or self._abandoned)

    async def start(self) -> None:
        """Have a process that answers; raises StartError."""
        failed = 0
        while self._process is None:
            self._process = LaneProcess(self._options, self._settings.patience_s)
            try:
                await self._process.start(self._settings.start_s)
            except LaneProcessLost as error:
                await self._end_process()
                failed += 1
                if failed == _STARTS:
                    raise StartError("A collector's process does not start.") from error

    async def advance(self, pending_orders: Collection[PendingOrder], wait_ms: int) -> None:
        """Hand over, and end what has finished; waits `wait_ms` at most for that. Raises LostOrders and StartError."""
        if self._process is not None and not self.busy and not self._process.alive:
            await self._end_process()  # it died in idleness
        for pending in pending_orders:
            self._in_flight[pending.order.token] = pending
            pending.outcome.add_done_callback(partial(self._abandon, pending.order.token))
        await self.start()
        orders = tuple(pending.order for pending in pending_orders if pending.order.token in self._in_flight)
        abandoned, self._abandoned = tuple(self._abandoned), []
        assert self._process is not None
        try:
            results = await self._process.advance(orders, abandoned, wait_ms)
        except LaneProcessLost as lost:
            self._abandoned.extend(abandoned)
            raise await self._lose(unseen=() if lost.handed_over else orders) from lost
        for token, outcome in results:
            finished = self._in_flight.pop(token, None)
            if finished is not None:
                finished.end(outcome)

    def interrupt(self) -> None:
        """Make the exchange under way return for what is new."""
        if self._process is not None:
            self._process.interrupt()

    async def end(self, tell: Callable[[PendingOrder], None] = PendingOrder.end_by_fault) -> None:
        """End the process and `tell` what was in it; nothing was wrong with that. The next exchange starts another."""
        await self._end_process()
        pending_orders, self._in_flight, self._abandoned = self._in_flight, {}, []
        for pending in pending_orders.values():
            tell(pending)

    def _abandon(self, token: str, _: asyncio.Future[Outcome]) -> None:
        """The order is done; unless it was ended from here, its caller has gone."""
        if self._in_flight.pop(token, None) is not None:
            self._abandoned.append(token)
            self.interrupt()

    async def _lose(self, unseen: tuple[CollectionOrder, ...]) -> LostOrders:
        process = self._process
        assert process is not None
        alone = len(self._in_flight) == 1 and not self._abandoned
        await self._end_process()
        logger.warning(
            "a collector's process was lost",
            extra={"in_flight": len(self._in_flight), "with_forkserver": process.fell_with_forkserver},
        )
        tokens = {order.token for order in unseen}
        suspects, unsuspected = [], []
        for token, pending in self._in_flight.items():
            if process.fell_with_forkserver or token in tokens:
                pending.moves += 1
                unsuspected.append(pending)
            else:
                suspects.append(pending)
        self._in_flight, self._abandoned = {}, []
        for pending in [
            *(suspects if alone else ()),
            *(pending for pending in unsuspected if pending.moves > MAX_MOVES),
        ]:
            pending.lose()
        return LostOrders(
            *([pending for pending in some if not pending.outcome.done()] for some in (suspects, unsuspected))
        )

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.end()
