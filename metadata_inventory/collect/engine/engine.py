"""The collections of one lane's process, turned together: orders in, outcomes out. Belongs to one thread.

Nothing is raised for what an origin does, and what goes wrong in one collection is that collection's outcome.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from multiprocessing.connection import Connection
from typing import TypeVar

import pycurl

from metadata_inventory.collect.engine.body_budget import BodyBudget
from metadata_inventory.collect.engine.collection import Collection
from metadata_inventory.collect.engine.hop import Hop
from metadata_inventory.collect.engine.host_slots import HostSlots
from metadata_inventory.collect.engine.memory_limit import end_exhausted
from metadata_inventory.collect.engine.multi import Multi
from metadata_inventory.collect.engine.outcomes import DETAILS
from metadata_inventory.collect.engine.resolver import Resolution, Resolve, Resolver, resolve_here
from metadata_inventory.collect.engine.tls_handshakes import TlsHandshakes
from metadata_inventory.collect.options import CollectorOptions
from metadata_inventory.model.capture import Capture, CollectionOrder, Failure, FailureCode, Outcome

logger = logging.getLogger(__name__)

MAX_RETURN_BYTES = 4 * 1024 * 1024  # in one answer: the parent's loop stalls while it unpickles
_MAX_TURN_S = 0.25  # look-ups, redirects' bodies and waits for a place are checked for their time at least this often
_REMEMBERED_CONNECTIONS = 4096

Results = tuple[tuple[str, Outcome], ...]
Step = TypeVar("Step")


def now() -> datetime:
    """Aware UTC in whole milliseconds."""
    instant = datetime.now(UTC)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


class Engine:
    """`interrupt` becomes readable when the parent has more orders, so that `exchange` returns for them."""

    def __init__(
        self, options: CollectorOptions, interrupt: Connection | None = None, resolve: Resolve = resolve_here
    ) -> None:
        self._options = options
        self._multi = Multi(max_idle_connections=options.max_idle_connections)
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)
        self._multi.watch(self._woken.fileno(), self._drain_wake_ups)
        self._interrupt = interrupt
        self._interrupted = False
        if interrupt is not None:
            self._multi.watch(interrupt.fileno(), self._take_interrupt)
        self._names = Resolver(
            at_once=options.max_unresolved_names,
            per_domain=options.max_unresolved_per_domain,
            cache_ms=options.name_cache_ms,
            wake=self._wake,
            resolve=resolve,
        )
        self._connections = TlsHandshakes(_REMEMBERED_CONNECTIONS)
        self._budget = BodyBudget(options.lane_body_bytes)
        self._collections: dict[str, Collection] = {}  # in the order of deadlines, since all have the same time
        self._hops: dict[pycurl.Curl, Collection] = {}
        self._looking: dict[str, float] = {}  # token → when its look-up is given up
        self._slots = HostSlots(options.host_concurrency)
        self._held_up: dict[str, tuple[Resolution, float]] = {}  # token → what was looked up, and since when it waits
        self._draining: list[tuple[float, Hop]] = []  # redirects' bodies, and when they are given up
        self._connected: list[Hop] = []
        self._finished: deque[tuple[str, Outcome]] = deque()

    def close(self) -> None:
        """Give everything up."""
        for token in list(self._collections):
            self._drop(token)
        self._names.close()
        self._multi.close()
        self._waker.close()
        self._woken.close()

    def advance(self, orders: Iterable[CollectionOrder], abandoned: Iterable[str], wait_ms: int) -> Results:
        """Begin and drop what is asked for, then go on until something has finished or the wait is over."""
        for token in abandoned:
            self._drop(token)
        for order in orders:
            self._begin(order)
        self._resume()  # there may be room since results were taken
        until = time.monotonic() + wait_ms / 1000
        self._interrupted = False
        while self._collections:
            wait_s = 0.0 if self._finished or self._interrupted else until - time.monotonic()
            self._turn(min(max(0.0, wait_s), _MAX_TURN_S))
            if self._finished or self._interrupted or time.monotonic() >= until:
                break
        return self._take_results()

    def fail_all(self) -> Results:
        """Everything ended as a fault of this system, and the worker with it."""
        results = (*self._finished, *((token, fault()) for token in self._collections))
        with contextlib.suppress(Exception):  # what is broken may not close either
            self.close()
        return results

    def _take_results(self) -> Results:
        results: list[tuple[str, Outcome]] = []
        size = 0
        while self._finished:
            weight = _weigh(self._finished[0][1])
            size += weight
            if results and size > MAX_RETURN_BYTES:
                break
            self._budget.hand_over(weight)
            results.append(self._finished.popleft())
        return tuple(results)

    def _turn(self, wait_s: float) -> None:
        ended = self._multi.turn(wait_s)
        for hop in self._connected:
            self._connections.note(hop)
        self._connected.clear()
        for easy, error, words in ended:
            if error == pycurl.E_OUT_OF_MEMORY:
                end_exhausted()
            self._settle(self._hops[easy], error, words)
        for token, answer in self._names.take():
            if self._looking.pop(token, None) is not None:
                self._dial(self._collections[token], answer)
        self._give_up_late_ones()
        self._resume()
        self._admit()

    def _resume(self) -> None:
        for hop in self._budget.resume():
            self._settle(self._hops[hop.easy], pycurl.E_WRITE_ERROR, "")

    def _begin(self, order: CollectionOrder) -> None:
        try:
            collection = Collection(order, self._options, now)
        except MemoryError:
            end_exhausted()
        except Exception:  # an edge: an order that cannot be carried out must not end the others
            logger.exception("an order cannot be begun")
            self._finish_with(order.token, fault())
            return
        self._collections[order.token] = collection
        self._proceed(collection)

    def _proceed(self, collection: Collection) -> None:
        """On to the collection's next hop."""
        refusal = self._attempt(collection, collection.refuse)
        if refusal is not None:
            self._finish(collection, refusal)
            return
        self._slots.leave(collection.token, unless=collection.host)
        answer = self._names.ask(collection.token, collection.host)
        if answer is not None:
            self._dial(collection, answer)
        else:
            patience_s = self._options.resolve_timeout_s
            self._looking[collection.token] = min(collection.deadline, time.monotonic() + patience_s)

    def _dial(self, collection: Collection, answer: Resolution) -> None:
        """Begin the hop, at once or when its host has a place for it."""
        token = collection.token
        if answer.failure is None and not self._slots.enter(token, collection.host, redirected=collection.redirected):
            self._held_up[token] = answer, time.monotonic()
            return
        self._begin_hop(collection, answer)

    def _admit(self) -> None:
        while (token := self._slots.take()) is not None:
            self._begin_hop(self._collections[token], self._end_wait(token))

    def _end_wait(self, token: str) -> Resolution:
        """What was looked up, the wait for a place counted in."""
        answer, since = self._held_up.pop(token)
        return replace(answer, waited_ms=(answer.waited_ms or 0.0) + (time.monotonic() - since) * 1000)

    def _begin_hop(self, collection: Collection, answer: Resolution) -> None:
        hop = self._attempt(collection, lambda: collection.dial(answer))
        if not isinstance(hop, Hop):
            self._finish(collection, hop)
            return
        hop.allowance = self._budget
        hop.on_connected = self._connected.append
        hop.on_redirect = self._watch_redirect
        self._hops[hop.easy] = collection
        self._multi.add(hop.easy)

    def _settle(self, collection: Collection, error: int, words: str) -> None:
        hop = collection.hop
        assert hop is not None
        outcome = self._attempt(collection, lambda: collection.settle(error, words))
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
        except Exception:  # an edge: one collection's fault must not end the others
            logger.exception("a collection failed by a fault of ours")
            return collection.end_by_fault()

    def _finish(self, collection: Collection, outcome: Outcome) -> None:
        del self._collections[collection.token]
        self._slots.leave(collection.token)
        self._finish_with(collection.token, outcome)

    def _finish_with(self, token: str, outcome: Outcome) -> None:
        self._budget.keep(_weigh(outcome))
        self._finished.append((token, outcome))

    def _drop(self, token: str) -> None:
        collection = self._collections.pop(token, None)
        if collection is None:
            return
        if self._looking.pop(token, None) is not None:
            self._names.forget(token, collection.host)
        self._slots.leave(token)
        self._held_up.pop(token, None)
        if collection.hop is not None:
            self._release(collection.hop)

    def _release(self, hop: Hop) -> None:
        del self._hops[hop.easy]
        self._multi.remove(hop.easy)
        self._budget.release(hop)
        hop.easy.close()

    def _watch_redirect(self, hop: Hop) -> None:
        self._draining.append((time.monotonic() + self._options.redirect_body_ms / 1000, hop))

    def _give_up_late_ones(self) -> None:
        if not self._looking and not self._draining and not self._held_up:
            return
        instant = time.monotonic()
        for token in [token for token, until in self._looking.items() if until <= instant]:
            del self._looking[token]
            collection = self._collections[token]
            self._names.forget(token, collection.host)
            self._dial(
                collection, Resolution(failure=FailureCode.DNS_TIMEOUT, took_ms=self._options.resolve_timeout_s * 1000)
            )
        late = [hop for until, hop in self._draining if until <= instant]
        self._draining = [(until, hop) for until, hop in self._draining if until > instant and hop.easy in self._hops]
        for hop in late:
            redirected = self._hops.get(hop.easy)
            if redirected is not None:
                self._settle(redirected, pycurl.E_OPERATION_TIMEDOUT, "")
        if self._held_up:
            self._give_up_overdue_waits(instant)

    def _give_up_overdue_waits(self, instant: float) -> None:
        overdue = takewhile(lambda one: one.deadline <= instant, self._collections.values())
        for collection in [one for one in overdue if one.token in self._held_up]:
            self._give_up_wait(collection, self._end_wait(collection.token))

    def _give_up_wait(self, collection: Collection, answer: Resolution) -> None:
        self._finish(collection, self._attempt(collection, lambda: collection.fail_for_want_of_place(answer)))

    def _wake(self) -> None:
        """Called by the look-ups' threads."""
        with contextlib.suppress(OSError):  # enough wake-ups are waiting already, or the worker is closed
            self._waker.send(b"!")

    def _drain_wake_ups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)

    def _take_interrupt(self) -> None:
        assert self._interrupt is not None
        while self._interrupt.poll():  # one may be left of an exchange that returned by itself
            self._interrupt.recv_bytes()
        self._interrupted = True


def _weigh(outcome: Outcome) -> int:
    """About how many bytes the outcome is: its body, and headers, of which there may be as much."""
    size = len(outcome.content) if isinstance(outcome, Capture) else 0
    for exchange in outcome.exchanges:
        if exchange.response is not None:
            size += sum(len(header.name) + len(header.value) for header in exchange.response.headers)
    return size


def fault() -> Failure:
    """The outcome of a collection in which this system failed."""
    return Failure(code=FailureCode.INTERNAL_ERROR, detail=DETAILS[FailureCode.INTERNAL_ERROR], at=now())
