"""Looks up names for one lane process, in place of libcurl: many names at once, few of them below one domain.

libcurl 8.23 without c-ares has about 20 resolver threads a multi handle and no setting for their number: 60 names whose
servers did not respond held up all others for 9 s. Here the resolver of this host (getaddrinfo(3), with hosts file and
search list) is called in daemon threads, and libcurl gets the addresses by its RESOLVE option. A name is looked up once
for all collections that wait for it. All methods of `Resolver` are for use in one thread.
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
# Of each thread. The default of 8 MiB would count in full against the process's RLIMIT_DATA.
_STACK_BYTES = 512 * 1024

Resolve = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Resolution:
    """A name's addresses, or why there are none. The times are None if no look-up was needed."""

    addresses: tuple[str, ...] = ()
    failure: FailureCode | None = None
    waited_ms: float | None = None  # until the look-up began, and for a host slot
    took_ms: float | None = None  # the look-up itself


@dataclass(slots=True)
class _Query:
    host: str
    waiters: dict[str, float] = field(default_factory=dict)  # ticket → when it asked
    began: float | None = None  # when it was handed to the threads


def limit_lookup_time() -> None:
    """Limit how long getaddrinfo tries, unless RES_OPTIONS is set. To be called before the process looks up a name."""
    os.environ.setdefault(_RESOLVER_OPTIONS, f"timeout:{RESOLVER_TIMEOUT_S} attempts:2")


@lru_cache(maxsize=4096)
def is_address(host: str) -> bool:
    """Whether the host is an address and no name; IPv6 addresses stand without brackets."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def resolve_here(host: str) -> tuple[str, ...]:
    """The addresses by the resolver of this host, in its order; raises OSError or UnicodeError."""
    # Bytes: to text Python would apply its own IDNA.
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Look-ups, and a cache of names. `wake` is called from other threads whenever `take` has something to return."""

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
        self._domains: Counter[str] = Counter()  # look-ups under way, by registrable domain
        self._tasks: SimpleQueue[str | None] = SimpleQueue()  # None ends a thread
        self._done: deque[tuple[str, tuple[str, ...] | OSError | UnicodeError]] = deque()
        self._threads = 0
        self._closed = False

    def close(self) -> None:
        """End the threads; those inside a look-up end after it. `wake` is not called any more."""
        self._closed = True
        for _ in range(self._threads):
            self._tasks.put(None)

    def ask(self, ticket: str, host: str) -> Resolution | None:
        """The resolution if it is known already. If not, None, and `take` returns it later under the ticket."""
        if is_address(host):
            return Resolution()
        known = self._cache.get(host)
        now = time.monotonic()
        if known is not None and known[0] > now:
            return Resolution(addresses=known[1])
        query = self._running.get(host) or self._waiting.setdefault(host, _Query(host))
        query.waiters[ticket] = now
        self._begin_look_ups()
        return None

    def forget(self, ticket: str, host: str) -> None:
        """Withdraw the ticket: `take` does not return it. A look-up that has begun goes on, without waiters or not."""
        for queries in (self._waiting, self._running):
            query = queries.get(host)
            if query is not None:
                query.waiters.pop(ticket, None)
                if queries is self._waiting and not query.waiters:
                    del self._waiting[host]

    def take(self) -> list[tuple[str, Resolution]]:
        """The tickets whose look-ups have ended since the last call, and their resolutions."""
        resolved: list[tuple[str, Resolution]] = []
        while self._done:
            host, result = self._done.popleft()
            query = self._running.pop(host)
            self._leave(_domain(host))
            resolved.extend(self._conclude(query, result))
        if resolved or self._waiting:
            self._begin_look_ups()
        return resolved

    @property
    def busy_domains(self) -> frozenset[str]:
        """The registrable domains of the look-ups under way."""
        return frozenset(self._domains)

    def _leave(self, domain: str) -> None:
        """One look-up fewer. A domain without any is forgotten: there is no end of domains."""
        self._domains[domain] -= 1
        if not self._domains[domain]:
            del self._domains[domain]

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
        elif isinstance(result, socket.gaierror) and result.errno == socket.EAI_AGAIN:
            # EAI_AGAIN at once is a name server's failure; after the whole time of a try it is a server's silence.
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

    def _begin_look_ups(self) -> None:
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
        default = threading.stack_size(_STACK_BYTES)
        try:
            threading.Thread(target=self._look_up, name="resolver", daemon=True).start()
        finally:
            threading.stack_size(default)

    def _look_up(self) -> None:
        """The loop of each thread."""
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
    """The registrable domain by the Public Suffix List; the host itself if it is a public suffix."""
    return public_suffixes().privatesuffix(host.rstrip(".")) or host
