"""Owns the collections of one lane process: takes orders, runs libcurl in turns and returns outcomes. One thread only.

A collection's stage says which other part knows of it: in `RESOLVING` the resolver has its ticket, in
`WAITING_FOR_SLOT` it stands in a line of the host slots, in `TRANSFERRING` and `DRAINING_REDIRECT` libcurl has its hop.
The cost of a turn depends on what happens in it, and not on how many collections are under way. Nothing that an origin
does raises here, and an error of this program in one collection becomes that collection's outcome.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing.connection import Connection
from typing import TypeVar, assert_never

import pycurl

from metadata_inventory.collect.engine.body_budget import BodyBudget
from metadata_inventory.collect.engine.collection import Collection, Stage
from metadata_inventory.collect.engine.deadlines import Deadlines
from metadata_inventory.collect.engine.hop import Hop
from metadata_inventory.collect.engine.host_slots import HostSlots
from metadata_inventory.collect.engine.interrupts import Interrupts
from metadata_inventory.collect.engine.memory_limit import end_exhausted
from metadata_inventory.collect.engine.multi import Multi
from metadata_inventory.collect.engine.outcomes import build_failure
from metadata_inventory.collect.engine.resolver import Resolution, Resolve, Resolver, resolve_here
from metadata_inventory.collect.engine.results import ResultQueue, Results
from metadata_inventory.collect.engine.tls_handshakes import TlsHandshakes
from metadata_inventory.collect.options import CollectorOptions
from metadata_inventory.model.capture import CollectionOrder, Failure, FailureCode, Outcome

logger = logging.getLogger(__name__)

_MAX_TURN_S = 0.25  # how late the engine may notice that a collection's `give_up_at` has passed
_REMEMBERED_CONNECTIONS = 4096

Step = TypeVar("Step")


class Engine:
    """All collections under way. `interrupt` becomes readable when the parent has more orders: `advance` then returns.

    `resolve` looks up a host's addresses; it is called in threads of the resolver.
    """

    def __init__(
        self, options: CollectorOptions, interrupt: Connection | None = None, resolve: Resolve = resolve_here
    ) -> None:
        self._options = options
        self._collections: dict[str, Collection] = {}  # by token
        self._by_handle: dict[pycurl.Curl, Collection] = {}  # those of them that libcurl has a hop of
        self._deadlines = Deadlines(self._collections)
        self._budget = BodyBudget(options.lane_body_bytes)
        self._results = ResultQueue(self._budget)
        self._slots = HostSlots(options.host_concurrency)
        self._handshakes = TlsHandshakes(_REMEMBERED_CONNECTIONS)
        self._multi = Multi(max_idle_connections=options.max_idle_connections)
        self._interrupts = Interrupts(self._multi, interrupt)
        self._resolver = Resolver(
            at_once=options.max_unresolved_names,
            per_domain=options.max_unresolved_per_domain,
            cache_ms=options.name_cache_ms,
            wake=self._interrupts.wake,
            resolve=resolve,
        )

    def close(self) -> None:
        """Abandon every collection and end the resolver's threads."""
        for token in list(self._collections):
            self._abandon(token)
        self._resolver.close()
        self._multi.close()
        self._interrupts.close()

    @property
    def stages(self) -> dict[str, Stage]:
        """The stage of each collection under way, by token."""
        return {token: collection.stage for token, collection in self._collections.items()}

    def advance(self, orders: Iterable[CollectionOrder], abandoned: Iterable[str], wait_ms: int) -> Results:
        """Abandon and begin collections, then run all until one has ended, an interrupt comes or `wait_ms` are over."""
        for token in abandoned:
            self._abandon(token)
        for order in orders:
            self._begin(order)
        self._resume()  # the results that were taken last may have left room for bodies
        until = time.monotonic() + wait_ms / 1000
        self._interrupts.clear()
        while self._collections:
            at_once = self._results or self._interrupts.interrupted
            wait_s = 0.0 if at_once else until - time.monotonic()
            self._turn(min(max(0.0, wait_s), _MAX_TURN_S))
            if self._results or self._interrupts.interrupted or time.monotonic() >= until:
                break
        return self._results.take()

    def fail_all(self) -> Results:
        """Close the engine after an error: the results so far, and an internal error for every other collection."""
        failed = ((token, build_failure(FailureCode.INTERNAL_ERROR)) for token in self._collections)
        results = (*self._results.take_all(), *failed)
        with contextlib.suppress(Exception):  # a broken engine may fail to close as well
            self.close()
        return results

    def _turn(self, wait_s: float) -> None:
        ended = self._multi.turn(wait_s)
        self._handshakes.read()
        for easy, error, words in ended:
            if error == pycurl.E_OUT_OF_MEMORY:
                end_exhausted()
            self._conclude(self._by_handle[easy], error, words)
        for token, resolution in self._resolver.take():
            self._enter_host(self._collections[token], resolution)
        for collection in self._deadlines.take_due():
            self._give_up(collection)
        self._resume()
        self._admit()

    def _resume(self) -> None:
        for hop in self._budget.resume():
            self._conclude(self._by_handle[hop.easy], pycurl.E_WRITE_ERROR, "")

    def _begin(self, order: CollectionOrder) -> None:
        try:
            collection = Collection(order, self._options)
        except MemoryError:
            end_exhausted()
        except Exception:  # a boundary: an order that cannot be begun must not end the other collections
            logger.exception("an order cannot be begun")
            self._results.add(order.token, build_failure(FailureCode.INTERNAL_ERROR))
            return
        self._collections[order.token] = collection
        self._proceed(collection)

    def _proceed(self, collection: Collection) -> None:
        """Begin the collection's next hop."""
        refusal = self._attempt(collection, collection.refuse)
        if refusal is not None:
            self._finish(collection, refusal)
            return
        self._slots.leave(collection.token, unless=collection.host)
        resolution = self._resolver.ask(collection.token, collection.host)
        if resolution is not None:
            self._enter_host(collection, resolution)
        else:
            collection.begin_resolving()
            self._deadlines.add(collection)

    def _enter_host(self, collection: Collection, resolution: Resolution) -> None:
        """Begin the transfer, or let it wait until the host has a free slot."""
        if resolution.failure is None and not self._slots.enter(
            collection.token, collection.host, redirected=collection.redirected
        ):
            collection.wait_for_slot(resolution)
            self._deadlines.add(collection)
            return
        self._transfer(collection, resolution)

    def _admit(self) -> None:
        """Begin the transfers of the collections that have got a slot. One that fails at once frees its slot again."""
        while (token := self._slots.take()) is not None:
            collection = self._collections[token]
            self._transfer(collection, collection.end_wait())

    def _transfer(self, collection: Collection, resolution: Resolution) -> None:
        hop = self._attempt(collection, lambda: collection.prepare_hop(resolution))
        if not isinstance(hop, Hop):
            self._finish(collection, hop)
            return
        hop.budget = self._budget
        hop.on_connected = self._handshakes.connect
        hop.on_redirect = partial(self._drain_redirect, collection)
        self._by_handle[hop.easy] = collection
        self._multi.add(hop.easy)

    def _drain_redirect(self, collection: Collection) -> None:
        """Called from a callback of libcurl."""
        collection.drain_redirect()
        self._deadlines.add(collection)

    def _conclude(self, collection: Collection, error: int, words: str) -> None:
        """The collection's hop has ended: finish the collection or begin its next hop."""
        hop = collection.hop
        outcome = self._attempt(collection, lambda: collection.conclude(error, words))
        self._release(hop)
        if outcome is None:
            self._proceed(collection)
        else:
            self._finish(collection, outcome)

    def _attempt(self, collection: Collection, step: Callable[[], Step]) -> Step | Failure:
        try:
            return step()
        except MemoryError:
            end_exhausted()
        except Exception:  # a boundary: an error in one collection must not end the others
            logger.exception("a collection failed because of an internal error")
            return collection.fail(FailureCode.INTERNAL_ERROR)

    def _give_up(self, collection: Collection) -> None:
        """The collection's stage has lasted until its `give_up_at`."""
        match collection.stage:
            case Stage.RESOLVING:
                self._resolver.forget(collection.token, collection.host)
                took_ms = self._options.resolve_timeout_s * 1000
                self._transfer(collection, Resolution(failure=FailureCode.DNS_TIMEOUT, took_ms=took_ms))
            case Stage.WAITING_FOR_SLOT:
                self._finish(collection, self._attempt(collection, collection.fail_without_slot))
            case Stage.DRAINING_REDIRECT:
                self._conclude(collection, pycurl.E_OPERATION_TIMEDOUT, "")
            case Stage.TRANSFERRING | Stage.ENDED:
                pass  # they have no `give_up_at`
            case _:
                assert_never(collection.stage)

    def _abandon(self, token: str) -> None:
        """End the collection without an outcome, whatever its stage. Nothing if it has ended already."""
        collection = self._collections.get(token)
        if collection is None:
            return
        match collection.stage:
            case Stage.RESOLVING:
                self._resolver.forget(token, collection.host)
            case Stage.TRANSFERRING | Stage.DRAINING_REDIRECT:
                self._release(collection.hop)
            case Stage.WAITING_FOR_SLOT | Stage.ENDED:
                pass  # `_end` gives up the wait for a slot
            case _:
                assert_never(collection.stage)
        self._end(collection)

    def _finish(self, collection: Collection, outcome: Outcome) -> None:
        self._end(collection)
        self._results.add(collection.token, outcome)

    def _end(self, collection: Collection) -> None:
        del self._collections[collection.token]
        self._slots.leave(collection.token)
        collection.end()

    def _release(self, hop: Hop) -> None:
        del self._by_handle[hop.easy]
        self._multi.remove(hop.easy)
        self._budget.release(hop)
        hop.easy.close()
