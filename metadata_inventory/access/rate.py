"""Limits how many collections each client may start, by a token bucket for each client. Pure; the clock is given."""

from __future__ import annotations

import math
from collections.abc import Callable

from msgspec import Struct

MAX_CLIENTS = 100_000  # that are remembered; beyond it, the one whose last request is oldest is forgotten


class Grant(Struct, frozen=True):
    """Whether a client may start a collection, with the whole tokens that remain.

    `wait_s` is the time until the next token when there was none, otherwise 0.
    """

    allowed: bool
    remaining: int
    wait_s: float


class RateLimit:
    """Each client gets `rate_per_s` tokens per second and keeps at most `burst`. A new client has `burst`."""

    def __init__(self, rate_per_s: float, burst: int, *, clock: Callable[[], float]) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # client → tokens at an instant; least recently used first

    def take(self, client: str) -> Grant:
        """Take one of the client's tokens, if there is one."""
        now = self._clock()
        tokens, at = self._buckets.pop(client, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + (now - at) * self.rate_per_s)
        allowed = tokens >= 1
        tokens -= allowed
        self._buckets[client] = (tokens, now)
        if len(self._buckets) > MAX_CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        return Grant(allowed, int(tokens), 0.0 if allowed else (1 - tokens) / self.rate_per_s)

    @property
    def window_s(self) -> int:
        """Seconds until an empty bucket is full again."""
        return math.ceil(self.burst / self.rate_per_s)
