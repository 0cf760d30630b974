"""Names to addresses, beside libcurl: many look-ups at once, few below one domain, each name asked for once.

libcurl 8.23 without c-ares has about 20 resolver threads a multi and no setting for it: 60 names that nobody answers
held up everybody else for 9 s. Here the host's own resolver (getaddrinfo(3): hosts file, search list and all) runs in
daemon threads, and the answer is handed to libcurl by its RESOLVE option. `Names` itself belongs to one thread.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from queue import SimpleQueue

from metadata_inventory.collect.parse.set_cookie import public_suffixes
from metadata_inventory.model.capture import FailureCode

RESOLVER_TIMEOUT_S = 2  # for one try at one server; see resolv.conf(5)
_CACHED_NAMES = 10_000
_RESOLVER_OPTIONS = "RES_OPTIONS"
# The default is 8 MiB, which counts against the process's RLIMIT_DATA, as a whole and for every thread.
_STACK_BYTES = 512 * 1024

Resolve = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Resolution:
    """A name's addresses, or why there are none. Times are in milliseconds; None for a look-up that was not needed."""

    addresses: tuple[str, ...] = ()
    failure: FailureCode | None = None
    waited_ms: float | None = None
    took_ms: float | None = None


@dataclass(slots=True)
class _Query:
    host: str
    waiters: dict[str, float] = field(default_factory=dict)  # ticket → when it asked
    began: float | None = None  # when a thread took it


def limit_lookup_time() -> None:
    """Bound how long getaddrinfo tries, unless the operator has said so; before the first look-up of the process."""
    os.environ.setdefault(_RESOLVER_OPTIONS, f"timeout:{RESOLVER_TIMEOUT_S} attempts:2")


@lru_cache(maxsize=4096)
def is_address(host: str) -> bool:
    """Whether the host is an address already (an IPv6 one without brackets)."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def resolve_here(host: str) -> tuple[str, ...]:
    """The addresses by this host's resolver, in its order. Bytes, because Python would apply its own IDNA to text."""
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """The look-ups of one lane. `wake` is called from a thread of its own whenever `take` has something to return."""

    def __init__(
        self, *, at_once: int, per_domain: int, cache_ms: int, wake: Callable[[], None], resolve: Resolve = resolve_here
    ) -> None:
        self._at_once = at_once
        self._per_domain = per_domain
        self._cache_s = cache_ms / 1000
        self._wake = wake
        self._resolve = resolve
        self._cache: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._waiting: dict[str, _Query] = {}
        self._running: dict[str, _Query] = {}
        self._domains: Counter[str] = Counter()
        self._tasks: SimpleQueue[str | None] = SimpleQueue()  # None ends a thread
        self._done: deque[tuple[str, tuple[str, ...] | OSError | UnicodeError]] = deque()
        self._threads = 0
        self._closed = False

    def close(self) -> None:
        """End the threads, those that wait for an answer once they have it. `wake` is not called any more."""
        self._closed = True
        for _ in range(self._threads):
            self._tasks.put(None)

    def ask(self, ticket: str, host: str) -> Resolution | None:
        """The answer when it is known; else None, and `take` will return it under the ticket."""
        if is_address(host):
            return Resolution()
        known = self._cache.get(host)
        now = time.monotonic()
        if known is not None and known[0] > now:
            return Resolution(addresses=known[1])
        query = self._running.get(host) or self._waiting.setdefault(host, _Query(host))
        query.waiters[ticket] = now
        self._begin_waiting()
        return None

    def forget(self, ticket: str, host: str) -> None:
        """The ticket gets no answer any more. A look-up that has begun goes on; one that waits does not begin."""
        for queries in (self._waiting, self._running):
            query = queries.get(host)
            if query is not None:
                query.waiters.pop(ticket, None)
                if queries is self._waiting and not query.waiters:
                    del self._waiting[host]

    def take(self) -> list[tuple[str, Resolution]]:
        """What was answered since the last call, by ticket."""
        answered: list[tuple[str, Resolution]] = []
        while self._done:
            host, result = self._done.popleft()
            query = self._running.pop(host)
            self._domains[_domain(host)] -= 1
            answered.extend(self._conclude(query, result))
        if answered or self._waiting:
            self._begin_waiting()
        return answered

    def _conclude(
        self, query: _Query, result: tuple[str, ...] | OSError | UnicodeError
    ) -> list[tuple[str, Resolution]]:
        now = time.monotonic()
        began = query.began or now
        failure: FailureCode | None = None
        addresses: tuple[str, ...] = ()
        if isinstance(result, tuple):
            addresses = result
            self._remember(query.host, addresses, now)
        elif result.errno == socket.EAI_AGAIN if isinstance(result, socket.gaierror) else False:
            # "try again" is a server's failure when it comes at once, and silence when the whole patience passed
            failure = FailureCode.DNS_TIMEOUT if now - began >= RESOLVER_TIMEOUT_S else FailureCode.DNS_ERROR
        else:
            failure = FailureCode.DNS_ERROR
        return [
            (ticket, Resolution(addresses, failure, max(0.0, began - asked) * 1000, (now - max(asked, began)) * 1000))
            for ticket, asked in query.waiters.items()
        ]

    def _remember(self, host: str, addresses: tuple[str, ...], now: float) -> None:
        if len(self._cache) >= _CACHED_NAMES:
            del self._cache[next(iter(self._cache))]
        self._cache.pop(host, None)
        self._cache[host] = (now + self._cache_s, addresses)

    def _begin_waiting(self) -> None:
        for host, query in list(self._waiting.items()):
            if len(self._running) >= self._at_once:
                return
            domain = _domain(host)
            if self._domains[domain] >= self._per_domain:
                continue
            self._domains[domain] += 1
            del self._waiting[host]
            self._running[host] = query
            query.began = time.monotonic()
            self._tasks.put(host)
            if self._threads < len(self._running):
                self._threads += 1
                self._start_thread()

    def _start_thread(self) -> None:
        others = threading.stack_size(_STACK_BYTES)
        try:
            threading.Thread(target=self._work, name="names", daemon=True).start()
        finally:
            threading.stack_size(others)

    def _work(self) -> None:
        while (host := self._tasks.get()) is not None:
            try:
                result: tuple[str, ...] | OSError | UnicodeError = self._resolve(host)
            except (OSError, UnicodeError) as error:
                result = error
            self._done.append((host, result))
            if not self._closed:
                self._wake()


@lru_cache(maxsize=4096)
def _domain(host: str) -> str:
    """The registrable domain; the host itself where it is a public suffix."""
    return public_suffixes().privatesuffix(host.rstrip(".")) or host
