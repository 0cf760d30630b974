"""How much work each client may start: a token bucket a client. Pure; the clock is given."""

from __future__ import annotations

import math
from collections.abc import Callable

from msgspec import Struct

MAX_CLIENTS = 100_000


class Grant(Struct, frozen=True):
    """What a client was answered. `remaining` whole tokens; `wait_s` until there is one when there was none, else 0."""

    allowed: bool
    remaining: int
    wait_s: float


class RateLimit:
    """`rate_per_s` tokens a second, `burst` at most. A client that is not remembered has all of them."""

    def __init__(self, rate_per_s: float, burst: int, *, clock: Callable[[], float]) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # client → tokens at an instant; oldest use first

    def take(self, client: str) -> Grant:
        """Take a token, if there is one."""
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
        """Seconds in which an empty bucket is full again."""
        return math.ceil(self.burst / self.rate_per_s)
