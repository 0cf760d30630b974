"""Counts the collections of each host in one lane, so that the limits of the host hold."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

# A lane takes in an order that waits for its host's gap only if it may start within this time. Any other order stays in
# the backlog, where other workers can claim it. Longer than the pause between two looks at the backlog, so that nothing
# starts late because of it.
_SOON_S = 2.0


class HostLimits:
    """Collections by host: those in the lane, and those of them that have started. A host without any is forgotten."""

    def __init__(self, at_once: int, gap_s: float) -> None:
        self._at_once = at_once
        self._gap_s = gap_s
        self._present: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._next_start: dict[str, float] = {}  # in the order of the instants, since every gap is the same

    def room(self, host: str) -> int:
        """How many more may enter: as many as may be under way, and with a gap only those that start soon."""
        room = self._at_once - self._present[host]
        if not self._gap_s:
            return room
        pause_s = max(0.0, self._next_start.get(host, 0.0) - time.monotonic())
        starting = 1 + int((_SOON_S - pause_s) / self._gap_s) if pause_s <= _SOON_S else 0
        waiting = self._present[host] - self._under_way[host]
        return max(0, min(room, starting - waiting))

    def enter(self, host: str) -> None:
        """Count one more collection in the lane, which has not started."""
        self._present[host] += 1

    def may_start(self, host: str) -> bool:
        return self._under_way[host] < self._at_once and self._next_start.get(host, 0.0) <= time.monotonic()

    def start(self, host: str) -> None:
        """Count one of those that wait as under way, and begin the host's gap."""
        self._under_way[host] += 1
        if self._gap_s:
            self._forget_past_starts()
            self._next_start[host] = time.monotonic() + self._gap_s

    def leave(self, host: str, *, started: bool) -> None:
        for count in (self._present, self._under_way) if started else (self._present,):
            count[host] -= 1
            if not count[host]:
                del count[host]

    def next_start_in_s(self, hosts: Iterable[str]) -> float | None:
        """The time until the first of these hosts may start again; None if none of them is inside its gap.

        A gap that has ended since `may_start` was asked counts as one that ends now, so that its host is asked again.
        """
        instants = [self._next_start[host] for host in hosts if host in self._next_start]
        self._forget_past_starts()  # only after they were read, for the reason above
        return max(0.0, min(instants) - time.monotonic()) if instants else None

    def _forget_past_starts(self) -> None:
        instant = time.monotonic()
        while self._next_start:
            host, until = next(iter(self._next_start.items()))
            if until > instant:
                break
            del self._next_start[host]
