"""Owns one lane process at a time and the pending orders in it: hands them over, ends them, sorts them after a loss.

When a process is lost, the orders that were handed to it are suspects. Orders that it never saw are not suspects, and
no order is one if the process was lost together with its forkserver. A suspect that was alone in the process needs no
isolation: it ends as `worker_lost`.
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

MAX_MOVES = 10  # lost processes after which an order ends as `worker_lost` although it was never a suspect
_STARTS = 3  # failed starts in a row after which `start` gives up; a starting process can be killed as well


@dataclass(slots=True, eq=False)
class PendingOrder:
    """An order, and the future of the outcome that its caller waits for. The caller gives up by cancelling it."""

    order: CollectionOrder
    host: str
    outcome: asyncio.Future[Outcome]
    started: bool = False  # it counts as under way in its lane, until it ends
    moves: int = 0  # lost processes that it was in or on its way to, without being a suspect

    def end(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def fail(self) -> None:
        """End it with an internal error: this program failed, and not the order."""
        self.end(build_failure(FailureCode.INTERNAL_ERROR))

    def refuse(self) -> None:
        """Make its caller's wait raise: no lane process can be started for it."""
        if not self.outcome.done():
            self.outcome.set_exception(CollectorUnavailable())

    def lose(self) -> None:
        """End it as `worker_lost`."""
        self.end(build_failure(FailureCode.WORKER_LOST))


class LostOrders(Exception):
    """A process was lost. Its pending orders that have not ended belong to the handle's driver again."""

    def __init__(self, suspects: list[PendingOrder], unsuspected: list[PendingOrder]) -> None:
        super().__init__()
        self.suspects = suspects
        self.unsuspected = unsuspected


class LaneProcessHandle:
    """Starts its process when one is needed. One task drives it: no two calls of `advance` overlap."""

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
        """Make sure that there is a started process; raises StartError."""
        failed = 0
        while self._process is None:
            self._process = LaneProcess(self._options, self._settings.patience_s)
            try:
                await self._process.start(self._settings.start_s)
            except LaneProcessLost as error:
                await self._end_process()
                failed += 1
                if failed == _STARTS:
                    raise StartError("A lane process does not start.") from error

    async def advance(self, pending_orders: Collection[PendingOrder], wait_ms: int) -> None:
        """Hand over new orders and end those with an outcome. Waits `wait_ms` at most for a first one.

        Raises LostOrders and StartError.
        """
        if self._process is not None and not self.busy and not self._process.alive:
            await self._end_process()  # it ended while it was idle
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
        """Make the call of `advance` under way return, so that new orders can be handed over."""
        if self._process is not None:
            self._process.interrupt()

    async def end(self, end_order: Callable[[PendingOrder], None] = PendingOrder.fail) -> None:
        """End the process, and each order in it by `end_order`. The next call of `advance` starts another process."""
        await self._end_process()
        pending_orders, self._in_flight, self._abandoned = self._in_flight, {}, []
        for pending in pending_orders.values():
            end_order(pending)

    def _abandon(self, token: str, _: asyncio.Future[Outcome]) -> None:
        """Called when the outcome is set or cancelled. If the handle has not ended the order, its caller gave it up."""
        if self._in_flight.pop(token, None) is not None:
            self._abandoned.append(token)
            self.interrupt()

    async def _lose(self, unseen: tuple[CollectionOrder, ...]) -> LostOrders:
        process = self._process
        assert process is not None
        alone = len(self._in_flight) == 1 and not self._abandoned
        await self._end_process()
        logger.warning(
            "a lane process was lost",
            extra={"in_flight": len(self._in_flight), "with_forkserver": process.lost_with_forkserver},
        )
        unseen_tokens = {order.token for order in unseen}
        suspects, unsuspected = [], []
        for token, pending in self._in_flight.items():
            if process.lost_with_forkserver or token in unseen_tokens:
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
